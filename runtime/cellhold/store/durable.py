"""Files and directories that are whole after any crash, and survive a power cut.

They survive it once the call has returned.

    write          a draft beside the file (record.new; .ID.new in a directory of many),
                   fsync(2), rename(2), fsync(2) of the directory
    appearing      a directory made under another name (.new-NAME) and renamed when it
                   is complete
    remove         a directory renamed first (.removing-...): after a crash the name of
                   what is left says what it is

So what is half made or half removed is recognized by its name, and what cannot be read
is neither (table.py). A draft has one name: whoever writes holds the lock that belongs
to the file, and takes over what a killed writer left.
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

NEW, REMOVING = ".new-", ".removing-"  # prefixes of directories that are half made, half removed
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = {  # errors of a disk that cannot be written to now, and what helps
    errno.ENOSPC: "free space on its disk",
    errno.EDQUOT: "delete files of yours on its disk",
    errno.EROFS: "mount its disk read-write",
}
_PAGE = 4096
_SLACK = 1024  # bytes that a file may grow by without another block


def write(path: Path, data: bytes, *, lasting: bool = True) -> None:
    """Write `data` to the file `path` (mode 0600). Raises OSError.

    lasting: it survives a power cut; otherwise only a crash of the program.
    """
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
    """Write a text that may end with empty lines, even on a full disk.

    On a full disk it goes into the blocks of a spare file; the old text becomes the
    next spare. The spare is made if it is missing, of the same size. Not on a file
    system that never writes in place (btrfs). Raises OSError.
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
    """Yield a directory (0700) to fill, which then appears at `path`.

    Nothing may be at `path`. Raises OSError; then nothing is left.
    """
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
    """Remove a directory with its content. Raises OSError.

    After a crash or a power cut either all of it is there or the rest is litter.
    """
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
    """Remove what is half made and half removed in `above`. Raises OSError.

    The caller holds the lock under which these are made and removed.
    """
    for entry in above.iterdir():
        if is_half(entry):
            delete.remove(entry)


def is_half(path: Path) -> bool:
    """Return whether the name marks something half made or half removed."""
    return path.name.startswith((NEW, REMOVING))


def sync(path: Path) -> None:
    """fsync(2) of a file or directory. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_filesystem(path: Path) -> None:
    """Write out the whole file system of a directory. Raises OSError.

    For many files at once, of which nobody has a list.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syncfs(fd)
    finally:
        os.close(fd)


def _spare(path: Path) -> Path:
    return path.with_suffix(".spare")


def _write_new(path: Path, data: bytes, *, lasting: bool) -> None:
    with open(path, "xb", opener=_private) as file:  # x follows no link; an interrupt at any point closes it
        file.write(data)
        file.flush()
        if lasting:
            os.fsync(file.fileno())


def _write_over(path: Path, data: bytes) -> bool:
    """Write into the blocks of an existing file.

    Returns False if there is no such file, or it is too small.
    """
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
