"""The connections of clients: which clients are reading, and which have stalled.

zmq does not say which subscriber keeps its queue long. The Linux kernel does: it counts
what waits in a socket's send queue, and how much TCP's other side has acknowledged. zmq
says which descriptor a message came by; the socket's inode shows whether it is the same
still.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import termios
from contextlib import suppress
from dataclasses import dataclass

_ACKNOWLEDGED = 120  # where tcpi_bytes_acked begins in struct tcp_info (linux/tcp.h), 8 bytes long


@dataclass
class _Client:
    inode: int
    progress: int = -1
    since: float = 0.0  # the moment when it was last seen to read, or had nothing to read


class Clients:
    """Those of one channel."""

    def __init__(self) -> None:
        self._found: dict[int, _Client] = {}

    def add(self, descriptor: int, now: float) -> None:
        """A message came in by this descriptor. now: of CLOCK_MONOTONIC."""
        with suppress(OSError):
            inode = os.fstat(descriptor).st_ino
            if descriptor not in self._found or self._found[descriptor].inode != inode:
                self._found[descriptor] = _Client(inode, since=now)

    def behind(self, now: float) -> dict[int, float]:
        """Return the clients that something waits for.

        Descriptor -> seconds for which it has read nothing of it.
        """
        found = {}
        for descriptor, client in list(self._found.items()):
            try:
                waiting, progress = _look(descriptor, client.inode)
            except OSError:
                del self._found[descriptor]
                continue
            if not waiting or progress != client.progress:
                client.since, client.progress = now, progress
            if waiting:
                found[descriptor] = now - client.since
        return found

    def __len__(self) -> int:
        """Return how many there were at the last look."""
        return len(self._found)

    def cut_off(self, descriptor: int) -> None:
        """End a connection; zmq then forgets what waits for it."""
        client = self._found.pop(descriptor)
        with suppress(OSError), _connection(descriptor, client.inode) as connection:
            connection.shutdown(socket.SHUT_RDWR)


def _connection(descriptor: int, inode: int) -> socket.socket:
    """Return a duplicate of a connection's descriptor: zmq may close its own.

    Raises OSError where it is gone.
    """
    ours = os.dup(descriptor)
    if os.fstat(ours).st_ino != inode:
        os.close(ours)
        raise ConnectionResetError
    return socket.socket(fileno=ours)


def _look(descriptor: int, inode: int) -> tuple[int, int]:
    """Return the bytes in the send queue, and a figure that grows as the peer reads.

    Raises OSError where the connection is gone.
    """
    with _connection(descriptor, inode) as connection:
        waiting = array.array("i", [0])
        fcntl.ioctl(connection, termios.TIOCOUTQ, waiting)
        if connection.family == socket.AF_UNIX:
            return waiting[0], waiting[0]
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED + 8)
        return waiting[0], int.from_bytes(info[_ACKNOWLEDGED:], "little")
