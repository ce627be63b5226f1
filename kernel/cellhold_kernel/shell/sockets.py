"""The sockets that the host kernel connects to, with our ZMTP (transport/zmtp.py).

It is bounded in bytes, and needs no import of zmq. Each socket accepts one connection:
there is one host kernel. What it has not read yet waits here, and `is_full` says when
nothing more should be added.
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
    """A connection whose queue can be measured."""

    @property
    def queued(self) -> int:
        """Bytes that the host kernel has not read yet."""
        return self._queued


class Sockets:
    """One socket of each channel, bound in the current directory."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """Bind the sockets.

        names: of the sockets, by channel; there is no heartbeat, which the host kernel
        answers itself.
        """
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
        """Whether the host kernel has connected to all of them."""
        return not self._listening

    @property
    def is_full(self) -> bool:
        """Whether so much of iopub is unread that nothing more should be published."""
        return "iopub" in self.streams and self.streams["iopub"].queued > _FULL_BYTES

    @property
    def is_lost(self) -> bool:
        """Whether the host kernel has closed one of them."""
        return any(stream.broken is not None for stream in self.streams.values())

    @property
    def owes(self) -> bool:
        """Whether something is still to be written."""
        return any(stream.wants_to_write for stream in self.streams.values())

    def sources(self) -> Iterator[tuple[int, str, bool]]:
        """Yield what to wait for: descriptor, channel, whether it has data to write."""
        for channel, listening in self._listening.items():
            yield listening.fileno(), channel, False
        for channel, stream in self.streams.items():
            if stream.broken is None:
                yield stream.fileno(), channel, stream.wants_to_write

    def receive(self, channel: str) -> Iterator[Sequence[Part]]:
        """Accept a channel's connection, or write what waits and yield its messages."""
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
                if isinstance(arrived, Arrived) and not arrived.goes_on:  # a larger one is dropped
                    yield arrived.parts
            if not stream.has_more:
                return

    def send(self, channel: str, parts: Sequence[Part]) -> None:
        """Queue a message; it is written as the host kernel reads."""
        self.streams[channel].send(parts)

    def close(self) -> None:
        """Close all sockets."""
        for stream in self.streams.values():
            stream.close()
        for listening in self._listening.values():
            listening.close()
