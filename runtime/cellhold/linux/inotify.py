"""inotify(7): to be woken when something in a directory goes."""

from __future__ import annotations

import os
from ctypes import c_char_p, c_int, c_uint

from cellhold.linux.libc import function

IN_DELETE = 0x200
_IN_CLOEXEC = 0o2000000
_MOST = 65536

_init = function("inotify_init1", c_int)
_add = function("inotify_add_watch", c_int, c_char_p, c_uint)


def watch(directory: str) -> int:
    """A descriptor that is readable once something has been deleted from the directory. Raises OSError."""
    fd = _init(_IN_CLOEXEC)
    try:
        _add(fd, directory.encode(), IN_DELETE)
    except OSError:
        os.close(fd)
        raise
    return int(fd)


def drain(fd: int) -> None:
    """Take what has come, so that it is readable for what comes next."""
    os.read(fd, _MOST)
