"""A host with a network of its own, and an outside world beyond it: network namespaces of the tests', so that nothing leaves the machine.

[containers] -- bridge -- this process's namespace -- up0 .. out0 -- the outside's namespace, with a service at each of ADDRESSES
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from cellhold import launch
from cellhold.linux import process

if TYPE_CHECKING:
    from collections.abc import Iterator

PUBLIC, METADATA, PRIVATE = "9.9.9.9", "169.254.169.254", "10.1.2.3"
ADDRESSES = (PUBLIC, METADATA, PRIVATE)
HOST, BEYOND = "192.0.2.1", "192.0.2.2"
_SERVICE = """
import socket, sys, threading
def serve(one):
    while True:
        back, who = one.accept()
        back.sendall(f"{back.getsockname()[0]} answers {who[0]}\\n".encode())
        back.close()
for port in map(int, sys.argv[1:]):
    one = socket.create_server(("0.0.0.0", port))
    threading.Thread(target=serve, args=(one,)).start()
print("up", flush=True)
"""


class Outside(NamedTuple):
    """The world beyond: a process in its namespace."""

    pid: int

    def run(self, *words: str) -> str:
        """Run a program there."""
        return output("nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *words)


def output(*words: str) -> str:
    """What a program prints, here."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@contextmanager
def world(*ports: int) -> Iterator[Outside]:
    """Move this thread, and all that it starts, into a network namespace that looks like a host's; the outside answers on the ports."""
    launch.shutdown()  # the launcher is in the namespace where it was started
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    process.unshare(process.CLONE_NEWNET)
    try:
        with _service(*ports) as outside:
            output("ip", "link", "set", "lo", "up")
            output("ip", "link", "add", "up0", "type", "veth", "peer", "name", "out0", "netns", str(outside.pid))
            output("ip", "address", "add", f"{HOST}/24", "dev", "up0")
            output("ip", "link", "set", "up0", "up")
            output("ip", "route", "add", "default", "via", BEYOND) if _up(outside) else None
            yield outside
    finally:
        launch.shutdown()
        process.setns(home, process.CLONE_NEWNET)
        os.close(home)


def _up(outside: Outside) -> bool:
    outside.run("ip", "link", "set", "lo", "up")
    outside.run("ip", "address", "add", f"{BEYOND}/24", "dev", "out0")
    outside.run("ip", "link", "set", "out0", "up")
    for address in ADDRESSES:
        outside.run("ip", "address", "add", f"{address}/32", "dev", "lo")
    return True


@contextmanager
def _service(*ports: int) -> Iterator[Outside]:
    words = ["unshare", "--net", "--", sys.executable, "-I", "-S", "-c", _SERVICE, *map(str, ports or (80,))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout is not None
            assert serving.stdout.readline() == "up\n"
            yield Outside(serving.pid)
        finally:
            serving.send_signal(signal.SIGKILL)
