"""Connections to the cell kernel's unix sockets.

The container owns the directory they lie in, so it may put a symbolic link to a socket
of the host where its own was (a confused deputy: the host kernel would talk to the
host's service with the host's authority). Each is therefore opened once with O_PATH and
O_NOFOLLOW, seen to be a socket, and connected to through /proc/self/fd; nobody connects
again later.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError
from cellhold_kernel.transport.backend import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Mapping


def open_socket(name: str, *, directory: int) -> int:
    """Return an O_PATH descriptor of the unix socket `name` in a hostile directory.

    Raises OSError where there is none, CellholdError where it is something else: a
    symbolic link, which O_PATH opens as itself.
    """
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    if stat.S_ISSOCK(os.fstat(found).st_mode):
        return found
    os.close(found)
    raise CellholdError(f"cannot connect to the cell kernel: {name} in its directory is not a socket")


def connect(names: Mapping[str, str], *, directory: int) -> dict[str, socket.socket]:
    """Return a socket per channel, connected to the names in `directory`.

    names: channel -> name. Raises what open_socket() and connect(2) raise.
    """
    connected: dict[str, socket.socket] = {}
    try:
        for channel in CHANNELS:
            connected[channel] = _connected(names[channel], directory=directory)
    except BaseException:
        for one in connected.values():
            one.close()
        raise
    return connected


def _connected(name: str, *, directory: int) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    found = -1
    try:
        found = open_socket(name, directory=directory)
        connected.connect(f"/proc/self/fd/{found}")
    except BaseException:
        connected.close()
        raise
    finally:
        if found >= 0:
            os.close(found)
    return connected
