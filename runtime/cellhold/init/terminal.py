"""A terminal for a program, from the container's own devpts.

So it has a name inside (pty(7), devpts(5)).
"""

from __future__ import annotations

import fcntl
import os
from struct import pack

_TIOCSPTLCK, _TIOCGPTPEER, _TIOCSWINSZ, _TIOCSCTTY = 0x40045431, 0x5441, 0x5414, 0x540E  # ioctl_tty(2)


def open_pair(rows: int, columns: int) -> tuple[int, int]:
    """Open both ends of a new terminal: the user's and the program's."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(master, _TIOCSPTLCK, pack("i", 0))
        slave = fcntl.ioctl(
            master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
        )  # no path: the image could have put something there
        fcntl.ioctl(slave, _TIOCSWINSZ, pack("4H", rows, columns, 0, 0))
    except OSError:
        os.close(master)
        raise
    return master, slave


def control(slave: int, uid: int) -> None:
    """Make it the calling session's controlling terminal, and the user's."""
    fcntl.ioctl(slave, _TIOCSCTTY, 0)
    try:
        os.fchown(slave, uid, -1)
    except PermissionError:
        return  # without CAP_CHOWN it stays root's; open descriptors serve all the same
