"""The sockets towards Jupyter: bound where the connection file says, as ipykernel binds them.

Shell, control and stdin are ROUTERs, iopub an XPUB that greets each subscriber with `iopub_welcome` (JEP 65), the heartbeat
echoes. Sends what it is given and messages of the host kernel's own; decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zmq

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cellhold_kernel.connection import Connection
    from cellhold_kernel.wire import Message, Signer

LINGER_MS = 1000  # ipykernel's: how long the end of the process waits for what was sent
_QUEUE_MOST = 10_000  # messages to one client that does not read; then it loses some, as with ipykernel (1000 there)
_MESSAGE_MOST = 1 << 30
_AT_ONCE = 64  # messages of one channel before the others have their turn


def receive(socket: zmq.Socket[bytes]) -> Iterator[list[zmq.Frame]]:
    """The messages that wait on a socket, up to a fair share of them."""
    for _ in range(_AT_ONCE):
        try:
            yield socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return


class Front:
    """Five bound sockets; `close` unbinds them."""

    def __init__(self, connection: Connection, signer: Signer) -> None:
        """Raise zmq.ZMQError where an address is taken."""
        self._signer = signer
        self._context = zmq.Context()
        self._curve = connection.curve
        self.sockets: dict[str, zmq.Socket[bytes]] = {}
        kinds = {"shell": zmq.ROUTER, "control": zmq.ROUTER, "stdin": zmq.ROUTER, "iopub": zmq.XPUB, "hb": zmq.REP}
        for channel, kind in kinds.items():
            self.sockets[channel] = self._bound(kind, connection.url(channel))

    def _bound(self, kind: int, url: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = LINGER_MS
        socket.setsockopt(zmq.MAXMSGSIZE, _MESSAGE_MOST)
        if kind == zmq.XPUB:
            socket.sndhwm = _QUEUE_MOST
        if kind == zmq.ROUTER:
            socket.router_handover = True  # a client that comes back with its identity gets its messages (zeromq/libzmq#2892)
        if self._curve is not None:
            socket.curve_publickey, socket.curve_secretkey = self._curve
            socket.curve_server = True
        socket.bind(url)
        return socket

    def send(self, channel: str, frames: Sequence[zmq.Frame | bytes]) -> None:
        """Pass frames on as they are."""
        self.sockets[channel].send_multipart(frames, copy=False)

    def publish(self, kind: str, content: Mapping[str, Any], *, parent: Mapping[str, Any] | None) -> None:
        """A message of our own on iopub; `parent`: the header of the request that it belongs to."""
        self.send("iopub", self._signer.make(kind, content, parent=parent, identities=(kind.encode(),)))

    def reply(self, channel: str, request: Message, content: Mapping[str, Any]) -> None:
        """Our own answer to a request."""
        kind = request.type.removesuffix("_request") + "_reply"
        metadata = {"status": content["status"]} if "status" in content else {}
        frames = self._signer.make(kind, content, parent=request.header, metadata=metadata, identities=request.identities)
        self.send(channel, frames)

    def echo(self) -> None:
        """Answer what came on the heartbeat channel."""
        for frames in receive(self.sockets["hb"]):
            self.send("hb", frames)

    def greet(self) -> None:
        """Welcome new subscribers of iopub: they know then that they miss nothing from here on."""
        for (frame,) in receive(self.sockets["iopub"]):
            asked = frame.bytes
            if asked[:1] == b"\x01":
                topic = asked[1:]
                content = {"subscription": topic.decode("utf-8", "replace")}
                self.send("iopub", self._signer.make("iopub_welcome", content, identities=(topic,) if topic else ()))

    def close(self) -> None:
        """Send what is still to be sent, within LINGER_MS, and let go of the addresses."""
        for socket in self.sockets.values():
            socket.close()
        self._context.term()
