"""inotify(7): wake up when something in a directory is deleted."""

from __future__ import annotations

import os
from ctypes import c_char_p, c_int, c_uint
from struct import Struct

from cellhold.linux.libc import function

IN_DELETE = 0x200
_IN_CLOEXEC = 0o2000000
_MOST = 65536
_HEAD = Struct("iIII")  # of struct inotify_event

_init = function("inotify_init1", c_int)
_add = function("inotify_add_watch", c_int, c_char_p, c_uint)


def watch(directory: str) -> int:
    """Return a descriptor that is readable once a file of the directory was deleted.

    Raises OSError.
    """
    fd = _init(_IN_CLOEXEC)
    try:
        _add(fd, directory.encode(), IN_DELETE)
    except OSError:
        os.close(fd)
        raise
    return int(fd)


def deleted(fd: int) -> list[str]:
    """Return the names deleted since the last call; none if the queue overflowed."""
    events, at, found = os.read(fd, _MOST), 0, []
    while at < len(events):
        _watch, _mask, _cookie, length = _HEAD.unpack_from(events, at)
        at += _HEAD.size + length
        found.append(os.fsdecode(events[at - length : at].rstrip(b"\0")))
    return [name for name in found if name]
