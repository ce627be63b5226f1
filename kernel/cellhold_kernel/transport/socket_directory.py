"""Where host kernel and cell kernel meet: a directory with the cell kernel's sockets, and its connection file.

    connection.json             the cell kernel's connection file
    kernel-1 ...                its sockets, one a channel
    ipykernel_logged.py         what runs in front of an ipykernel, with two pipes for its output, stdout and stderr

Of a kernel in a container it is a small tmpfs of the container's own, at /run/cellhold, of which we get a descriptor: nothing of the
host's can be filled there. Of a shell, whose kernel is a process of ours (shell/), it is a directory of the host's. Each has one anyway:

    HOME/kernels/XXXXXXXX/      0700, locked (flock) by the host kernel that made it: without a lock it is a dead one's, and cleared;
                                what else the host kernel keeps for it lies here (spool.py)
        inside/                 a shell's; not shown to the container

Nothing in it is believed: names are opened beneath its descriptor, without following links.
"""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.resources import files
from typing import TYPE_CHECKING

from cellhold.spec.spec import Exchange
from cellhold.store import delete, locks
from cellhold.store.home import open_home
from cellhold_kernel.protocol.connection import CHANNELS, Connection
from cellhold_kernel.transport.inside.ipykernel_logged import STREAMS

if TYPE_CHECKING:
    from pathlib import Path

TARGET = "/run/cellhold"
_FILE = "connection.json"
CONNECTION_FILE = f"{TARGET}/{_FILE}"
_PROGRAM = "ipykernel_logged.py"
PROGRAM = f"{TARGET}/{_PROGRAM}"
_BYTES, _INODES = 128 << 10, 64  # the files; sockets and pipes take no page
_PREFIX = "kernel"
_PORTS = {channel: number for number, channel in enumerate(CHANNELS, start=1)}
NAMES = {channel: f"{_PREFIX}-{port}" for channel, port in _PORTS.items()}
_LIKE_TCP = {channel: f"{_PREFIX}:{port}" for channel, port in _PORTS.items()}  # of kernels that know no ipc, such as IRkernel


def exchange(*, key: str, signature_scheme: str, is_logged: bool = False) -> Exchange:
    """What the container is to have for it. key: the same on both sides, so no message is signed twice.

    is_logged: with the program that runs before an ipykernel, and its pipes.
    """
    connection = (_FILE, _text(key, signature_scheme))
    if not is_logged:
        return Exchange(target=TARGET, size_bytes=_BYTES, inodes=_INODES, files=(connection,))
    program = (files("cellhold_kernel.transport.inside") / _PROGRAM).read_text("ascii")
    return Exchange(target=TARGET, size_bytes=_BYTES, inodes=_INODES, files=(connection, (_PROGRAM, program)), pipes=STREAMS)


class SocketDirectory:
    """One of a kernel in a container. path: the directory on the host. directory: where both meet, opened; -1 before the container runs."""

    def __init__(self) -> None:
        """Make the directory on the host."""
        self.path, self._lock = locks.own_directory(_kernels())
        self.directory = -1

    def begin(self, directory: int) -> None:
        """The container runs, and has this directory, a descriptor that is ours from now on; one that it had before is gone."""
        self._let_go()
        self.directory = directory

    def names(self) -> dict[str, str] | None:
        """What the cell kernel calls its sockets; None until it has bound those that are connected to (the heartbeat's is not one)."""
        if self.directory < 0:
            return None
        for names in (NAMES, _LIKE_TCP):
            if all(_exists(names[channel], self.directory) for channel in CHANNELS if channel != "hb"):
                return names
        return None

    def clear(self) -> None:
        """The cell kernel has ended, and its tmpfs with it: the next one has another."""
        self._let_go()

    def close(self) -> None:
        """Let go of it, and remove what there is of it on the host. Closing twice is no error."""
        self._let_go()
        if self._lock >= 0:
            delete.remove(self.path)
            os.close(self._lock)
            self._lock = -1

    def _let_go(self) -> None:
        if self.directory >= 0:
            os.close(self.directory)
            self.directory = -1


class HostSocketDirectory(SocketDirectory):
    """One of a shell. sockets: the path of the directory, for our process."""

    def __init__(self, *, key: str, signature_scheme: str) -> None:
        """Make it, with the connection file."""
        super().__init__()
        inside = self.path / "inside"
        inside.mkdir(mode=0o700)
        self.sockets = str(inside)
        self.begin(os.open(inside, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
        file = os.open(_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self.directory)
        with os.fdopen(file, "w") as stream:
            stream.write(_text(key, signature_scheme))

    def clear(self) -> None:
        """Remove the sockets of a cell kernel that has ended: the next one binds its own."""
        for name in (*NAMES.values(), *_LIKE_TCP.values()):
            with suppress(OSError):  # it is not there
                os.unlink(name, dir_fd=self.directory)


def _text(key: str, signature_scheme: str) -> str:
    return Connection(transport="ipc", ip=f"{TARGET}/{_PREFIX}", ports=_PORTS, key=key, signature_scheme=signature_scheme).text()


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
    """Remove the directories that killed host kernels left: nobody holds their lock."""
    locks.clear_abandoned(_kernels())
