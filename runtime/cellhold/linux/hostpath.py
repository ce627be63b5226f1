"""A file or directory of the host, opened once.

What was checked and what a container is shown are the same descriptor. A name is looked
up here and nowhere after. It may lead elsewhere a moment later: whoever can write to a
directory on the way can put a link, or another directory, in the place of what was
checked (renameat2(2), RENAME_EXCHANGE).

Values that carry one (cellhold.spec.spec.Mount, cellhold.image.model.Stack) are frozen
and copied freely, so nobody closes it: the descriptor is closed with the last
reference.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, Self

from cellhold.linux import mount

if TYPE_CHECKING:
    from os import PathLike

Identity = tuple[int, int]  # st_dev and st_ino: nobody else's as long as the descriptor is open
_REASONS = {errno.ELOOP: "a symbolic link is on the way", errno.EXDEV: "it leads out of the directory"}
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_BENEATH = mount.RESOLVE_BENEATH | mount.RESOLVE_NO_SYMLINKS | mount.RESOLVE_NO_MAGICLINKS


class HostPath:
    """An O_PATH descriptor. name: what it was opened by, for messages only."""

    __slots__ = ("_fd", "name")

    def __init__(self, fd: int, name: str) -> None:
        """Take over the descriptor."""
        self._fd = fd
        self.name = name

    def fileno(self) -> int:
        """Return the descriptor; it stays this object's."""
        return self._fd

    def __fspath__(self) -> str:
        """Return a path by which this process alone can open the same file again.

        It does not depend on where the name leads.
        """
        return f"/proc/self/fd/{self._fd}"

    @property
    def status(self) -> os.stat_result:
        """fstat(2)."""
        return os.fstat(self._fd)

    @property
    def identity(self) -> Identity:
        """The device and inode, which tell it from every other file."""
        status = self.status
        return status.st_dev, status.st_ino

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_gone(self) -> bool:
        """Whether it was removed: it has no name any more, and a directory stays empty.

        Some file systems (of FUSE) do not count links, and a name may end like that
        too: so both are checked.
        """
        return self.status.st_nlink == 0 and self.current_path().endswith(" (deleted)")

    def current_path(self) -> str:
        """Return where it is now (proc_pid_fd(5)).

        For messages, and to find what is mounted there.
        """
        return os.readlink(os.fspath(self))

    def beneath(self, path: str | bytes) -> HostPath:
        """Open a path below this directory, following no link (openat2(2)).

        Raises OSError, with its own text for a path that leads out of the directory.
        """
        text = os.fsdecode(path)
        if "\0" in text:  # a C string would end there
            raise OSError(errno.EINVAL, "the path contains a NUL byte")
        try:
            fd = mount.openat2(self._fd, text or ".", os.O_PATH, resolve=_BENEATH)
        except OSError as error:
            raise OSError(error.errno, _REASONS.get(error.errno or 0, error.strerror)) from error
        return HostPath(fd, os.path.join(self.name, text))

    def parent(self) -> HostPath:
        """Return the directory that this one lies in now; the root is its own parent.

        Raises OSError.
        """
        return HostPath(os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd), f"{self.name}/..")

    def close(self) -> None:
        """Close it, if nobody else has it; closing twice is not an error."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        """Close it with the last reference."""
        with suppress(OSError, AttributeError):  # at the end of the interpreter; where it was never opened
            self.close()

    def __eq__(self, other: object) -> bool:
        """Return whether it is the same file by the same name."""
        return isinstance(other, HostPath) and (self.name, self.identity) == (other.name, other.identity)

    def __hash__(self) -> int:
        """Return a hash that agrees with __eq__()."""
        return hash(self.name)

    def __deepcopy__(self, _memo: object) -> Self:
        """Return self: a second owner of the descriptor would close it twice."""
        return self

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: another process has other descriptors."""
        raise TypeError(f"cannot send {self!r}: a descriptor is this process's own")

    def __repr__(self) -> str:
        """Return the same text for the same name: it is part of cache keys."""
        return f"HostPath({self.name!r})"


def read(path: str | PathLike[str], most_bytes: int) -> bytes:
    """Return the content of a regular file at a path that its user may choose.

    Links are followed; a FIFO or a device is not opened. Raises OSError, also if it has
    more than `most_bytes`.
    """
    found = opened(path)
    if found.is_directory:
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(found.status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
    with os.fdopen(os.open(found, _READ), "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes} bytes", os.fspath(path))
    return content


def opened(path: str | PathLike[str]) -> HostPath:
    """Open what is at a path that its user may choose; links are followed.

    Raises OSError.
    """
    return HostPath(os.open(path, os.O_PATH | os.O_CLOEXEC), os.fspath(path))
