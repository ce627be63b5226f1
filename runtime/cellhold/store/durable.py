"""Files and directories that are whole after any crash, and still there after a power cut once the call has returned.

    write          a draft beside the file (record.new; .ID.new in a directory of many), fsync(2), rename(2), fsync(2) of the directory
    appearing      a directory made under another name (.new-NAME) and renamed when it is complete
    remove         a directory renamed first (.removing-...): what is left of it after a crash says what it is

So what is half made or half removed is told by its name, and what cannot be read is neither (table.py). A draft has one name:
whoever writes holds the lock that belongs to the file, and takes over what a killed one has left.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cellhold.linux.files import exchange, syncfs
from cellhold.store import delete

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NEW, REMOVING = ".new-", ".removing-"  # what the names of directories begin with that are half made, half removed
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = {  # what a disk answers that cannot be written to now, and what helps
    errno.ENOSPC: "free space on its disk",
    errno.EDQUOT: "delete files of yours on its disk",
    errno.EROFS: "mount its disk read-write",
}
_PAGE = 4096
_SLACK = 1024  # bytes that a file may grow by without needing a block more


def write(path: Path, data: bytes, *, lasting: bool = True) -> None:
    """Put `data` there (0600). lasting: it survives a power cut; without that, only a crash of the program. Raises OSError."""
    draft = path.with_suffix(".new") if path.suffix else path.with_name(f".{path.name}.new")
    try:
        draft.unlink(missing_ok=True)  # it was being written when something was interrupted
        _write_new(draft, data, lasting=lasting)
        os.rename(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    if lasting:
        sync(path.parent)


def write_text(path: Path, data: bytes) -> None:
    """Write() a text that may end with empty lines, on a full disk too: into the blocks of its spare, which the old text becomes then.

    The spare is made where there is none, of the same size. Not on a file system that never writes in place (btrfs). Raises OSError.
    """
    padded = data + b"\n" * (_SLACK + -(len(data) + _SLACK) % _PAGE)
    if is_new := not _spare(path).exists():
        write(_spare(path), padded, lasting=False)
    try:
        write(path, padded)
        if is_new:
            sync(_spare(path))  # last, as the kernel has most likely written it out with the other
    except OSError as error:
        if error.errno not in NO_ROOM or not _write_over(_spare(path), data):
            raise
        exchange(_spare(path), path)
        sync(path.parent)  # before the blocks of the one are written over the next time


@contextmanager
def appearing(path: Path, *, lasting: bool = True) -> Iterator[Path]:
    """A directory (0700) that is filled here and then appears at `path`, where nothing is. Raises OSError; then nothing is left."""
    draft = path.with_name(f"{NEW}{path.name}")
    delete.remove(draft)
    draft.mkdir(mode=0o700)
    try:
        yield draft
        if lasting:
            sync(draft)
        os.rename(draft, path)
    except BaseException:
        with suppress(OSError):
            delete.remove(draft)
        raise
    if lasting:
        sync(path.parent)


def remove(path: Path) -> None:
    """Remove a directory and all that is in it. What a crash or a power cut leaves of it is litter, or all of it. Raises OSError."""
    going = path.with_name(f"{REMOVING}{os.urandom(6).hex()}")
    try:
        os.rename(path, going)
        sync(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        going = path if path.exists() else going  # no room for a longer name: removing it makes some
    delete.remove(going)


def clear(above: Path) -> None:
    """Remove what is half made and half removed in `above`; the caller has the lock under which that is done. Raises OSError."""
    for entry in above.iterdir():
        if is_half(entry):
            delete.remove(entry)


def is_half(path: Path) -> bool:
    """Whether the name says that it is half made, or half removed."""
    return path.name.startswith((NEW, REMOVING))


def sync(path: Path) -> None:
    """fsync(2) of a file or directory. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_filesystem(path: Path) -> None:
    """Write out all of the file system that the directory is on: for many files at once, of which nobody has a list. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syncfs(fd)
    finally:
        os.close(fd)


def _spare(path: Path) -> Path:
    return path.with_suffix(".spare")


def _write_new(path: Path, data: bytes, *, lasting: bool) -> None:
    with open(path, "xb", opener=_private) as file:  # x follows no link; an interrupt closes it wherever it comes
        file.write(data)
        file.flush()
        if lasting:
            os.fsync(file.fileno())


def _write_over(path: Path, data: bytes) -> bool:
    """Write into the blocks that a file has; False where there is none, or it is too small."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        size = os.fstat(fd).st_size
        if len(data) > size:
            return False
        os.pwrite(fd, data.ljust(size, b"\n"), 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
