"""The directory with the cell kernel's sockets (transport/exchange.py).

Of a kernel in a container it is a tmpfs of the container's, of which we get a
descriptor. Of a shell, whose kernel is a process of ours (shell/), it is a directory of
the host's. Each kernel has one of those:

    HOME/kernels/XXXXXXXX/    0700, locked (flock) by the host kernel that made it: one
                              without a lock is left by a dead one, and is cleared; what
                              else the host kernel keeps for it lies here (spool.py)
        inside/               a shell's; not shown to the container

Nothing in it is believed: names are opened beneath its descriptor, without following
links.
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
    """The directory of a kernel in a container.

    path: the directory on the host. directory: the descriptor of the tmpfs; -1 before
    the container runs.
    """

    def __init__(self) -> None:
        """Make the directory on the host."""
        self.path, self._lock = locks.own_directory(_kernels())
        self.directory = -1

    def begin(self, directory: int) -> None:
        """Take over the directory of a container that runs, and close the one before.

        directory: a descriptor, ours from now on.
        """
        self._let_go()
        self.directory = directory

    def names(self) -> dict[str, str] | None:
        """Return the names of the cell kernel's sockets; None until it has bound them.

        The heartbeat's is not waited for: it is not connected to.
        """
        if self.directory < 0:
            return None
        for names in (NAMES, LIKE_TCP):
            if all(_exists(names[channel], self.directory) for channel in CHANNELS if channel != "hb"):
                return names
        return None

    def clear(self) -> None:
        """Close the directory of a cell kernel that has ended: the next one has another."""
        self._let_go()

    def close(self) -> None:
        """Close it, and remove its directory on the host. Closing twice is not an error."""
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
    """The directory of a shell. sockets: its path, for our process."""

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
