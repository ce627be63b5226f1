"""ZMTP with a container's socket: what zmq says to it is understood, and what is no ZMTP, or too much, takes no memory."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
import zmq

from cellhold_kernel.transport.zmtp import MESSAGE_MOST, Arrived, Chunk, Room, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16 + 32)
READY = b"\x04\x06\x05READY"


@pytest.fixture
def pair() -> Iterator[tuple[Stream, socket.socket]]:
    """A stream and the container's end, hands shaken."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = Stream(ours, kind="DEALER", identity=b"us", room=Room())
    with theirs:
        theirs.sendall(GREETING + READY)
        assert list(stream.receive()) == []
        yield stream, theirs
        stream.close()


def long_frame(size: int, *, more: bool = False) -> bytes:
    return bytes((2 | more,)) + size.to_bytes(8, "big")


def push(theirs: socket.socket, stream: Stream, data: bytes) -> list[Arrived | Chunk]:
    """Send as the container does, and read as the loop does."""
    theirs.setblocking(False)
    found: list[Arrived | Chunk] = []
    at = 0
    while at < len(data):
        try:
            at += theirs.send(data[at:])
        except BlockingIOError:
            before = len(found)
            found += stream.receive()
            if stream.waits_for_room and len(found) == before:
                return found
    return found + list(stream.receive())


@pytest.mark.parametrize("kind", ["DEALER", "SUB"])
def test_zmq_and_we_understand_each_other(kind: str, tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    inner = context.socket(zmq.ROUTER if kind == "DEALER" else zmq.XPUB)
    inner.bind(f"ipc://{tmp_path}/s")
    ours = socket.socket(socket.AF_UNIX)
    ours.connect(f"{tmp_path}/s")
    ours.setblocking(False)
    stream = Stream(ours, kind=kind, identity=b"us", room=Room())
    if kind == "DEALER":
        stream.send([b"early", b"x" * 300])
    found: list[Arrived | Chunk] = []
    while not inner.poll(20):
        found += stream.receive()
    first = inner.recv_multipart()
    assert first == ([b"us", b"early", b"x" * 300] if kind == "DEALER" else [b"\x01"])
    inner.send_multipart([*first[:1], b"", b"y" * 70_000, b"z"] if kind == "DEALER" else [b"", b"y" * 70_000, b"z"])
    while not found:
        found += stream.receive()
    assert found == [Arrived([b"", b"y" * 70_000, b"z"])]
    stream.close()
    inner.close(linger=0)
    context.term()


@pytest.mark.parametrize(
    "begin", [b"HTTP/1.1 400 Bad Request\r\n".ljust(64), GREETING.replace(b"\x7f\x03", b"\x7f\x01"), GREETING.replace(b"NULL", b"CURV")]
)
def test_what_does_not_begin_as_zmtp_breaks_the_stream(begin: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        stream = Stream(ours, kind="DEALER", identity=b"", room=Room())
        theirs.sendall(begin)
        assert list(stream.receive()) == []
        assert stream.broken == "it does not begin as ZMTP 3 does"
        stream.close()


def test_a_closed_socket_breaks_the_stream_after_its_last_message(pair: tuple[Stream, socket.socket]) -> None:
    stream, theirs = pair
    theirs.recv(1 << 10)  # else the close would be a reset
    theirs.sendall(b"\x00\x01a")
    theirs.close()
    assert list(stream.receive()) == [Arrived([b"a"])]
    assert stream.broken == "the cell kernel closed it"


def test_a_frame_of_a_terabyte_comes_in_chunks_and_keeps_what_was_before_it(pair: tuple[Stream, socket.socket]) -> None:
    stream, theirs = pair
    first, *chunks = push(theirs, stream, b"\x01\x01a" + long_frame(1 << 40) + bytes(5 << 19))
    assert first == Arrived([b"a"], goes_on=True)
    assert chunks == [Chunk(bytes(1 << 20), ends=False, ends_message=False)] * 2
    assert stream.broken is None


def test_messages_that_were_read_and_not_given_yet_are_not_forgotten(pair: tuple[Stream, socket.socket]) -> None:
    stream, theirs = pair
    theirs.sendall(b"\x00\x01a" * 150)
    found = [(len(list(stream.receive())), stream.has_more) for _ in range(3)]
    assert found == [(64, True), (64, True), (22, False)]


def test_messages_are_there_still_for_who_takes_no_more_for_now(pair: tuple[Stream, socket.socket]) -> None:
    stream, theirs = pair
    theirs.sendall(b"\x00\x01a" * 2)
    next(stream.receive())
    assert stream.has_more
    assert len(list(stream.receive())) == 1


@pytest.mark.parametrize("command", [b"\x04\x00", b"\x04\xff" + bytes(255)], ids=["short", "long"])
def test_who_sends_nothing_but_commands_leaves_the_others_their_turn(command: bytes, pair: tuple[Stream, socket.socket]) -> None:
    stream, theirs = pair
    until = time.monotonic() + 20
    is_over = threading.Event()

    def write() -> None:
        while time.monotonic() < until and not is_over.is_set():
            theirs.sendall(command * (200_000 // len(command)))
        theirs.shutdown(socket.SHUT_WR)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.5)
    assert list(stream.receive()) == []
    assert time.monotonic() < until
    is_over.set()
    while stream.broken is None:
        assert list(stream.receive()) == []
    writer.join()


@pytest.mark.parametrize("pieces", [1, 3, 7])
def test_a_message_may_come_in_pieces_of_any_size(pieces: int, pair: tuple[Stream, socket.socket]) -> None:
    stream, theirs = pair
    data = b"\x01\x00" + long_frame(300, more=True) + b"y" * 300 + b"\x04\x01c" + b"\x00\x02ab" + b"\x00\x00"
    found: list[Arrived | Chunk] = []
    for begin in range(0, len(data), pieces):
        theirs.sendall(data[begin : begin + pieces])
        found += stream.receive()
    assert found == [Arrived([b"", b"y" * 300, b"ab"]), Arrived([b""])]


def test_of_a_message_that_is_not_held_the_frames_come_in_chunks(pair: tuple[Stream, socket.socket]) -> None:
    stream, theirs = pair
    first, *chunks, after = push(
        theirs, stream, b"\x01\x01a" + long_frame(MESSAGE_MOST, more=True) + bytes(MESSAGE_MOST) + b"\x01\x00\x00\x01b" * 2
    )
    assert first == Arrived([b"a"], goes_on=True)
    assert [len(chunk.data) for chunk in chunks if isinstance(chunk, Chunk)] == [1 << 20] * 32 + [0, 1]
    assert [chunk[1:] for chunk in chunks] == [(False, False)] * 31 + [(True, False)] * 2 + [(True, True)]
    assert after == Arrived([b"", b"b"])


def test_of_a_message_that_breaks_off_the_last_chunk_is_what_came(pair: tuple[Stream, socket.socket]) -> None:
    stream, theirs = pair
    theirs.recv(1 << 10)  # else the close would be a reset
    push(theirs, stream, b"\x01\x01a" + long_frame(1 << 30) + bytes(1 << 20) + b"x" * 100_000)
    theirs.close()
    assert list(stream.receive()) == [Chunk(b"x" * 100_000, ends=False, ends_message=False)]
    assert stream.broken == "the cell kernel closed it"


def test_a_message_of_endless_frames_is_not_held_from_some_time_on(pair: tuple[Stream, socket.socket]) -> None:
    stream, theirs = pair
    found = push(theirs, stream, b"\x01\x01a" * (1 << 18) + b"\x00\x01b")
    while stream.has_more:
        found += stream.receive()
    first, *chunks, last = found
    assert isinstance(first, Arrived)
    assert first.goes_on
    assert len(first.parts) + len(chunks) == 1 << 18
    assert last == Chunk(b"b", ends=True, ends_message=True)


def test_one_message_at_a_time_grows_large() -> None:
    room = Room()
    ours, theirs = zip(*(socket.socketpair() for _ in range(2)), strict=True)
    streams = []
    for sock in ours:
        sock.setblocking(False)
        streams.append(Stream(sock, kind="DEALER", identity=b"", room=room))
    try:
        for stream, sock in zip(streams, theirs, strict=True):
            push(sock, stream, GREETING + READY + long_frame(2 << 20))
        assert [stream.waits_for_room for stream in streams] == [False, True]
        assert push(theirs[0], streams[0], bytes(2 << 20)) == [Arrived([bytes(2 << 20)])]
        assert not streams[1].waits_for_room
        room.leave(streams[1])
        room.is_open = False
        assert streams[1].waits_for_room
    finally:
        for closing in (*streams, *theirs):
            closing.close()


def test_what_the_container_does_not_read_waits_and_is_bounded(pair: tuple[Stream, socket.socket]) -> None:
    stream, theirs = pair
    sent = 0
    while not stream.is_full:
        stream.send([bytes(1 << 20)])
        sent += 1
    assert sent <= 20
    theirs.setblocking(False)
    got = 0
    while stream.wants_to_write:
        got += len(theirs.recv(1 << 20))
        stream.flush()
    assert got >= 15 << 20
