"""The sockets towards the container: a DEALER each for shell, control and stdin, a SUB for iopub.

The container owns the directory they lie in, so it may put a symbolic link to a socket of the host where its own was (a confused
deputy: the host kernel would talk to the host's service with the host's authority). Each is therefore opened once with O_PATH and
O_NOFOLLOW, seen to be a socket, and connected to through /proc/self/fd: zmq reconnects by itself, always to the same inode.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import zmq

from cellhold.errors import CellholdError

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANNELS = ("iopub", "shell", "control", "stdin")
_RECONNECT_MS = 10
_QUEUE_MOST = 10_000
_MESSAGE_MOST = 256 << 20  # bytes of one frame; zmq drops the connection of a container that sends more


def open_socket(name: str, *, directory: int) -> int:
    """An O_PATH descriptor of the unix socket `name` in a directory that somebody hostile writes to.

    Raises OSError where there is none, CellholdError where it is something else: a symbolic link, which O_PATH opens as itself.
    """
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    if stat.S_ISSOCK(os.fstat(found).st_mode):
        return found
    os.close(found)
    raise CellholdError(f"cannot connect to the cell kernel: {name} in its directory is not a socket")


class Back:
    """Connected sockets of one cell kernel."""

    def __init__(self, names: dict[str, str], *, directory: int, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Connect to the sockets `names` (by channel) in `directory`; raise as `open_socket` does."""
        self._descriptors: list[int] = []
        self.sockets: dict[str, zmq.Socket[bytes]] = {}
        identity = b"cellhold-" + os.urandom(8).hex().encode()  # one for all: the cell kernel routes input_request by shell's
        try:
            for channel in CHANNELS:
                found = open_socket(names[channel], directory=directory)
                self._descriptors.append(found)
                self.sockets[channel] = _connected(context, channel, identity, f"ipc:///proc/self/fd/{found}")
        except BaseException:
            self.close()
            raise

    def send(self, channel: str, frames: Sequence[zmq.Frame | bytes]) -> None:
        """Pass frames on as they are. A full queue drops them: a cell kernel that reads nothing must not stop the host kernel."""
        try:
            self.sockets[channel].send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return

    def wait(self, seconds: float) -> bool:
        """Whether something comes in within that time."""
        poller = zmq.Poller()
        for socket in self.sockets.values():
            poller.register(socket, zmq.POLLIN)
        return bool(poller.poll(round(seconds * 1000)))

    def close(self) -> None:
        """Drop what was not sent: nobody is there to read it."""
        for socket in self.sockets.values():
            socket.close(linger=0)
        for descriptor in self._descriptors:
            os.close(descriptor)
        self.sockets.clear()
        self._descriptors.clear()


def _connected(context: zmq.Context[zmq.Socket[bytes]], channel: str, identity: bytes, url: str) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.SUB if channel == "iopub" else zmq.DEALER)
    socket.linger = 0
    socket.reconnect_ivl = _RECONNECT_MS
    socket.set_hwm(_QUEUE_MOST)
    socket.setsockopt(zmq.MAXMSGSIZE, _MESSAGE_MOST)
    if channel == "iopub":
        socket.subscribe(b"")
    else:
        socket.identity = identity
    socket.connect(url)
    return socket
