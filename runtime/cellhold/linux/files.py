"""Calls on file systems: write everything out, exchange names, share data."""

from __future__ import annotations

import errno
import fcntl
import os
from ctypes import c_char_p, c_int, c_uint

from cellhold.linux.libc import function

_AT_FDCWD = -100
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
_FICLONE = 0x40049409

_syncfs = function("syncfs", c_int)
_renameat2 = function("renameat2", c_int, c_char_p, c_int, c_char_p, c_uint)


def syncfs(fd: int) -> None:
    """syncfs(2): write out the whole file system that `fd` is on.

    Since Linux 5.8 it reports errors.
    """
    _syncfs(fd)


def exchange(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> None:
    """renameat2(2) with RENAME_EXCHANGE: swap two existing names atomically."""
    _renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)


def rename_exchange(directory: int, one: bytes, other_directory: int, other: bytes) -> None:
    """renameat2(2) with RENAME_EXCHANGE, below opened directories."""
    _renameat2(directory, one, other_directory, other, _RENAME_EXCHANGE)


def rename_noreplace(directory: int, old: bytes, new_directory: int, new: bytes) -> None:
    """Call renameat2(2) with RENAME_NOREPLACE, below opened directories.

    Raises FileExistsError.
    """
    _renameat2(directory, old, new_directory, new, _RENAME_NOREPLACE)


def clone(source: int, target: int) -> bool:
    """Let `target` share all data of `source`: ioctl_ficlone(2).

    Returns False if the file systems cannot.
    """
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in (errno.EBADF, errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.ETXTBSY):
            return False
        raise
    return True
