"""The far side of the engine in carried.py: one "container" per connection.

It prints its port, and serves until its input is closed.

    python far_side.py

A "container" is an ipykernel in a directory of its own, killed above its memory limit.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellhold_kernel.protocol.connection import CHANNELS as PORTS
from cellhold_kernel.protocol.connection import Connection
from cellhold_kernel.transport.backend import CHANNELS
from wire import ORDERS, OUTPUT, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOOK_SECONDS = 0.02


class FarContainer:
    """One connection's: a directory, and the program that runs in it."""

    def __init__(self, connected: socket.socket) -> None:
        self._wire = Wire(connected)
        self._root = Path(tempfile.mkdtemp(prefix="far-", dir="/var/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self._channels: dict[int, socket.socket] = {}
        self._watching: threading.Thread | None = None

    def serve(self) -> None:
        while (frame := self._wire.read()) is not None:
            stream, data = frame
            if stream == ORDERS:
                self._obey(json.loads(data))
            elif stream in self._channels:
                with suppress(OSError):
                    self._channels[stream].sendall(data)
        if self._process is not None:
            self._process.kill()
        if self._watching is not None:
            self._watching.join()
        self._wire.close()
        shutil.rmtree(self._root)

    def _obey(self, order: dict[str, Any]) -> None:
        if order["do"] == "signal" and self._process is not None:
            self._process.send_signal(order["number"])
        elif order["do"] == "start":
            self._start(order)

    def _start(self, order: dict[str, Any]) -> None:
        for old in self._root.glob("kernel-*"):
            old.unlink()
        ports = {channel: number for number, channel in enumerate(PORTS, start=1)}
        info = Connection(
            transport="ipc", ip=f"{self._root}/kernel", ports=ports, key=order["key"], signature_scheme=order["signature_scheme"]
        )
        (self._root / "connection.json").write_text(info.text())
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", f"{self._root}/connection.json", *order["arguments"]]
        env = {"PATH": os.environ["PATH"], "HOME": str(self._root), **order["env"]}
        began = time.monotonic()
        self._process = subprocess.Popen(
            argv, env=env, cwd=self._root, process_group=0, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._watching = threading.Thread(target=self._watch, args=(self._process, ports, order["memory_bytes"], began))
        self._watching.start()

    def _watch(self, process: subprocess.Popen[bytes], ports: Mapping[str, int], limit: int | None, began: float) -> None:
        """Report its start, enforce its limit, and report its end after all output."""
        assert process.stdout is not None
        pumps = [self._wire.pump(OUTPUT, process.stdout.read1)]  # type: ignore[attr-defined]
        paths = {channel: self._root / f"kernel-{ports[channel]}" for channel in CHANNELS}
        is_bound, is_over_limit = False, False
        while process.poll() is None:
            if not is_bound and all(path.exists() for path in paths.values()):
                is_bound = self._join(paths, pumps)
            if limit is not None and _resident_bytes(process.pid) > limit:
                is_over_limit = True
                process.kill()
            time.sleep(_LOOK_SECONDS)
        for pump in pumps:
            pump.join()
        process.stdout.close()
        for one in self._channels.values():
            one.close()
        self._channels = {}
        self._wire.order(tell="ended", status=process.returncode, seconds=time.monotonic() - began, memory=is_over_limit)

    def _join(self, paths: Mapping[str, Path], pumps: list[threading.Thread]) -> bool:
        connected = {}
        for number, channel in enumerate(CHANNELS, start=1):
            connected[number] = socket.socket(socket.AF_UNIX)
            try:
                connected[number].connect(str(paths[channel]))
            except OSError:  # bound, but nobody listens yet
                for one in connected.values():
                    one.close()
                return False
        self._channels = connected
        self._wire.order(tell="bound")
        pumps += [self._wire.pump(number, one.recv) for number, one in connected.items()]
        return True


def _resident_bytes(pid: int) -> int:
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def serve() -> None:
    """Serve until the standard input is closed."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sys.stdout.write(f"{listening.getsockname()[1]}\n")
        sys.stdout.flush()

        def accept() -> None:
            while True:
                connected, _address = listening.accept()
                threading.Thread(target=FarContainer(connected).serve).start()

        threading.Thread(target=accept, daemon=True).start()
        sys.stdin.read()


if __name__ == "__main__":
    serve()
