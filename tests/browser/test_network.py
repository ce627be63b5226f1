"""The panel of a container with a network: the way to the world drawn, what goes over it, what is published and what was refused."""

from __future__ import annotations

import re
import urllib.request
from typing import TYPE_CHECKING

import pytest
from smallworld import PRIVATE, PUBLIC, STREAM

from front_ends import browser, open_notebook, run_cell, served, write
from outside import world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smallworld import World

pytestmark = [pytest.mark.browser, pytest.mark.requires("root", "overlayfs", "cgroup-freezer", "cgroup-memory", "bridge-networks")]

_TRY = f"""
import socket, threading
print(socket.create_connection(("{PUBLIC}", 80)).makefile().readline())
for port in (443, 443, 22):
    try:
        socket.create_connection(("{PRIVATE}", port))
    except OSError as error:
        print(error.strerror)
service = socket.create_server(("0.0.0.0", 8888))
def serve():
    while True:
        visitor, _ = service.accept()
        visitor.recv(4096)
        visitor.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nfrom a cell")
        visitor.close()
threading.Thread(target=serve, daemon=True).start()
print("serving")
"""
_GET = f"one = socket.create_connection(('{PUBLIC}', {STREAM}))\nwhile one.recv(65536): pass"
CELLS = ["%container network=bridge ports=8888:8888 net-ingress=16mbit memory=256m", "%container panel", _TRY, _GET, "%network"]


@pytest.fixture(scope="module", autouse=True)
def outside() -> Iterator[World]:
    with world() as beyond:
        yield beyond


def test_the_way_to_the_world_is_drawn_with_its_limits_and_what_was_refused(folder: Path, kernelspecs: Path, shots: Path) -> None:
    write(folder / "demo.ipynb", CELLS, kernel="cellhold-panel")
    with served("lab", folder, kernelspecs) as server, browser() as page:
        open_notebook(page, server, "demo.ipynb")
        for number in range(4):
            run_cell(page, number)
        page.locator(".jp-OutputArea-output", has_text=re.compile("answers 192.0.2.1")).wait_for()
        wires = page.locator(".ch-wires")
        wires.scroll_into_view_if_needed()
        wires.locator("summary", has_text="refused by egress internet: 2 places").wait_for()
        wires.locator("li", has_text=f"tcp {PRIVATE}:443").filter(has_text=re.compile(r"\d packets?$")).wait_for()
        link, through = wires.locator("a").all()
        assert link.inner_text() == "127.0.0.1:8888->8888/tcp"
        page.locator(".jp-OutputArea-output", has_text="serving").wait_for()
        address = str(link.get_attribute("href"))
        assert urllib.request.urlopen(address, timeout=10).read() == b"from a cell"  # noqa: S310  # loopback
        with page.expect_popup() as opened:
            through.click()
        opened.value.get_by_text("from a cell").wait_for()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/proxy/8888/", opened.value.url)
        opened.value.close()
        chart = page.locator(".ch-chart[data-chart=received]")
        chart.scroll_into_view_if_needed()
        chart.locator(".ch-limit").wait_for(state="attached")
        page.wait_for_function("() => /1\\.[89] MiB.s/.test(document.querySelector('.ch-chart[data-chart=received]').textContent)")
        page.locator(".ch").screenshot(path=shots / "network.png")
        run_cell(page, 4)
        page.locator(".jp-OutputArea-output td", has_text=re.compile(rf"tcp {PRIVATE}:443, \d packets")).wait_for()
        assert page.locator(".jp-OutputArea-output td a", has_text="127.0.0.1:8888").get_attribute("href") == "http://127.0.0.1:8888/"
        assert page.locator(".jp-OutputArea-output td a", has_text="through").get_attribute("href") == "/proxy/8888/"
