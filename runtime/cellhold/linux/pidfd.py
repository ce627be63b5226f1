"""pidfd_send_signal(2)."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # as in init/pid1.py
from ctypes import c_char_p, c_int, c_uint
from struct import pack

from cellhold.linux.libc import syscall

SI_QUEUE = -1
TO_GROUP = 1  # the value of a signal that PID 1 of a container is to pass on to its program's whole group (init/pid1.py)
_SIGINFO_SIZE = 128

_pidfd_send_signal = syscall("pidfd_send_signal", c_int, c_int, c_char_p, c_uint)


def pidfd_send_signal(pidfd: int, number: int) -> None:
    """Send a signal through a pidfd; a process that has ended is not an error."""
    try:
        _signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return


def pidfd_send_value(pidfd: int, number: int, value: int) -> None:
    """pidfd_send_signal(2) with a value, as sigqueue(3) does.

    A process that has ended is not an error.
    """
    info = pack("iii4xiii", number, 0, SI_QUEUE, 0, 0, value).ljust(_SIGINFO_SIZE, b"\0")
    try:
        _pidfd_send_signal(pidfd, number, info, 0)
    except ProcessLookupError:
        return
