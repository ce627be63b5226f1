"""The sockets towards the container: as a DEALER each for shell, control and stdin, as a SUB for iopub.

The container owns the directory they lie in, so it may put a symbolic link to a socket of the host where its own was (a confused
deputy: the host kernel would talk to the host's service with the host's authority). Each is therefore opened once with O_PATH and
O_NOFOLLOW, seen to be a socket, and connected to through /proc/self/fd; nobody connects again later.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError
from cellhold_kernel.transport.zmtp import Room, Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold_kernel.protocol.messages import Part
    from cellhold_kernel.transport.large import Incoming

CHANNELS = ("iopub", "shell", "control", "stdin")


def open_socket(name: str, *, directory: int) -> int:
    """An O_PATH descriptor of the unix socket `name` in a directory that somebody hostile writes to.

    Raises OSError where there is none, CellholdError where it is something else: a symbolic link, which O_PATH opens as itself.
    """
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    if stat.S_ISSOCK(os.fstat(found).st_mode):
        return found
    os.close(found)
    raise CellholdError(f"cannot connect to the cell kernel: {name} in its directory is not a socket")


class Backend:
    """Connected sockets of one cell kernel.

    sockets: their descriptors, to be polled; streams: what is said over them; incoming: the
    same as messages, for whoever reads them.
    """

    def __init__(self, names: dict[str, str], *, directory: int) -> None:
        """Connect to the sockets `names` (by channel) in `directory`; raise as `open_socket` does, or as connect(2) does."""
        self.streams: dict[str, Stream] = {}
        self.incoming: dict[str, Incoming] = {}
        self.room = Room()
        identity = b"cellhold-" + os.urandom(8).hex().encode()  # one for all: the cell kernel routes input_request by shell's
        try:
            for channel in CHANNELS:
                connected = _connected(names[channel], directory=directory)
                kind = "SUB" if channel == "iopub" else "DEALER"
                self.streams[channel] = Stream(connected, kind=kind, identity=identity, room=self.room)
        except BaseException:
            self.close()
            raise
        self.sockets = {channel: stream.fileno() for channel, stream in self.streams.items()}

    @property
    def broken(self) -> str | None:
        """What is wrong with the sockets, where one is of no use any more; a cell kernel that ends breaks them all."""
        return next((f"{channel}: {stream.broken}" for channel, stream in self.streams.items() if stream.broken), None)

    def send(self, channel: str, parts: Sequence[Part]) -> None:
        """Pass a message on as it is; it waits here while the cell kernel does not read."""
        self.streams[channel].send(parts)

    def wait(self, seconds: float) -> bool:
        """Whether something is there, or comes in within that time."""
        if any(stream.has_more for stream in self.streams.values()):
            return True
        poller = select.poll()
        for stream in self.streams.values():
            if stream.broken is None:
                poller.register(stream, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def close(self) -> None:
        """Drop what was not sent: nobody is there to read it."""
        for stream in self.streams.values():
            stream.close()


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
