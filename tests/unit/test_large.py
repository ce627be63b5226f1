"""A large message of a hostile cell kernel: few messages come of it, whatever it is made of."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

from cellhold_kernel.protocol.messages import Message, Signer
from cellhold_kernel.transport.large import Incoming, LeftOut, Surroundings
from cellhold_kernel.transport.spool import Spools
from cellhold_kernel.transport.zmtp import MESSAGE_MOST, Room, Stream

if TYPE_CHECKING:
    from pathlib import Path

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16 + 32)
READY = b"\x04\x06\x05READY"
SIGNER = Signer("a key")


def sent(content: bytes, directory: Path) -> list[Message | LeftOut]:
    """What comes of a stream with that content."""
    frames = [*SIGNER.make("stream", {})[:-1], content]
    raw = b"".join(bytes((2 | (frame is not content),)) + len(frame).to_bytes(8, "big") + frame for frame in frames)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = Stream(ours, kind="SUB", identity=b"us", room=Room())
    incoming = Incoming(stream, "iopub", Surroundings(SIGNER, Spools(), directory, lambda: None))
    writer = threading.Thread(target=theirs.sendall, args=(GREETING + READY + raw,))
    writer.start()
    found: list[Message | LeftOut] = []
    while writer.is_alive() or stream.has_more or not isinstance(found[-1], LeftOut):
        found += incoming.messages()
    writer.join()
    theirs.close()
    stream.close()
    return found


def test_a_text_in_a_hundred_thousand_members_is_few_messages_and_the_rest_is_told(tmp_path: Path) -> None:
    """Each became a message: a chunk of 1 MiB kept the host kernel for seconds."""
    member = b'"text":"abcdefgh",'
    *pieces, left = sent(b'{"name":"stdout",' + member * (MESSAGE_MOST // len(member)) + b'"x":0}', tmp_path)
    assert isinstance(left, LeftOut)
    assert left.why == "from some point on: it has more than 1000 members"
    assert 1 <= len(pieces) <= 3
    assert "".join(piece.content["text"] for piece in pieces if isinstance(piece, Message)).count("abcdefgh") > 900
