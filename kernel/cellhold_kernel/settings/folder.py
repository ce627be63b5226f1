"""The notebook's folder, held: the directory that the host kernel was started in stays the notebook's for its life.

Opened once, when the host kernel starts (app.py). Its name may lead elsewhere later: a cell of another notebook, whose
folder lies above, can put a link in its place. So nobody asks for `Path.cwd()` after that: mounts (workspace.py), builds
and whoever reads a file of it go by this descriptor.
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
    """A directory by its descriptor."""

    def __init__(self, opened: HostPath) -> None:
        """See opened() and of_process()."""
        self.opened = opened

    @classmethod
    def at(cls, path: Path) -> Self:
        """The directory that is at a path now, behind all links. Raises OSError."""
        opened = hostpath.opened(path)
        opened.name = opened.current_path()
        return cls(opened)

    @classmethod
    def of_process(cls) -> Self:
        """The directory that this process works in. Raises FileNotFoundError where that was removed."""
        opened = HostPath(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), ".")
        opened.name = opened.current_path()
        if opened.is_gone:
            raise FileNotFoundError(f"{opened.name} was removed")
        return cls(opened)

    @property
    def descriptor(self) -> int:
        """For openat(2) and its like, and to hand to a process of ours; it stays the folder's."""
        return self.opened.fileno()

    def open_file(self, name: str, most_bytes: int) -> int:
        """Open a regular file below it for reading: a descriptor, the caller's own.

        No link leads there, neither on the way nor at the end, and nothing else than a regular file is opened: opening a
        FIFO would wait, and a device may do something. most_bytes: no larger one; it can grow meanwhile (see read_file).

        Raises FileNotFoundError, and InvalidSpec for what is there and is not to be read.
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
        """All of a regular file below it, never more than `most_bytes`. Raises what open_file() does."""
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
