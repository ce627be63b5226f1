"""A notebook that publishes a port, and gets a fresh container: the port is its own, and goes over to the new one."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING

import pytest
from jupyter_client.manager import KernelManager

from boxes import eventually
from kernels import running
from outside import world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smallworld import World

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "bridge-networks")

SERVE = """
import socket, threading
service = socket.create_server(("0.0.0.0", 80))
def serve():
    while True:
        visitor, _ = service.accept()
        visitor.sendall(NAME.encode())
        visitor.close()
threading.Thread(target=serve, daemon=True).start()
"""


@pytest.fixture(scope="module", autouse=True)
def outside() -> Iterator[World]:
    with world() as beyond:
        yield beyond


def answer(port: int) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), 3) as one:
            return one.makefile().readline()
    except OSError as error:
        return str(error)


def answers(text: str) -> bool:
    return answer(3000) == text


@pytest.mark.usefixtures("jupyter_path")
def test_a_fresh_container_of_the_notebook_takes_over_its_port() -> None:
    with running(KernelManager(kernel_name="cellhold-small")) as opened:
        assert opened.run(f"%container network=bridge ports=3000:80\n{SERVE.replace('NAME', repr('first'))}").status == "ok"
        assert answer(3000) == "first"
        for line in ("%container restart", "%container network=bridge ports=3000:80", "%container ports=3000:80 pids=100"):
            cell = opened.run(line)
            assert (cell.status, cell.error) == ("ok", ""), line
            assert answer(3000) != "first"
            assert opened.run(SERVE.replace("NAME", repr(line))).status == "ok"
            assert eventually(partial(answers, line)), line


@pytest.mark.usefixtures("jupyter_path")
def test_a_port_of_somebody_else_is_not_taken_and_the_container_stays() -> None:
    with running(KernelManager(kernel_name="cellhold-small")) as opened, socket.create_server(("127.0.0.1", 3001)):
        assert opened.run("%container network=bridge ports=3000:80\nkept = 3").status == "ok"
        refused = opened.run("%container ports=3001:80")
        assert "cannot publish port" in refused.error
        assert opened.run("kept").text == "3"
