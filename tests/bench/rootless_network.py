"""Networks without root against podman's, both by slirp4netns. Run by `make bench`, as root: it makes the user.

All of it in network namespaces of its own (notebooks/smallworld.py). The same program serves in a container of ours and in one of
podman's, on this machine's own files; the same clients ask from the host, by a published port, and from within each of them for a
service of the world's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from smallworld import BEYOND

import peers as engines
from bench import measure
from bench.network import MANY, SERVE, STREAM
from outside import world
from people import person

if TYPE_CHECKING:
    from collections.abc import Iterator

    from people import Person

ROUNDS = 20
SLOWEST = round(1 / 0.95, 3)  # of podman's time
_BYTES, _CONNECTIONS = "500M", 300
_CONNECT = f"""
import socket, sys
for _ in range({_CONNECTIONS}):
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as one: one.recv(1)
"""
# As udev has it everywhere: anybody opens it. A /run of its own: podman keeps things there.
_PLACE = "mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 && mount -t tmpfs tmpfs /run"
_AS_IT = f'{_PLACE} && chown "$1" /run && exec setpriv --reuid="$1" --regid="$2" --clear-groups -- env -i "${{@:3}}"'
_BY_ITSELF = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "bash", "-c", _AS_IT, "bash")
_OURS = """
import sys
from cellhold import Container, Port, Spec
ports = tuple(Port(container=port, host=20000 + port) for port in ({stream}, {many}))
with Container.create(Spec(args=("python3", "-c", sys.argv[1]), network="slirp4netns", ports=ports)) as box:
    box.start()
    sys.stdin.read()
"""
_PODMANS = """
podman run --name serving --network slirp4netns {ports} -v {place}/serve.py:/tmp/serve.py:ro -v /usr:/usr:ro --rootfs {root}:O \
    python3 /tmp/serve.py >&2 &
cat
"""


class Served:
    """A container of one engine that serves. base: what is added to its ports on the host. pid: of its program."""

    def __init__(self, base: int, pid: int) -> None:
        self._base, self._pid = base, pid

    def transfer(self, *, inward: bool) -> None:
        """Move some bytes."""
        self._run(["iperf3", "-c", *self._at(STREAM, inward=inward, option=["-p"]), "-n", _BYTES], inward=inward)

    def connect(self, *, inward: bool) -> None:
        """Connect many times."""
        self._run([sys.executable, "-I", "-S", "-c", _CONNECT, *self._at(MANY, inward=inward)], inward=inward)

    def _at(self, port: int, *, inward: bool, option: list[str] | None = None) -> list[str]:
        where, number = ("127.0.0.1", self._base + port) if inward else (BEYOND, port)
        return [where, *(option or []), str(number)]

    def _run(self, words: list[str], *, inward: bool) -> None:
        inside = [] if inward else ["nsenter", f"--net=/proc/{self._pid}/ns/net", "--"]
        subprocess.run([*inside, *words], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def serving(who: Person, environment: dict[str, str], base: int, words: list[str]) -> Iterator[Served]:
    """What a program of the user's starts, once it answers on its ports."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    line = [*_BY_ITSELF, str(who.uid), str(who.gid), *variables, *words]
    before = set(os.listdir("/proc"))
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=who.place) as shell:
        try:
            yield Served(base, _served(before))
        finally:
            shell.kill()
            for pid in who.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            while who.processes():
                time.sleep(0.1)


def _served(before: set[str]) -> int:
    """The new process that serves transfers."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for pid in set(filter(str.isdecimal, os.listdir("/proc"))) - before:
            try:
                if Path(f"/proc/{pid}/cmdline").read_bytes() == b"iperf3\0-s\0":
                    time.sleep(1)
                    return int(pid)
            except OSError:
                continue
        time.sleep(0.05)
    raise AssertionError("nobody serves")


def ours(who: Person) -> tuple[dict[str, str], int, list[str]]:
    """Our container: environment, base, command line."""
    return {**who.as_it()["env"]}, 20000, [who.python, "-c", _OURS.format(stream=STREAM, many=MANY), SERVE]


def podmans(who: Person, place: Path) -> tuple[dict[str, str], int, list[str]]:
    """Podman's."""
    peer = engines.at(place)
    root = place / "root"
    for name in ("usr", "proc", "sys", "dev", "etc", "tmp", "run", "var", "root"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / name).symlink_to(f"usr/{name}")
    (place / "serve.py").write_text(SERVE, encoding="ascii")
    subprocess.run(["chown", "-R", f"{who.uid}:{who.gid}", str(place)], check=True)
    ports = " ".join(f"-p 127.0.0.1:{30000 + port}:{port}" for port in (STREAM, MANY))
    environment = {**peer._environment(), "XDG_RUNTIME_DIR": "/run"}
    return environment, 30000, ["sh", "-c", _PODMANS.format(ports=ports, place=place, root=root)]


def main(rounds: int) -> None:
    """Measure, and print."""
    with ExitStack() as closing:
        beyond = closing.enter_context(world())
        who = closing.enter_context(person("b", subordinate=True))
        place = Path(tempfile.mkdtemp(prefix="podman", dir=who.place))
        inside = ["nsenter", f"--net=/proc/{beyond.serving.pid}/ns/net", "--", sys.executable, "-I", "-S", "-c", SERVE]
        before = set(os.listdir("/proc"))
        service = closing.enter_context(subprocess.Popen(inside, stdout=subprocess.DEVNULL, start_new_session=True))
        closing.callback(os.killpg, service.pid, signal.SIGKILL)
        _served(before)
        served = {
            "cellhold": closing.enter_context(serving(who, *ours(who))),
            "podman": closing.enter_context(serving(who, *podmans(who, place))),
        }
        for title, what in ((f"{_BYTES} moved", "transfer"), (f"{_CONNECTIONS} connections", "connect")):
            for way, inward in (("by a published port", True), ("to the world", False)):
                contestants = {name: measure.timed(partial(getattr(one, what), inward=inward)) for name, one in served.items()}
                found = measure.interleaved(contestants, rounds, warm_up=1)
                measure.show(f"without root, {title} {way}", found, [("cellhold", "podman", SLOWEST)])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
