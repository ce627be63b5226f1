"""The sockets towards Jupyter, bound where the connection file says.

Shell, control and stdin are ROUTERs, iopub an XPUB that greets each subscriber with
`iopub_welcome` (JEP 65), the heartbeat echoes. Sends the messages of the cell kernel
and the host kernel's own. It decides one thing only: how much may wait here for clients
that do not read (`takes`, `look`).

zmq's own limits count messages, so they are off. What is held here is counted in bytes
(send_window.py); where that is too much, nothing more is read from the container until
clients have read, so that a client that reads misses nothing. A client that reads
nothing for PATIENCE_SECONDS is cut off, so that the others go on; where no client
reads, output is left out, and a line says so.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import zmq

from cellhold.spec import units, words
from cellhold_kernel.protocol.messages import object_in, size_of
from cellhold_kernel.transport.clients import Clients
from cellhold_kernel.transport.send_window import SendWindow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cellhold_kernel.protocol.connection import Connection
    from cellhold_kernel.protocol.messages import Message, Part, Signer

LINGER_MS = 1000  # ipykernel's: how long the end of the process waits for what was sent
PATIENCE_SECONDS = 10.0  # with a client that reads nothing
_SLOW_SECONDS = 60.0  # with one that reads so slowly that the others wait for it
_HELD_MOST = 8 << 20  # bytes; one message more may be held
_RESERVE = 1 << 20  # bytes for what is never left out
_MESSAGE_MOST = 1 << 30
_AT_ONCE = 64  # messages of one channel before the others have their turn
_DIRECT = 64 << 10  # bytes; larger frames that come in are not copied
_COPIED = 256 << 10  # bytes; larger frames that go out are not copied: below that, to be told that one has left costs more
_MORE = int(zmq.SNDMORE)  # enum's own arithmetic would cost more than the sending
_WINDOWS_MOST = 64
_SHOWN = frozenset({"stream", "error", "display_data", "update_display_data", "execute_result"})
_ALWAYS = frozenset({"status", "execute_input", "error", "shutdown_reply"})  # told to those who do not read, too: small, and waited for


def receive(socket: zmq.Socket[bytes]) -> Iterator[tuple[list[Part], int]]:
    """Yield the messages that wait on a socket, up to a fair share of them.

    Each comes with the descriptor of its connection.
    """
    for _ in range(_AT_ONCE):
        try:
            frames = socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return
        yield [frame.bytes if len(frame) < _DIRECT else frame.buffer for frame in frames], _came_by(frames[-1])


def _came_by(frame: zmq.Frame) -> int:
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:  # what zmq itself says of a subscriber that left
        return -1


class Frontend:
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
        self._clients = {channel: Clients() for channel in kinds}
        self._windows: dict[tuple[str, bytes], SendWindow] = {}  # by channel and client; all subscribers of iopub have one
        self._latest: Part = b"{}"  # the parent header of what was published last
        self._left_out = self._left_out_messages = 0  # bytes and messages, since nobody reads
        self._nobody_reads = False

    def _bound(self, kind: int, url: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = LINGER_MS
        socket.setsockopt(zmq.MAXMSGSIZE, _MESSAGE_MOST)
        socket.sndhwm = 0
        if kind == zmq.XPUB:
            socket.setsockopt(zmq.XPUB_MANUAL, 1)
        if kind == zmq.ROUTER:
            socket.router_handover = True  # a client that comes back with its identity gets its messages (zeromq/libzmq#2892)
        if self._curve is not None:
            socket.curve_publickey, socket.curve_secretkey = self._curve
            socket.curve_server = True
        socket.bind(url)
        return socket

    def receive(self, channel: str) -> Iterator[list[Part]]:
        """The messages that wait on a channel, up to a fair share of them."""
        now = time.monotonic()
        for parts, came_by in receive(self.sockets[channel]):
            self._clients[channel].add(came_by, now)
            yield parts

    # -------------------------------------------------------------------------- sending

    def send(self, channel: str, parts: Sequence[Part]) -> None:
        """Pass a message on as it is."""
        whose = (channel, b"" if channel == "iopub" else bytes(parts[0]))
        if whose not in self._windows:
            if len(self._windows) > _WINDOWS_MOST:
                self._windows = {key: window for key, window in self._windows.items() if window.held}
            self._windows[whose] = SendWindow()
        marked, frame = self._windows[whose].mark(parts) or (-1, None)
        socket, last = self.sockets[channel], len(parts) - 1
        for number, part in enumerate(parts):
            more = _MORE if number < last else 0
            if frame is not None and number == marked:
                socket.send(frame, more, copy=False)
            else:
                socket.send(part, more, copy=len(part) < _COPIED)

    def pass_on(self, message: Message) -> None:
        """Publish a cell kernel's message; where nobody reads, leave it out."""
        self._latest = message.signed[1]
        size = size_of(message.frames)
        room = _HELD_MOST + (_RESERVE if message.type in _ALWAYS else 0)
        if self._nobody_reads and self._held("iopub") > room - size:
            self._left_out += size
            self._left_out_messages += 1
        else:
            self.send("iopub", message.frames)

    def takes(self, channel: str) -> bool:
        """Return whether the container's next message on this channel may be read."""
        return (channel == "iopub" and self._nobody_reads) or self._held(channel) < _HELD_MOST

    @property
    def has_room(self) -> bool:
        """Whether that next message may be a large one."""
        return sum(window.held for window in self._windows.values()) < _HELD_MOST

    @property
    def leaves_out(self) -> bool:
        """Whether nobody reads, so that output is left out."""
        return self._nobody_reads

    def _held(self, channel: str) -> int:
        return sum(window.held for (its, _client), window in self._windows.items() if its == channel)

    def look(self) -> None:
        """Cut off clients that hold up the others.

        Called again and again while `takes` returns False.
        """
        now = time.monotonic()
        for channel, clients in self._clients.items():
            if channel != "hb" and (self._held(channel) >= _HELD_MOST or (channel == "iopub" and self._nobody_reads)):
                self._look(channel, clients, now)

    def _look(self, channel: str, clients: Clients, now: float) -> None:
        behind = clients.behind(now)
        stuck = [client for client, seconds in behind.items() if seconds >= PATIENCE_SECONDS]
        if self._oldest(channel) > _SLOW_SECONDS and len(behind) < len(clients):
            stuck = list(behind)
        if channel == "iopub" and len(stuck) == len(clients):
            self._nobody_reads = bool(stuck)
        elif channel == "iopub" and self._nobody_reads:
            self._nobody_reads = False
            self._report_left_out()
        else:
            for client in stuck:
                clients.cut_off(client)
            if stuck and channel == "iopub":
                held = units.size(self._held(channel))
                self._publish_line(f"a front end that did not read was cut off: up to {held} of output were left out there")

    def _report_left_out(self) -> None:
        size, self._left_out = units.size(self._left_out), 0
        count, self._left_out_messages = self._left_out_messages, 0
        self._publish_line(f"{count} messages of output ({size}) were left out: nobody read them for {PATIENCE_SECONDS:g} s")

    def _oldest(self, channel: str) -> float:
        return max((window.age for (its, _client), window in self._windows.items() if its == channel), default=0.0)

    def _publish_line(self, text: str) -> None:
        self.publish("stream", {"name": "stderr", "text": f"cellhold: {text}\n"}, parent=object_in(self._latest) or {})

    def publish(self, kind: str, content: Mapping[str, Any], *, parent: Mapping[str, Any] | None, is_output: bool = False) -> None:
        """Publish a message of the host kernel's own on iopub.

        parent: the header of the request that it belongs to. is_output: it is what a
        program writes, as it writes it. All else is escaped, whoever wrote it: nothing
        in it is obeyed by a terminal or a page.
        """
        if kind in _SHOWN and not is_output:
            content = words.clean(content)
        self.send("iopub", self._signer.make(kind, content, parent=parent, identities=(kind.encode(),)))

    def reply(self, channel: str, request: Message, content: Mapping[str, Any]) -> None:
        """Our own answer to a request."""
        kind = request.type.removesuffix("_request") + "_reply"
        metadata = {"status": content["status"]} if "status" in content else {}
        if content.get("status") == "error":
            content = words.clean(content)
        frames = self._signer.make(kind, content, parent=request.header, metadata=metadata, identities=request.identities)
        self.send(channel, frames)

    def echo(self) -> None:
        """Answer what came on the heartbeat channel."""
        for parts in self.receive("hb"):
            self.sockets["hb"].send_multipart(parts)

    def greet(self) -> None:
        """Welcome new subscribers of iopub: they miss nothing from here on."""
        for (asked,) in self.receive("iopub"):
            if asked[:1] == b"\x01":
                topic = bytes(asked[1:])
                self.sockets["iopub"].subscribe(b"")  # to everything: its own side picks, and one count of bytes holds for all of them
                content = {"subscription": topic.decode("utf-8", "replace")}
                self.send("iopub", self._signer.make("iopub_welcome", content, identities=(topic,) if topic else ()))
                if self._left_out and not self._nobody_reads:
                    self._report_left_out()  # those whom it was for have left

    def close(self) -> None:
        """Send what is still to be sent, within LINGER_MS, and let go of the addresses."""
        for socket in self.sockets.values():
            socket.close()
        self._context.term()
