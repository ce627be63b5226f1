"""What a cell kernel sends, in bounded memory however large a message is.

Small messages are passed on as they are. A text stream is passed on in pieces, as it
comes: messages of their own, signed by us. (A stream is relayed without a look at its
signature, whole ones too: whoever is in the container has the key.) Every other large
message waits on the disk until all of it is there (spool.py), and goes on as it came.
What is larger than the cell may send (`message=`), or finds no room on the disk, is
left out.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cellhold.spec import units
from cellhold.spec.units import enough
from cellhold_kernel.protocol import messages as wire
from cellhold_kernel.protocol.json_scan import ObjectScan
from cellhold_kernel.transport.spool import Spool
from cellhold_kernel.transport.zmtp import Arrived

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cellhold_kernel.protocol.messages import Message, Part, Signer
    from cellhold_kernel.transport.spool import Spools
    from cellhold_kernel.transport.zmtp import Chunk, Stream

_FRAMES_MOST = 1 << 16  # of a large message
_SIGNED = 4  # header, parent header, metadata, content
_STREAM, _COMM_ID, _NAME = "stream", "comm_id", "name"
_TOO_LARGE = "too large"
_OUT = "stdout"  # where a stream does not say which it is


class LeftOut(NamedTuple):
    """A message that is left out, wholly or in part.

    message: as far as it is known. why: "it has 2 GiB ...".
    """

    message: Message
    why: str
    hint: str | None = None


class _Taker(Protocol):
    """What becomes of a large message."""

    def take(self, chunk: Chunk) -> Iterator[Message | LeftOut]:
        """Take in its next bytes, and yield what can go on."""


class Surroundings(NamedTuple):
    """How large messages are handled.

    directory: for what waits on the disk. most_bytes: of a message, None for any.
    """

    signer: Signer
    spools: Spools
    directory: Path
    most_bytes: Callable[[], int | None]


class Incoming:
    """What comes on one channel of a cell kernel."""

    def __init__(self, stream: Stream, channel: str, around: Surroundings) -> None:
        """stream: the channel's."""
        self._stream = stream
        self._is_iopub = channel == "iopub"
        self._around = around
        self._large: _Taker = _Nothing()
        self._ready: Iterator[Message | LeftOut] = iter(())

    def messages(self) -> Iterator[Message | LeftOut]:
        """Yield what is there, up to a fair share.

        If the caller stops in between, the next call goes on, as of `Stream.receive`.
        """
        for message in self._ready:  # not `yield from`, which would end it together with this one
            yield message
        for arrived in self._stream.receive():
            self._ready = self._split(arrived)
            for message in self._ready:
                yield message

    def _split(self, arrived: Arrived | Chunk) -> Iterator[Message | LeftOut]:
        if not isinstance(arrived, Arrived):
            yield from self._large.take(arrived)
        elif arrived.goes_on:
            self._large = self._begun(arrived.parts)
        elif (message := wire.parse(arrived.parts)) is not None:  # else no front end could read it either
            most, size = self._around.most_bytes(), wire.size_of(arrived.parts)
            is_large = most is not None and size > most and not (self._is_iopub and message.type == _STREAM)
            yield _too_large(message, size, most or 0) if is_large else message

    def _begun(self, parts: list[Part]) -> _Taker:
        head = wire.parse_head(parts)
        if head is None:
            return _Nothing()
        if self._is_iopub and head.type == _STREAM and len(parts) - head.at == _SIGNED:  # its content is what comes
            return _Pieces(head, self._around)
        return _Kept(head, parts, self._around, is_published=self._is_iopub)


def _too_large(message: Message, size: int, most: int) -> LeftOut:
    why = f"it has {units.size(size)}; a message can have {units.size(most)}"
    return LeftOut(message, why, f"%limits message={enough(size)} raises the limit")


class _Nothing:
    """What is no message is forgotten."""

    def take(self, _chunk: Chunk) -> Iterator[Message | LeftOut]:
        yield from ()


class _Pieces:
    """A text stream, in pieces.

    Frames behind its content, which no stream has, are dropped.
    """

    def __init__(self, head: Message, around: Surroundings) -> None:
        self._head = head
        self._around = around
        self._scan: ObjectScan | None = ObjectScan(frozenset({_NAME}), streamed="text")
        self._early: Spool | None = None  # text that came before the stream's name
        self._why: str | None = None

    def take(self, chunk: Chunk) -> Iterator[Message | LeftOut]:
        if self._scan is not None and (text := "".join(self._scan.feed(chunk.data, is_last=chunk.ends))):
            yield from self._pass_on(text, self._scan.texts.get(_NAME))
        if self._scan is not None and chunk.ends:
            yield from self._waited(self._scan.texts.get(_NAME, _OUT))
            self._why = self._why or self._scan.fault
            self._scan = None
        if chunk.ends_message and self._why is not None:
            yield LeftOut(self._head, f"from some point on: {self._why}")

    def _pass_on(self, text: str, name: str | None) -> Iterator[Message]:
        if name is not None:
            yield from self._waited(name)
            yield from self._piece(name, text)
        elif self._why is None:
            self._wait(text.encode("utf-8", "surrogatepass"))

    def _wait(self, raw: bytes) -> None:
        most = self._around.most_bytes()
        try:
            self._early = self._early or Spool(self._around.directory)
            if most is not None and self._early.size + len(raw) > most:
                self._why = f"{units.size(most)} of it came before its name"
            else:
                self._early.write(raw)
        except OSError as error:
            self._why = f"it could not be kept on the host's disk: {error.strerror}"

    def _waited(self, name: str) -> Iterator[Message]:
        early, self._early = self._early, None
        if early is None:
            return
        decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
        for raw in early.read():
            yield from self._piece(name, decoder.decode(raw))
        early.close()

    def _piece(self, name: str, text: str) -> Iterator[Message]:
        piece = wire.parse(self._around.signer.piece(self._head, {_NAME: name, "text": text}))
        if piece is not None:
            yield piece


class _Kept:
    """Any other message: on the disk until it is complete.

    The parts of it that matter are parsed as they come.
    """

    def __init__(self, head: Message, parts: list[Part], around: Surroundings, *, is_published: bool) -> None:
        self._head = head
        self._around = around
        self._parts = parts
        self._places: list[tuple[int, int]] = []  # of the frames on the disk: where they begin and end
        self._spool: Spool | None = None
        self._size = wire.size_of(parts)
        self._begin = 0
        self._left: str | None = None  # why it does not go on
        self._most: int | None = None  # bytes of a message, when that was decided
        self._signed = len(parts) - head.at - 1  # frames of the signed ones that have come
        self._running = around.signer.begin()
        for part in head.signed[: self._signed]:
            self._running.update(part)
        self._scan = ObjectScan(frozenset({_COMM_ID})) if not is_published or head.type.startswith("comm_") else None
        if self._scan is not None and self._signed >= _SIGNED:
            self._scan.feed(head.signed[3], is_last=True)

    def take(self, chunk: Chunk) -> Iterator[Message | LeftOut]:
        if self._signed < _SIGNED:
            self._running.update(chunk.data)
        if self._scan is not None and self._signed == _SIGNED - 1:
            self._scan.feed(chunk.data, is_last=chunk.ends)
        self._signed += chunk.ends
        self._size += len(chunk.data) + (wire.FRAME_COST if chunk.ends else 0)
        if self._left is None:
            self._keep(chunk)
        if chunk.ends_message:
            yield from self._whole()

    def _keep(self, chunk: Chunk) -> None:
        self._most = self._around.most_bytes()
        if self._most is not None and self._size > self._most:
            self._leave(_TOO_LARGE)
        elif len(self._parts) + len(self._places) >= _FRAMES_MOST:
            self._leave(f"it has more than {_FRAMES_MOST} parts")
        else:
            try:
                self._spool = self._spool or Spool(self._around.directory)
                self._spool.write(chunk.data)
            except OSError as error:
                self._leave(f"it could not be kept on the host's disk: {error.strerror}")
                return
            if chunk.ends:
                self._places.append((self._begin, self._spool.size))
                self._begin = self._spool.size

    def _leave(self, why: str) -> None:
        self._left = why
        self._parts, self._places = [], []
        if self._spool is not None:
            self._spool.close()

    def _whole(self) -> Iterator[Message | LeftOut]:
        fault = None if self._scan is None else self._scan.fault
        comm_id = None if self._scan is None or fault else self._scan.texts.get(_COMM_ID)
        seen = wire.Seen(self._running.verifies(self._head), fault, comm_id)
        if self._left is not None:
            self._head.seen = seen
            yield _too_large(self._head, self._size, self._most or 0) if self._left == _TOO_LARGE else LeftOut(self._head, self._left)
            return
        data = self._around.spools.map(self._spool) if self._spool is not None and self._spool.size else memoryview(b"")
        message = wire.parse([*self._parts, *(data[begin:end] for begin, end in self._places)])
        if message is not None:
            message.seen = seen
            yield message
