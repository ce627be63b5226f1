"""Locks that end with their holder: flock(2) on a file or directory of the store.

They also hold across its removal: whoever waited for a lock may hold one on something
that was renamed or removed meanwhile; `held()` tries again then. A directory that its
maker keeps locked for life (`own_directory`) is abandoned once nobody holds it, and
anybody may clear it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cellhold.store import delete

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_FILE = os.O_CLOEXEC | os.O_NOFOLLOW
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def held(
    path: Path, opened: Callable[[], int], *, shared: bool = False, wait: bool = True, patience: Callable[[], object] | None = None
) -> Iterator[int]:
    """Hold the lock on the file that `opened` opens (or makes) at `path`.

    Yields the descriptor. patience: called again and again while another process holds
    the lock: it sleeps a moment, or raises an error to give up. Raises BlockingIOError
    if another holds it and `wait` is false, FileNotFoundError if the directory above is
    gone.
    """
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait and patience is None else fcntl.LOCK_NB)
    while True:
        fd = opened()
        try:
            if not _locked(fd, operation, patience):
                continue
            if not _is_at(fd, path):
                continue
            yield fd
            return
        finally:
            os.close(fd)


def _locked(fd: int, operation: int, patience: Callable[[], object] | None) -> bool:
    try:
        fcntl.flock(fd, operation)
    except BlockingIOError:
        if patience is None:
            raise
        patience()
        return False
    return True


def _is_at(fd: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        there, ours = os.stat(path, follow_symlinks=False), os.fstat(fd)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
    return False


def own_directory(above: Path) -> tuple[Path, int]:
    """Make a new private directory in `above`, locked from the first moment.

    Its name is twelve hexadecimal digits. Returns its path and the lock, a descriptor
    that the caller closes. Nobody can take it for an abandoned one in between.
    """
    while True:
        path = above / os.urandom(6).hex()
        path.mkdir(mode=0o700)
        with suppress(FileNotFoundError, BlockingIOError):
            lock = try_directory(path)
            if _is_at(lock, path):
                return path, lock
            os.close(lock)


def try_directory(path: Path, *, shared: bool = False) -> int:
    """Lock a directory that is there; return the lock, an open descriptor.

    The caller closes it. Raises BlockingIOError if another process holds it,
    FileNotFoundError, and OSError if it is not a directory.
    """
    lock = os.open(path, _DIRECTORY)
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BaseException:
        os.close(lock)
        raise
    return lock


def clear_abandoned(above: Path) -> None:
    """Remove the directories in `above` that nobody holds locked.

    What cannot be removed is left for the next time.
    """
    for path in above.iterdir():
        with suppress(OSError):
            lock = try_directory(path)
            try:
                delete.remove(path)
            finally:
                os.close(lock)


def file(path: Path) -> Callable[[], int]:
    """Return an opener for `held`: a private file, made if it is missing.

    On a disk that is read-only now, a missing file is an error.
    """

    def opened() -> int:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | _FILE, 0o600)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            with suppress(FileNotFoundError):
                return os.open(path, os.O_RDONLY | _FILE)  # which is enough for flock(2)
            raise

    return opened


def directory(path: Path) -> Callable[[], int]:
    """Return an opener for `held`: a private directory, made if it is missing."""

    def opened() -> int:
        while True:
            path.mkdir(mode=0o700, exist_ok=True)
            with suppress(FileNotFoundError):  # removed between its making and its opening
                return os.open(path, _DIRECTORY)

    return opened
