"""The notebook's folder, held by a descriptor for the life of the host kernel.

It is the directory that the host kernel was started in, and is opened once (app.py).
Its name may lead elsewhere later: a cell of another notebook, whose folder contains it,
can put a link in its place. So nothing uses `Path.cwd()` after start-up: mounts
(workspace.py), builds and reads of a notebook's files all go through this descriptor.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Self

from cellhold.errors import InvalidSpec
from cellhold.linux import hostpath
from cellhold.linux.hostpath import HostPath
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from pathlib import Path

_SHOWN = 200
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Folder:
    """A directory held by its descriptor."""

    def __init__(self, opened: HostPath) -> None:
        """Take over an open directory; at() and of_process() open one."""
        self.opened = opened

    @classmethod
    def at(cls, path: Path) -> Self:
        """Open the directory that is at a path now, following links. Raises OSError."""
        opened = hostpath.opened(path)
        opened.name = opened.current_path()
        return cls(opened)

    @classmethod
    def of_process(cls) -> Self:
        """Open the current working directory.

        Raises FileNotFoundError if it was removed.
        """
        opened = HostPath(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), ".")
        opened.name = opened.current_path()
        if opened.is_gone:
            raise FileNotFoundError(f"{opened.name} was removed")
        return cls(opened)

    @property
    def descriptor(self) -> int:
        """The descriptor, for openat(2) and child processes; the folder keeps it."""
        return self.opened.fileno()

    def open_file(self, name: str, most_bytes: int) -> int:
        """Open a regular file below the folder for reading; return a descriptor.

        The descriptor is the caller's to close. No symbolic link is followed, neither
        on the way nor at the end, and nothing but a regular file is opened: opening a
        FIFO would block, and opening a device can have effects. most_bytes: the largest
        size that is accepted; the file can grow afterwards (see read_file).

        Raises FileNotFoundError, and InvalidSpec for a file that must not be read.
        """
        try:
            found = self.opened.beneath(name)
            status = found.status
            if not stat.S_ISREG(status.st_mode):
                raise _unreadable(name, "it is not a regular file")
            if status.st_size > most_bytes:
                raise _unreadable(name, f"it has {status.st_size} bytes, and at most {most_bytes} are read")
            return os.open(found, _READ)
        except FileNotFoundError:
            raise
        except NotADirectoryError as error:
            raise FileNotFoundError(error.errno, error.strerror, name) from error
        except OSError as error:
            raise _unreadable(name, error.strerror) from error

    def read_file(self, name: str, most_bytes: int) -> bytes:
        """Read all of a regular file below the folder, at most `most_bytes`.

        Raises what open_file() raises.
        """
        with os.fdopen(self.open_file(name, most_bytes), "rb") as file:
            try:
                content = file.read(most_bytes + 1)
            except OSError as error:
                raise _unreadable(name, error.strerror) from error
        if len(content) > most_bytes:
            raise _unreadable(name, f"it has grown, and at most {most_bytes} bytes are read")
        return content


def _unreadable(name: str, reason: str | None) -> InvalidSpec:
    return InvalidSpec(f"cannot read {escape(name, most=_SHOWN)} of the notebook's folder: {reason}")
