"""Networks against podman's (netavark), and a start with one against a start without. Run by `make bench`, as root.

All of it in network namespaces of its own (notebooks/smallworld.py). The same programs serve in a container of ours and in one of
podman's, on this machine's own files; the same clients ask, from the host by a published port, and from another container's namespace.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from smallworld import output

import peers as engines
from bench import measure
from cellhold import Container, Detached, Port, Spec
from outside import world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS, STARTS = 80, 30  # a machine that others use gives 1 +- 0.1 in 25 rounds
SLOWEST, LATEST = round(1 / 0.95, 3), 1.5  # of podman's time; of a start without a network
_BYTES, _CONNECTIONS = "2G", 1000
STREAM, MANY = 5201, 8080
SERVE = f"""
import socket, subprocess
subprocess.Popen(["iperf3", "-s"], stdout=subprocess.DEVNULL)
one = socket.create_server(("0.0.0.0", {MANY}), backlog=4096)
print("up", flush=True)
while True: one.accept()[0].close()
"""
_CONNECT = f"""
import socket, sys
for _ in range({_CONNECTIONS}):
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as one: one.recv(1)
"""
_SLEEP = "987654"  # how the process in podman's second container is known


class Pair:
    """Two containers of one engine: one serves, its ports published; the other's network namespace is where clients run."""

    def __init__(self, address: str, pid: int, base: int) -> None:
        self._address, self._pid, self._base = address, pid, base

    def transfer(self, *, from_host: bool) -> None:
        """Move some bytes."""
        where, port = self._at(STREAM, from_host=from_host)
        self._run(["iperf3", "-c", where, "-p", str(port), "-n", _BYTES], from_host=from_host)

    def connect(self, *, from_host: bool) -> None:
        """Connect many times."""
        where, port = self._at(MANY, from_host=from_host)
        self._run([sys.executable, "-I", "-S", "-c", _CONNECT, where, str(port)], from_host=from_host)

    def _at(self, port: int, *, from_host: bool) -> tuple[str, int]:
        return ("127.0.0.1", self._base + port) if from_host else (self._address, port)

    def _run(self, words: list[str], *, from_host: bool) -> None:
        inside = [] if from_host else ["nsenter", f"--net=/proc/{self._pid}/ns/net", "--"]
        subprocess.run([*inside, *words], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def ours() -> Iterator[Pair]:
    """On our bridge."""
    ports = tuple(Port(container=port, host=20000 + port) for port in (STREAM, MANY))
    serving = Detached.create(Spec(args=("python3", "-c", SERVE), network="bridge", ports=ports))
    asking = Detached.create(Spec(args=("sleep", "100000"), network="bridge"))
    try:
        for box in (serving, asking):
            box.start()
        yield Pair(serving.connections()[0].lease.address, asking.record.pid or 0, 20000)
    finally:
        for box in (serving, asking):
            box.remove(force=True)


@contextmanager
def podmans(place: Path) -> Iterator[Pair]:
    """On podman's default bridge, made by netavark."""
    peer = engines.at(place / "podman")
    root = place / "root"
    for name in ("usr", "proc", "sys", "dev", "etc", "tmp", "run", "var", "root"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / name).symlink_to(f"usr/{name}")
    published = " ".join(f"-p 127.0.0.1:{30000 + port}:{port}" for port in (STREAM, MANY))
    shared = f"--network podman -v /usr:/usr:ro --rootfs {root}:O"
    (place / "serve.py").write_text(SERVE, encoding="ascii")
    script = f"""
        set -e
        engine="podman --network-backend netavark"
        $engine run -d --name serving {published} -v {place}/serve.py:/tmp/serve.py:ro {shared} python3 /tmp/serve.py >&2
        $engine run -d --name asking {shared} sleep {_SLEEP} >&2
        $engine inspect serving --format '{{{{.NetworkSettings.IPAddress}}}}'
        cat
    """
    with peer.running(script) as shell:
        assert shell.stdout is not None
        address = shell.stdout.readline().strip()
        pid = int(output("pgrep", "-xf", f"sleep {_SLEEP}").split()[-1])
        yield Pair(address, pid, 30000)


def starting(network: str) -> Callable[[], float]:
    """A contestant: the start of a container, the image looked up and the writable layer made before."""

    def once() -> float:
        with Container.create(Spec(args=("sleep", "1000"), network=network)) as box:
            begun = time.perf_counter()
            box.start()
            return time.perf_counter() - begun

    return once


def main(rounds: int) -> None:
    """Measure, and print."""
    with ExitStack() as closing:
        patch = closing.enter_context(pytest.MonkeyPatch.context())
        place = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="chbench", dir="/var/tmp", ignore_cleanup_errors=True)))
        patch.setenv("CELLHOLD_HOME", str(place / "home"))
        closing.enter_context(world())
        with Container.create(Spec(args=("sleep", "1000"), network="bridge")) as other:  # a network that somebody is on
            other.start()
            results = measure.interleaved({name: starting(name) for name in ("bridge", "none")}, STARTS)
        measure.show("a container's start", results, [("bridge", "none", LATEST)])
        mine, theirs = closing.enter_context(ours()), closing.enter_context(podmans(place))
        time.sleep(2)  # all four serve
        for title, what in (("2 GB moved", "transfer"), (f"{_CONNECTIONS} connections", "connect")):
            for way, from_host in (("by a published port", True), ("from container to container", False)):
                pairs = {"cellhold": mine, "podman": theirs}
                contestants = {name: measure.timed(partial(getattr(pair, what), from_host=from_host)) for name, pair in pairs.items()}
                found = measure.interleaved(contestants, rounds, warm_up=1)
                measure.show(f"{title} {way}", found, [("cellhold", "podman", SLOWEST)])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
