"""What a dead kernel's log is believed: nothing that breaks, and no more than it could have said itself."""

from __future__ import annotations

import mmap
import os
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellhold_kernel.engine.local.last_words import LastWords
from cellhold_kernel.protocol import messages
from cellhold_kernel.transport.inside import log

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNER = messages.Signer("key")


@pytest.fixture
def words() -> Iterator[LastWords]:
    made = LastWords()
    pairs = [os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) for _ in log.STREAMS]
    made.begin([reading for reading, _writing in pairs])
    yield made
    made.close()
    for _reading, writing in pairs:
        os.close(writing)


def record(what: int, stream: int, number: int, data: bytes, *, parent: bytes = b"cell", taken: int = 0) -> bytes:  # noqa: PLR0913
    return log.RECORD.pack(what, stream, len(parent), len(data), number, taken) + parent + data


def fill(words: LastWords, *segments: bytes, turns: tuple[int, int] = (1, 0)) -> None:
    os.pwrite(words.memory, struct.pack("<2Q", *(len(segment) for segment in (*segments, b"", b"")[:2])), log.USED)
    os.pwrite(words.memory, struct.pack("<2Q", *turns), log.TURN)
    for number, segment in enumerate(segments):
        os.pwrite(words.memory, segment, log.SEGMENTS + number * log.SEGMENT)


def said(words: LastWords) -> list[tuple[str, Any]]:
    found = [(message.type, message.content, message.parent_id) for message in words.messages(SIGNER, lambda name: {"msg_id": name})]
    return [(kind, (content.get("name"), content.get("text"), parent) if kind == "stream" else content) for kind, content, parent in found]


def heard(words: LastWords, stream: int, number: int) -> None:
    frames = SIGNER.make("stream", {}, metadata={"x": 1, log.METADATA: [stream, number]})
    message = messages.parse(frames)
    assert message is not None
    words.hear(message)


def test_what_was_not_heard_is_said_in_its_order(words: LastWords) -> None:
    newer = record(log.TEXT, 0, 3, b"c") + record(log.TEXT, 1, 1, b"e")
    older = record(log.TEXT, 0, 1, b"a") + record(log.TEXT, 0, 2, b"b\xc3\xa9")
    fill(words, newer, older, turns=(8, 7))
    assert said(words) == [("stream", ("stdout", "abéc", "cell")), ("stream", ("stderr", "e", "cell"))]
    heard(words, 0, 2)
    assert said(words) == [("stream", ("stdout", "c", "cell")), ("stream", ("stderr", "e", "cell"))]
    assert os.pread(words.memory, 24, log.HEARD) == struct.pack("<3Q", 2, 0, 0)
    heard(words, 0, 1)  # late
    heard(words, 0, 3)
    heard(words, 1, 1)
    assert said(words) == []


def test_what_somebody_else_took_is_not_said(words: LastWords) -> None:
    fill(words, record(log.TEXT, 0, 1, b"a") + record(log.TEXT, 0, 2, b"b") + record(log.DROPPED, 0, 1, b"", parent=b""))
    assert said(words) == [("stream", ("stdout", "b", "cell"))]


def test_of_messages_those_are_said_that_are_signed_and_of_a_cells(words: LastWords) -> None:
    def packed(frames: list[bytes]) -> bytes:
        return record(log.MESSAGE, log.SHOWN, 1, b"".join(struct.pack("<I", len(frame)) + frame for frame in frames), parent=b"")

    good = packed(SIGNER.make("display_data", {"data": {}}))
    forged = packed(messages.Signer("another").make("display_data", {"data": {}}))
    status = packed(SIGNER.make("status", {"execution_state": "dead"}))
    fill(words, record(log.TEXT, 0, 1, b"a") + good + forged + status + packed([b"x" * 10]) + record(log.TEXT, 0, 1, b"b"))
    assert said(words) == [("stream", ("stdout", "a", "cell")), ("display_data", {"data": {}}), ("stream", ("stdout", "b", "cell"))]


def test_what_was_taken_from_a_pipe_is_said_once(words: LastWords) -> None:
    os.pwrite(words.memory, struct.pack("<2Q", 5, 1), log.TAKEN)
    os.pwrite(words.memory, b"taken", log.SLOTS)
    os.pwrite(words.memory, b"err", log.SLOTS + log.SLOT)
    fill(words, record(log.TEXT, 0, 1, b"taken", taken=5))
    assert said(words) == [("stream", ("stdout", "taken", "cell")), ("stream", ("stderr", "err", ""))]


@given(st.binary(max_size=400), st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)  # a busy machine
def test_no_bytes_break_it(words: LastWords, data: bytes, numbers: list[int], whole: object) -> None:
    os.pwrite(words.memory, struct.pack("<6Q", *numbers), log.USED)
    os.pwrite(words.memory, data * (log.SEGMENT // len(data) if whole and data else 1), log.SEGMENTS)
    for message in words.messages(SIGNER, lambda _name: {}):
        assert SIGNER.verify(message)
        assert message.type in {"stream", *log.TYPES}


def test_nothing_in_the_container_can_take_the_memory_away(words: LastWords) -> None:
    for size in (0, log.SIZE * 2):
        with pytest.raises(PermissionError):
            os.ftruncate(words.memory, size)


# ------------------------------------------------------------------------------------------------------------ as it is written


@pytest.fixture
def writing(words: LastWords) -> Iterator[log.Log]:
    with mmap.mmap(words.memory, log.SIZE) as memory:
        yield log.Log(memory)


def test_what_is_printed_next_costs_no_record_of_its_own(words: LastWords, writing: log.Log) -> None:
    for number in range(10_000):
        writing.print((0, 1, b"cell", 0), b"%d" % number)
        writing.print((0, 1, b"cell", 0), b"\n")
    text = "".join(f"{number}\n" for number in range(10_000))
    (used,) = log.NUMBER.unpack(os.pread(words.memory, 8, log.USED))
    assert used == len(text) + len("cell") + log.RECORD.size
    assert said(words) == [("stream", ("stdout", text, "cell"))]


def test_a_kill_at_any_byte_leaves_what_was_printed_until_then(words: LastWords, writing: log.Log) -> None:
    keys = [(0, 1, b"a", 0), (0, 1, b"a", 0), (1, 1, b"a", 0), (0, 1, b"a", 0), (0, 1, b"a", 7), (0, 2, b"b", 0), (0, 2, b"b", 0)]
    states = [0]
    for letter, key in zip("tuvwxyz", keys, strict=True):
        writing.print(key, letter.encode() * 3)
        states.append(log.NUMBER.unpack(os.pread(words.memory, 8, log.USED))[0])
        whole = "".join(text for _kind, (_name, text, _parent) in said(words))
        assert whole == "".join(one * 3 for one in "tuvwxyz"[: len(states) - 1])
    for used in range(states[-1]):
        os.pwrite(words.memory, log.NUMBER.pack(used), log.USED)
        text = "".join(text for _kind, (_name, text, _parent) in said(words))
        assert "tttuuuvvvwwwxxxyyyzzz".startswith(text)


def test_an_open_record_that_is_not_the_last_is_the_last(words: LastWords) -> None:
    fill(words, log.RECORD.pack(log.TEXT, 0, 4, log.OPEN, 1, 0) + b"cell" + record(log.TEXT, 1, 1, b"forged", parent=b"other"))
    ((_kind, (name, text, parent)),) = said(words)
    assert (name, parent) == ("stdout", "cell")
    assert text.endswith("forged")
    fill(words, log.RECORD.pack(log.TEXT, 0, 500, log.OPEN, 1, 0) + b"cell")
    assert said(words) == []
    fill(words, log.RECORD.pack(log.MESSAGE, 2, 0, log.OPEN, 1, 0) + b"\xff" * 1000)
    assert said(words) == []


def test_a_forked_child_writes_into_no_log(words: LastWords, writing: log.Log) -> None:
    writing.print((0, 1, b"cell", 0), b"ours")
    child = os.fork()
    if child == 0:
        os._exit(writing.is_ours)
    assert os.waitpid(child, 0)[1] == 0
    assert writing.is_ours
    assert said(words) == [("stream", ("stdout", "ours", "cell"))]
