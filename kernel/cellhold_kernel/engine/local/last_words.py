"""The last output of a cell that the host kernel has not received.

An ipykernel keeps a log (transport/inside/log.py) in a memory that both sides have.
While it runs, each of its messages contains its number in the log, and `hear` writes
there which of them was received. When the process has ended, what lies behind that is
read: bytes that somebody hostile may have written, by copy and within bounds. It is
published as what that kernel could have published itself.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from typing import TYPE_CHECKING, NamedTuple

from cellhold_kernel.protocol import messages as wire
from cellhold_kernel.transport.inside import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from cellhold_kernel.protocol.messages import Message, Part, Signer

_MARK = re.compile(rb'"%b": ?\[([0-2]), ?(\d{1,18})\]' % log.METADATA.encode())
_NOTHING, _METADATA_MOST = 2, 4096  # bytes of metadata: of an empty object, and of one that is looked into
_PIPE_MOST = 1 << 20
_PARTS_MOST = 64
_MESSAGES_MOST = 8192  # that are made of one log: the host kernel is deaf meanwhile, and each takes it 50 us
_DISPLAYS_MOST = 2 * log.SEGMENT // 256  # that are in one log: header, parent header and signature alone have more bytes
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class _Record(NamedTuple):
    what: int
    stream: int
    number: int
    taken: int
    parent: str
    data: bytes


class _Text(NamedTuple):
    stream: int
    parent: str
    text: str


class LastWords:
    """The log of one run of a cell kernel.

    memory: the descriptor that the kernel gets as its standard input.
    """

    def __init__(self) -> None:
        """Make the memory. Raises OSError."""
        self._pipes: dict[str, int] = {}
        self._heard = [0, 0, 0]
        self.memory = os.memfd_create("cellhold-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.memory, log.SIZE)
        fcntl.fcntl(self.memory, fcntl.F_ADD_SEALS, _SEALS)

    def begin(self, pipes: Sequence[int]) -> None:
        """Take over the pipes of the kernel that runs.

        pipes: our ends of those that stand for its output, in the order of the log's
        streams; ours from now on.
        """
        self._pipes = dict(zip(log.STREAMS, pipes, strict=True))

    def close(self) -> None:
        """Close the memory and the pipes. Closing them twice is not an error."""
        for fd in (self.memory, *self._pipes.values()):
            if fd >= 0:
                os.close(fd)
        self.memory, self._pipes = -1, {}

    def hear(self, message: Message) -> None:
        """Record that a message of its iopub was received."""
        raw = message.signed[2]
        if _NOTHING < len(raw) <= _METADATA_MOST and (mark := _MARK.search(raw)) is not None:
            stream, number = int(mark[1]), int(mark[2])
            if number > self._heard[stream]:
                self._heard[stream] = number
                os.pwrite(self.memory, log.NUMBER.pack(number), log.HEARD + 8 * stream)

    def messages(self, signer: Signer, header_of: Callable[[str], Mapping[str, object]]) -> Iterator[Message]:
        """Yield the messages that were not received, in their order.

        Call it when the kernel sends nothing more. header_of: returns the header of the
        request with an id; for "" that of the cell that runs.
        """
        for one in _join(list(self._unheard(signer))):
            message = _make_message(one, signer, header_of) if isinstance(one, _Text) else one
            if message is not None:
                yield message

    def _unheard(self, signer: Signer) -> Iterator[_Text | Message]:
        records = list(self._records())
        dropped = {(record.stream, record.number) for record in records if record.what == log.DROPPED}
        displays = 0
        for record in records:
            if record.number <= self._heard[record.stream] or (record.stream, record.number) in dropped:
                continue
            if record.what == log.TEXT and record.stream != log.SHOWN:
                yield _Text(record.stream, record.parent, _decode(record.data))
            elif record.what == log.MESSAGE and displays < _DISPLAYS_MOST:
                displays += 1
                message = wire.parse(_parts(record.data))
                if message is not None and message.type in log.TYPES and signer.verify(message):
                    yield message
        yield from (_Text(stream, "", text) for stream, text in self._left_in_pipes(records))

    def _records(self) -> Iterator[_Record]:
        turns = struct.unpack("<2Q", os.pread(self.memory, 16, log.TURN))
        used = struct.unpack("<2Q", os.pread(self.memory, 16, log.USED))
        for segment in sorted((0, 1), key=turns.__getitem__):
            yield from _parse(os.pread(self.memory, min(used[segment], log.SEGMENT), log.SEGMENTS + segment * log.SEGMENT))

    def _left_in_pipes(self, records: Iterable[_Record]) -> Iterator[tuple[int, str]]:
        """Yield what was written to the descriptors 1 and 2 and is not printed yet.

        That is what was taken from the pipe, and what is in it still.
        """
        printed = {(record.stream, record.taken) for record in records}
        taken = struct.unpack("<2Q", os.pread(self.memory, 16, log.TAKEN))
        for stream, name in enumerate(log.STREAMS):
            data = b""
            if (stream, taken[stream]) not in printed:
                data = os.pread(self.memory, log.SLOT, log.SLOTS + stream * log.SLOT)
            data = data.rstrip(b"\0") + (_drain(self._pipes[name]) if name in self._pipes else b"")
            if data:
                yield stream, data.decode("utf-8", "replace")


def _join(said: list[_Text | Message]) -> list[_Text | Message]:
    """Join texts, so that few messages contain all of them.

    Texts of the same stream and cell that follow one another are one. A cell that
    prints to both streams in turn may have left 30,000 texts: where they are too many,
    they are one for each stream and cell, up to the next display, as ipykernel itself
    sends them. Where they are too many still, an ipykernel did not write them: then
    they are one for each stream.
    """
    for keeps_turns in (True, False):
        if (joined := _join_texts(said, keeps_turns=keeps_turns)) is not None:
            return joined
    streams: dict[int, list[str]] = {}
    for one in said:
        if isinstance(one, _Text):
            streams.setdefault(one.stream, []).append(one.text)
    texts = [_Text(stream, "", "".join(pieces)) for stream, pieces in streams.items()]
    return [*texts, *(one for one in said if not isinstance(one, _Text))]


def _join_texts(said: list[_Text | Message], *, keeps_turns: bool) -> list[_Text | Message] | None:
    """Return the texts joined, or None where they are too many."""
    joined: list[Message | tuple[int, str, list[str]]] = []
    last: dict[tuple[int, str], list[str]] = {}  # those that may get more
    for one in said:
        if isinstance(one, _Text) and (pieces := last.get(one[:2])) is not None:
            pieces.append(one.text)
            continue
        if len(joined) == _MESSAGES_MOST:
            return None
        if keeps_turns or not isinstance(one, _Text):
            last.clear()
        if isinstance(one, _Text):
            pieces = last[one[:2]] = [one.text]
            joined.append((one.stream, one.parent, pieces))
        else:
            joined.append(one)
    return [_Text(one[0], one[1], "".join(one[2])) if isinstance(one, tuple) else one for one in joined]


def _make_message(text: _Text, signer: Signer, header_of: Callable[[str], Mapping[str, object]]) -> Message | None:
    name = log.STREAMS[text.stream]
    content = {"name": name, "text": text.text}
    return wire.parse(signer.make("stream", content, parent=header_of(text.parent), identities=(f"stream.{name}".encode(),)))


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # nothing that the log's own program wrote
        return data.decode("utf-8", "replace")


def _parse(data: bytes) -> Iterator[_Record]:
    at = 0
    while at + log.RECORD.size <= len(data):
        what, stream, parent, size, number, taken = log.RECORD.unpack_from(data, at)
        at += log.RECORD.size
        if size == log.OPEN:
            size = max(len(data) - at - parent, 0)
        if stream > log.SHOWN or at + parent + size > len(data):
            return
        middle, at = at + parent, at + parent + size
        yield _Record(what, stream, number, taken, data[middle - parent : middle].decode("utf-8", "replace"), data[middle:at])


def _parts(data: bytes) -> list[Part]:
    parts: list[Part] = []
    at = 0
    while at + 4 <= len(data) and len(parts) < _PARTS_MOST:
        size = int.from_bytes(data[at : at + 4], "little")
        parts.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return parts


def _drain(pipe: int) -> bytes:
    data = b""
    while len(data) < _PIPE_MOST:
        try:
            piece = os.read(pipe, _PIPE_MOST - len(data))
        except BlockingIOError:
            break
        if not piece:
            break
        data += piece
    return data
