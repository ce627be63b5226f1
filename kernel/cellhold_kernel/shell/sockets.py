"""The sockets that the host kernel connects to, by ZMTP as it speaks it (zmtp.py): bounded in bytes, and no zmq to be imported.

Each is accepted once; there is one host kernel. What it does not read yet waits here, and `is_full` says when that is enough.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold_kernel.transport.zmtp import Arrived, Room, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cellhold_kernel.protocol.messages import Part

_KINDS = {"shell": "ROUTER", "control": "ROUTER", "stdin": "ROUTER", "iopub": "PUB"}
_FULL_BYTES = 1 << 20


class _Counted(Stream):
    """A connection that tells how much waits."""

    @property
    def queued(self) -> int:
        """Bytes that the host kernel has not read yet."""
        return self._queued


class Sockets:
    """One of each kind, bound in the directory where we are."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """names: of the sockets, by channel; the host kernel answers the heartbeat itself."""
        self.streams: dict[str, _Counted] = {}
        self._room = Room()
        self._listening: dict[str, socket.socket] = {}
        for channel in _KINDS:
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            listening.bind(names[channel])
            listening.listen(1)
            self._listening[channel] = listening

    @property
    def is_met(self) -> bool:
        """Whether the host kernel has connected all of them."""
        return not self._listening

    @property
    def is_full(self) -> bool:
        """Whether the host kernel is behind with what is published, so that nothing more should be."""
        return "iopub" in self.streams and self.streams["iopub"].queued > _FULL_BYTES

    @property
    def is_lost(self) -> bool:
        """Whether the host kernel has closed one."""
        return any(stream.broken is not None for stream in self.streams.values())

    @property
    def owes(self) -> bool:
        """Whether something was not written yet."""
        return any(stream.wants_to_write for stream in self.streams.values())

    def sources(self) -> Iterator[tuple[int, str, bool]]:
        """What to wait for: descriptor, channel, and whether it is to be written to as well."""
        for channel, listening in self._listening.items():
            yield listening.fileno(), channel, False
        for channel, stream in self.streams.items():
            if stream.broken is None:
                yield stream.fileno(), channel, stream.wants_to_write

    def receive(self, channel: str) -> Iterator[Sequence[Part]]:
        """Something is to be done with a channel: accept the connection, or write, and give the messages that came."""
        if channel in self._listening:
            with suppress(BlockingIOError):
                accepted, _address = self._listening[channel].accept()
                accepted.setblocking(False)
                self.streams[channel] = _Counted(accepted, kind=_KINDS[channel], identity=b"", room=self._room)
                self._listening.pop(channel).close()
            return
        stream = self.streams[channel]
        stream.flush()
        while True:
            for arrived in stream.receive():
                if isinstance(arrived, Arrived) and not arrived.goes_on:  # else it is absurdly large
                    yield arrived.parts
            if not stream.has_more:
                return

    def send(self, channel: str, parts: Sequence[Part]) -> None:
        """Send, as soon as it is read."""
        self.streams[channel].send(parts)

    def close(self) -> None:
        """Close what is open."""
        for stream in self.streams.values():
            stream.close()
        for listening in self._listening.values():
            listening.close()
