"""The cell kernel's channels: shell, control, stdin (DEALERs) and iopub (a SUB).

Each is ZMTP over a byte stream that the engine has connected: a unix socket here, and
whatever another engine carries the bytes over (tests/carried.py: one TCP connection for
all of them).
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

from cellhold_kernel.transport.zmtp import Room, Stream

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from cellhold_kernel.protocol.messages import Part
    from cellhold_kernel.transport.large import Incoming

CHANNELS = ("iopub", "shell", "control", "stdin")


class Backend:
    """Connected sockets of one cell kernel.

    sockets: their descriptors, to be polled; streams: what is said over them; incoming:
    the same as messages, for whoever reads them.
    """

    def __init__(self, connected: Mapping[str, socket.socket]) -> None:
        """connected: a non-blocking stream socket for each channel, ours from now on."""
        self.streams: dict[str, Stream] = {}
        self.incoming: dict[str, Incoming] = {}
        self.room = Room()
        identity = b"cellhold-" + os.urandom(8).hex().encode()  # one for all: the cell kernel routes input_request by shell's
        try:
            for channel in CHANNELS:
                kind = "SUB" if channel == "iopub" else "DEALER"
                self.streams[channel] = Stream(connected[channel], kind=kind, identity=identity, room=self.room)
        except BaseException:
            for one in connected.values():
                one.close()
            raise
        self.sockets = {channel: stream.fileno() for channel, stream in self.streams.items()}

    @property
    def broken(self) -> str | None:
        """Why a socket can no longer be used; None while all can.

        A cell kernel that ends breaks them all.
        """
        return next((f"{channel}: {stream.broken}" for channel, stream in self.streams.items() if stream.broken), None)

    def send(self, channel: str, parts: Sequence[Part]) -> None:
        """Pass a message on as it is; it waits here while the cell kernel does not read."""
        self.streams[channel].send(parts)

    def wait(self, seconds: float) -> bool:
        """Return whether something is there, or arrives within so many seconds."""
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
