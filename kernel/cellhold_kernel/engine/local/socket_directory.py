"""Where host kernel and cell kernel meet: a directory with the cell kernel's sockets (transport/exchange.py).

Of a kernel in a container it is a tmpfs of the container's, of which we get a descriptor. Of a
shell, whose kernel is a process of ours (shell/), it is a directory of the host's. Each has
one anyway:

    HOME/kernels/XXXXXXXX/      0700, locked (flock) by the host kernel that made it: without a lock it is a dead one's, and cleared;
                                what else the host kernel keeps for it lies here (spool.py)
        inside/                 a shell's; not shown to the container

Nothing in it is believed: names are opened beneath its descriptor, without following links.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold.store import delete, locks
from cellhold.store.home import open_home
from cellhold_kernel.protocol.connection import CHANNELS
from cellhold_kernel.transport.exchange import FILE, LIKE_TCP, NAMES, connection_text

if TYPE_CHECKING:
    from pathlib import Path


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
        for names in (NAMES, LIKE_TCP):
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
        file = os.open(FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self.directory)
        with os.fdopen(file, "w") as stream:
            stream.write(connection_text(key, signature_scheme))

    def clear(self) -> None:
        """Remove the sockets of a cell kernel that has ended: the next one binds its own."""
        for name in (*NAMES.values(), *LIKE_TCP.values()):
            with suppress(OSError):  # it is not there
                os.unlink(name, dir_fd=self.directory)


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
