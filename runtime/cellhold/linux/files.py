"""Calls on file systems: write everything out, exchange two names."""

from __future__ import annotations

import os
from ctypes import c_char_p, c_int, c_uint

from cellhold.linux.libc import function

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

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
