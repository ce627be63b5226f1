"""netdevice(7): the one ioctl that a container without a network needs."""

from __future__ import annotations

import fcntl
import os
from ctypes import c_int
from struct import pack

from cellhold.linux.libc import function

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_AF_INET, _SOCK_DGRAM, _SOCK_CLOEXEC = 2, 2, 0o2000000

_socket = function("socket", c_int, c_int, c_int)  # Python's socket module takes longer to import than a container to start


def set_up(name: str) -> None:
    """Bring the interface `name` of this network namespace up."""
    fd = _socket(_AF_INET, _SOCK_DGRAM | _SOCK_CLOEXEC, 0)
    try:
        fcntl.ioctl(fd, _SIOCSIFFLAGS, pack("16sH22x", name.encode(), _IFF_UP))
    finally:
        os.close(fd)
