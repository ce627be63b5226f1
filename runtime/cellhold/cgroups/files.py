"""A cgroup's pseudo files and directories, with as few system calls as possible.

Making a group is on every container's way; pathlib and text streams cost more than the
kernel does here. Which file means what is the business of each version's own modules.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[str], str | None]  # what read() is

_WRITE = os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC  # O_TRUNC does nothing to a pseudo file; it lets a plain directory stand in for one
_READ = os.O_RDONLY | os.O_CLOEXEC
_MOST = 1 << 16  # bytes
_SHORT = 1 << 11  # bytes: the kernel fills a page as far as whole records go, so a part shorter than this is the last one
REMOVED = frozenset({errno.ENOENT, errno.ENODEV})  # what access to a group answers that is gone, or goes in this moment
_ABSENT = frozenset({errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP})  # no such file; the group went away; PSI switched off


def mkdir(directory: str) -> None:
    """Make one directory; the kernel fills it with pseudo files."""
    os.mkdir(directory, 0o755)  # pathlib costs more than the call


def rmdir(directory: str) -> None:
    """Remove one directory with its pseudo files.

    Raises EBUSY while a process or a child group is in it.
    """
    os.rmdir(directory)


def make(mount: str, path: str) -> str:
    """Make the group `path` below `mount` with missing parents; return its directory.

    Raises FileExistsError if the group itself exists already: it belongs to somebody
    else.
    """
    directory = f"{mount}/{path}"
    try:
        mkdir(directory)
    except FileNotFoundError:  # the parents stay when a group is removed, so this is the first container since boot
        parent, _, _ = path.rpartition("/")
        if not parent:
            raise
        ensure(mount, parent)
        mkdir(directory)
    return directory


def ensure(mount: str, path: str) -> None:
    """Make every missing group along `path`."""
    at = mount
    for part in path.split("/"):
        at = f"{at}/{part}"
        try:
            mkdir(at)
        except FileExistsError:
            continue


def read(path: str) -> str | None:
    """Return the text of a file without the trailing newline.

    None if this kernel has no such file or the group is gone.
    """
    try:
        descriptor = os.open(path, _READ)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    try:
        return _text(descriptor)
    finally:
        os.close(descriptor)


class Kept:
    """Pseudo files kept open for a caller that reads them repeatedly.

    Opening is most of what reading one costs.
    """

    def __init__(self) -> None:
        """Start with no open file."""
        self._open: dict[str, int] = {}

    def read(self, path: str) -> str | None:
        """Read a file as files.read() does, without opening it again."""
        descriptor = self._open.get(path)
        if descriptor is None:
            try:
                descriptor = self._open[path] = os.open(path, _READ)
            except OSError as error:
                if error.errno in _ABSENT:
                    return None
                raise
        return _text(descriptor)

    def close(self) -> None:
        """Close all files; a later read opens them again."""
        while self._open:
            os.close(self._open.popitem()[1])


def _text(descriptor: int) -> str | None:
    parts: list[bytes] = []
    try:
        while part := os.pread(descriptor, _MOST, sum(map(len, parts))):
            parts.append(part)
            if len(part) < _SHORT:
                break
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return None
    return b"".join(parts).decode().rstrip("\n")


def write(path: str, *values: str) -> None:
    """Write the values, each by a system call of its own. Raises OSError.

    To the kernel each write is one command.
    """
    descriptor = os.open(path, _WRITE)
    try:
        for value in values:
            os.write(descriptor, value.encode() + b"\n")
    finally:
        os.close(descriptor)


@contextmanager
def unless_removed() -> Iterator[None]:
    """Suppress the error of a write to a group that is gone.

    ENOENT: it was removed; ENODEV: it is being removed at this moment.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REMOVED:
            raise


def children(directory: str) -> list[str]:
    """Return the names of the groups right below; empty if the directory is gone."""
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
