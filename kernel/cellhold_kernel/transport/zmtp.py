"""ZeroMQ's wire protocol (ZMTP 3.0, mechanism NULL), without waiting.

zmq itself bounds what it queues in messages, and the frames of one message not at all:
a container could fill the host kernel's memory. Here a byte is read only when there is
room for it. A message that is larger than what may be held comes in chunks, one at a
time; large.py takes them.

https://rfc.zeromq.org/spec/23/
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from cellhold_kernel.protocol import messages

if TYPE_CHECKING:
    import socket
    from collections.abc import Generator, Iterator, Sequence

    from cellhold_kernel.protocol.messages import Part

MESSAGE_MOST = 32 << 20  # bytes of a message that are held; what is larger comes in chunks
_SMALL = 1 << 20  # a message may grow that far on every channel at once
_QUEUED_MOST = 16 << 20  # bytes towards the container
_CHUNK = 256 << 10
_DIRECT = 64 << 10  # larger frames are read right into memory of their own
_AT_ONCE, _SECONDS_AT_ONCE = 64, 0.05  # messages of one channel, and our time for them, before the others have their turn
_CHUNK_MOST = 1 << 20  # bytes
_BUFFERS_AT_ONCE = 64

_MORE, _LONG, _COMMAND = 1, 2, 4
_ONE_BYTE = 256
_SIGNATURE, _MECHANISM = b"\xff", b"NULL".ljust(20, b"\0")
_GREETING = _SIGNATURE + bytes(8) + b"\x7f\x03\x00" + _MECHANISM + bytes(32)
_SUBSCRIBE_TO_ALL = b"\x01"
_PAUSE, _ROOM = 0, -1  # what the parser asks for instead of a number of bytes; a pause, so that there is one message at a time


class BrokenStreamError(Exception):
    """What comes in is no ZMTP."""


class Arrived(NamedTuple):
    """A message; with `goes_on` only its first frames: the others follow as chunks."""

    parts: list[Part]
    goes_on: bool = False


class Chunk(NamedTuple):
    """The next bytes of a message that is not held.

    ends: the frame that they belong to ends with them. ends_message: so does the
    message.
    """

    data: Part
    ends: bool
    ends_message: bool


class Room:
    """A permit to grow large: one message at a time, of all channels that share it.

    No message gets it while the room is closed.
    """

    def __init__(self) -> None:
        self.is_open = True
        self._holder: object = None

    def take(self, stream: object) -> bool:
        """Return whether the stream has the permit, and take it where it is free."""
        if self._holder is None and self.is_open:
            self._holder = stream
        return self._holder is stream

    def leave(self, stream: object) -> None:
        """Give the permit back. Not having it is not an error."""
        if self._holder is stream:
            self._holder = None


class Stream:
    """One connection, made by us.

    broken: why it is of no use any more, or None. has_more: whether more of what was
    read is there than `receive` gave; poll(2) does not know of that.
    """

    def __init__(self, connected: socket.socket, *, kind: str, identity: bytes, room: Room) -> None:
        """Send the greeting.

        connected: a non-blocking socket, ours from now on. kind: "DEALER", or "SUB" (to
        everything).
        """
        self.broken: str | None = None
        self.has_more = False
        self._socket = connected
        self._kind = kind
        self._identity = identity
        self._room = room
        self._is_ready = False
        self._early: list[Sequence[Part]] = []  # messages to be sent once hands are shaken
        self._out: deque[memoryview] = deque()
        self._queued = 0
        self._messages: deque[Arrived | Chunk] = deque()
        self._is_large = False  # what comes in now goes on in chunks
        self._buffer, self._at = b"", 0
        self._own: bytearray | None = None  # a large frame's memory, and how much of it is there
        self._got = 0
        self._parser = self._conversation()
        self._needs = next(self._parser)
        self._put(_GREETING)
        self.flush()

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket. Closing it twice is not an error."""
        self._room.leave(self)
        self._socket.close()
        self._parser.close()
        self.broken = self.broken or "closed"

    # -------------------------------------------------------------------------- sending

    @property
    def wants_to_write(self) -> bool:
        """Whether something waits for the container to read."""
        return bool(self._out) and self.broken is None

    @property
    def is_full(self) -> bool:
        """Whether so much waits that nothing more should be sent."""
        return self._queued > _QUEUED_MOST

    def send(self, parts: Sequence[Part]) -> None:
        """Send a message, as far as the container reads; the rest is queued."""
        if self.broken is not None:
            return
        if not self._is_ready:
            self._early.append(parts)
            self._queued += messages.size_of(parts)
            return
        last = len(parts) - 1
        for number, part in enumerate(parts):
            self._put_frame(_MORE if number < last else 0, part)
        self.flush()

    def flush(self) -> None:
        """Write what can be written now."""
        while self._out and self.broken is None:
            try:
                written = self._socket.sendmsg([self._out[number] for number in range(min(len(self._out), _BUFFERS_AT_ONCE))])
            except BlockingIOError:
                return
            except OSError as error:
                self.broken = error.strerror
                return
            self._queued -= written
            while self._out and written >= len(self._out[0]):
                written -= len(self._out.popleft())
            if written:
                self._out[0] = self._out[0][written:]

    def _put_frame(self, flags: int, body: Part) -> None:
        size = len(body)
        self._put(bytes((flags, size)) if size < _ONE_BYTE else bytes((flags | _LONG,)) + size.to_bytes(8, "big"))
        if size:
            self._put(body)

    def _put(self, part: Part) -> None:
        self._out.append(memoryview(part))
        self._queued += len(part)

    # ------------------------------------------------------------------------ receiving

    def receive(self) -> Iterator[Arrived | Chunk]:
        """Yield what is there, up to a fair share; a call after a stop in between goes on."""
        until = time.thread_time() + _SECONDS_AT_ONCE
        for _ in range(_AT_ONCE):
            self.has_more = self._complete(until)
            if not self._messages:
                return
            yield self._messages.popleft()
            if time.thread_time() > until:
                return

    def _complete(self, until: float) -> bool:
        """Read, commands too, until a message is complete; return False if it is not now."""
        try:
            while not self._messages:
                if self.broken is not None or not self._advance():
                    return False
                if time.thread_time() > until:
                    return True
        except BlockingIOError:
            return False
        except OSError as error:
            self._break(str(error.strerror))
        except BrokenStreamError as error:
            self._break(str(error))
        return bool(self._messages)

    def _break(self, why: str) -> None:
        """It is of no use any more. What had come of a chunk by then is the last of it."""
        self.broken = why
        self._room.leave(self)
        if self._is_large:
            begun = bytes(self._own[: self._got]) if self._own is not None else self._buffer[self._at :]
            self._messages.append(Chunk(begun, ends=False, ends_message=False))

    @property
    def waits_for_room(self) -> bool:
        """Return whether to wait: what comes next is large, and it is not its turn."""
        return self._needs == _ROOM and not self._room.take(self)

    def _advance(self) -> bool:
        """Give the parser what it needs, or read more; return False where no room is left."""
        if self._needs == _ROOM:
            if not self._room.take(self):
                return False
            self._feed(b"")
        elif self._own is not None:
            with memoryview(self._own) as whole:
                self._got += self._checked(self._socket.recv_into(whole[self._got :]))
            if self._got == len(self._own):
                own, self._own = self._own, None
                self._feed(own)
        elif self._needs == _PAUSE or len(self._buffer) - self._at >= self._needs:
            self._feed(self._taken(self._needs))
        elif self._needs > _DIRECT:
            self._own = bytearray(self._needs)
            self._got = len(self._buffer) - self._at
            self._own[: self._got] = self._buffer[self._at :]
            self._buffer, self._at = b"", 0
        else:
            chunk = self._socket.recv(_CHUNK)
            self._checked(len(chunk))
            self._buffer, self._at = self._buffer[self._at :] + chunk, 0
        return True

    def _checked(self, got: int) -> int:
        if not got:
            raise BrokenStreamError("the cell kernel closed it")
        return got

    def _taken(self, size: int) -> bytes:
        """Return so many of the bytes that were read; None where there are fewer.

        The parser asks here first: a generator's turn costs more.
        """
        begin, end = self._at, self._at + size
        if end > len(self._buffer):
            return b""
        self._at = end
        return self._buffer[begin:end]

    def _feed(self, part: Part) -> None:
        self._needs = self._parser.send(part)

    def _conversation(self) -> Generator[int, Part, None]:
        """Parse what comes in, from greeting to the last message.

        Yields how many bytes it needs next, and is sent them.
        """
        greeting = bytes((yield len(_GREETING)))
        if not greeting.startswith(_SIGNATURE) or greeting[10] < 3 or greeting[12:32] != _MECHANISM:  # noqa: PLR2004  # ZMTP 3
            raise BrokenStreamError("it does not begin as ZMTP 3 does")
        ready = b"\x05READY" + _property(b"Socket-Type", self._kind.encode()) + _property(b"Identity", self._identity)
        self._put_frame(_COMMAND, ready)
        self.flush()
        while True:
            yield from self._message()
            self._room.leave(self)
            yield _PAUSE

    def _message(self) -> Generator[int, Part, None]:
        parts: list[Part] = []
        total, flags = 0, _MORE
        while flags & _MORE:
            flags, size = self._taken(2) or (yield 2)
            if flags & _LONG:  # what came of the size is the first of its eight bytes
                size = int.from_bytes((size, *(self._taken(7) or (yield 7))), "big")
            if flags & _COMMAND:
                if size > _DIRECT:
                    raise BrokenStreamError("a command of ZMTP is too long")
                self._obey((self._taken(size) or (yield size)) if size else b"")
                flags = _MORE
                continue
            total += size + messages.FRAME_COST
            if total > _SMALL:
                yield _ROOM
            if total <= MESSAGE_MOST:
                parts.append((self._taken(size) or (yield size)) if size else b"")
                continue
            if not self._is_large:
                self._is_large = True
                self._messages.append(Arrived(parts, goes_on=True))
                yield _PAUSE
            yield from self._chunks(size, ends_message=not flags & _MORE)
        if not self._is_large:
            self._messages.append(Arrived(parts))
        self._is_large = False

    def _chunks(self, size: int, *, ends_message: bool) -> Generator[int, Part, None]:
        """Yield one frame of a message that is not held, in chunks."""
        while True:
            some = min(size, _CHUNK_MOST)
            data = (self._taken(some) or (yield some)) if some else b""
            size -= some
            self._messages.append(Chunk(data, ends=not size, ends_message=not size and ends_message))
            yield _PAUSE
            if not size:
                return

    def _obey(self, command: Part) -> None:
        """The other side's READY ends the handshake; no other command concerns us."""
        if self._is_ready or not bytes(command).startswith(b"\x05READY"):
            return
        self._is_ready = True
        if self._kind == "SUB":
            self._put_frame(0, _SUBSCRIBE_TO_ALL)
        early, self._early = self._early, []
        for parts in early:
            self._queued -= messages.size_of(parts)
            self.send(parts)
        self.flush()


def _property(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value
