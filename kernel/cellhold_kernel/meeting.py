"""The directory where host kernel and cell kernel meet: the cell kernel's sockets, and its connection file.

    HOME/kernels/XXXXXXXX/      0700, locked (flock) by the host kernel that made it: without a lock it is a dead one's, and cleared
        inside/                 bind-mounted into the container at /run/cellhold; what lies in it is the container's to change
            connection.json     the cell kernel's connection file
            kernel-1 ...        its sockets, one a channel
            ipykernel_logged.py what runs in front of an ipykernel, with two pipes for its output, stdout and stderr

Nothing in `inside` is believed: names are opened beneath its descriptor, without following links.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold.hostpath import HostPath
from cellhold.spec import Mount
from cellhold.store import locks, removal
from cellhold.store.home import open_home
from cellhold_kernel.connection import CHANNELS, Connection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TARGET = "/run/cellhold"
CONNECTION_FILE = f"{TARGET}/connection.json"
_PROGRAM = "ipykernel_logged.py"
PROGRAM = f"{TARGET}/{_PROGRAM}"
_PREFIX = "kernel"
_PORTS = {channel: number for number, channel in enumerate(CHANNELS, start=1)}
NAMES = {channel: f"{_PREFIX}-{port}" for channel, port in _PORTS.items()}
_LIKE_TCP = {channel: f"{_PREFIX}:{port}" for channel, port in _PORTS.items()}  # of kernels that know no ipc, such as IRkernel


class Meeting:
    """One such directory; `close` removes it."""

    def __init__(self, *, key: str, signature_scheme: str) -> None:
        """Make it, with the connection file for the cell kernel: the key is the same on both sides, so no message is signed twice."""
        self.path, self._lock = locks.own_directory(_kernels())
        inside = self.path / "inside"
        inside.mkdir(mode=0o700)
        self.inside = str(inside)
        self.directory = os.open(inside, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        connection = Connection(transport="ipc", ip=f"{TARGET}/{_PREFIX}", ports=_PORTS, key=key, signature_scheme=signature_scheme)
        self._write("connection.json", connection.text())
        self.mount = Mount(kind="bind", source=str(inside), target=TARGET, opened=HostPath(os.dup(self.directory), str(inside)))

    def _write(self, name: str, text: str) -> None:
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self.directory)
        with os.fdopen(file, "w") as stream:
            stream.write(text)

    def prepare_log(self, program: str, pipes: Sequence[str]) -> dict[str, int]:
        """Put a program there that runs before the cell kernel, and pipes; gives our ends of those. Raises OSError.

        For a start of the same container, what it has made of them is replaced.
        """
        for name in (_PROGRAM, *pipes):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.directory)
        self._write(_PROGRAM, program)
        ends: dict[str, int] = {}
        for name in pipes:
            os.mkfifo(name, 0o600, dir_fd=self.directory)
            ends[name] = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.directory)
        return ends

    def names(self) -> dict[str, str] | None:
        """What the cell kernel calls its sockets; None until it has bound those that are connected to (the heartbeat's is not one)."""
        for names in (NAMES, _LIKE_TCP):
            if all(_exists(names[channel], self.directory) for channel in CHANNELS if channel != "hb"):
                return names
        return None

    def clear(self) -> None:
        """Remove the sockets of a cell kernel that has ended: the next one binds its own."""
        for name in (*NAMES.values(), *_LIKE_TCP.values()):
            with suppress(OSError):  # it is not there, or a directory of the container's making: then no kernel gets to bind it
                os.unlink(name, dir_fd=self.directory)

    def close(self) -> None:
        """Remove it and what the container left in it. Closing twice is no error."""
        if self.directory >= 0:
            removal.remove(self.path)
            os.close(self.directory)
            os.close(self._lock)
            self.directory = -1


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True


def _kernels() -> Path:
    kernels = open_home().root / "kernels"
    kernels.mkdir(mode=0o700, exist_ok=True)
    return kernels


def clear_abandoned() -> None:
    """Remove the directories of host kernels that were killed: nobody holds their lock."""
    locks.clear_abandoned(_kernels())
