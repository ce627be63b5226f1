"""A JSON object read in pieces: however it is cut and written, what comes out is what json.loads finds in it."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellhold_kernel.protocol import json_scan
from cellhold_kernel.protocol.json_scan import ObjectScan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KEPT = frozenset({"name", "comm_id"})
TEXTS = st.text() | st.sampled_from(['"', "\\", "\\\\", '\\"', "\U0001f600" * 3, "\ud83d", "\udc00x", "\0\n\r\t\x7f", "é" * 50])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(["text", "name", "comm_id", "data", "täxt"]) | TEXTS, VALUES, max_size=6)


def cut(data: bytes, places: Iterable[int]) -> Iterator[bytes]:
    begin = 0
    for end in sorted({place % (len(data) + 1) for place in places}):
        yield data[begin:end]
        begin = end
    yield data[begin:]


def scanned(pieces: Iterable[bytes]) -> tuple[str, dict[str, str], str | None]:
    scan = ObjectScan(KEPT, streamed="text")
    found = [text for piece in pieces for text in scan.feed(piece)]
    found += scan.feed(b"", is_last=True)
    return "".join(found), scan.texts, scan.fault


@settings(deadline=None)  # a busy machine
@given(
    OBJECTS,
    st.lists(st.integers(0, 10_000), max_size=40),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r ")]),
    st.sampled_from([None, 2]),
)
def test_any_object_cut_anywhere_yields_its_texts(
    content: dict[str, Any], places: list[int], ascii_only: object, separators: tuple[str, str], indent: int | None
) -> None:
    written = json.dumps(content, ensure_ascii=bool(ascii_only), separators=separators, indent=indent)
    text, texts, fault = scanned(cut(written.encode("utf-8", "surrogatepass"), places))
    whole = json.loads(written.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
    assert fault is None
    assert text == (whole["text"] if isinstance(whole.get("text"), str) else "")
    assert texts == {name: whole[name] for name in KEPT if isinstance(whole.get(name), str)}


def test_a_text_in_another_member_takes_nothing_from_the_streamed_one() -> None:
    written = b'{"text":"streamed","data":{"k":"v"}}'
    for place in range(len(written)):
        assert scanned(cut(written, [place]))[0] == "streamed"


@settings(deadline=None)  # a busy machine
@given(st.lists(VALUES, max_size=20), st.integers(10, 20))
def test_nested_values_are_skipped_whatever_is_skipped_at_once(values: list[Any], window: int) -> None:
    written = json.dumps({"data": values, "name": "x"}).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_scan, "_WINDOW_LEAST", window)
        patch.setattr(json_scan, "_WINDOW_MOST", window)
        assert scanned([written]) == ("", {"name": "x"}, None)


@settings(deadline=None)  # a busy machine
@given(TEXTS)
def test_one_byte_at_a_time_is_a_cut_as_well(text: str) -> None:
    written = json.dumps({"text": text, "name": "stdout"}).encode()
    assert scanned(written[at : at + 1] for at in range(len(written))) == (text, {"name": "stdout"}, None)


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"[]",
        b"{",
        b'{"a"',
        b'{"a":}',
        b'{"a" 1}',
        b'{"a":1]',
        b'{"a":[1}',
        b'{"text":"abc',
        b'{"text":"abc\\x"}',
        b'{"text":"\\u12g4"}',
        b'{"text":"a\nb"}',
        b'{"a":1}{',
        b"{a:1}",
        b'{"a":1,,"b":2}',
        b"\xff\xfe",
        b'{"text":"abc"}, "x',
    ],
)
def test_what_is_not_an_object_is_told_wherever_it_is_cut(written: bytes) -> None:
    for at in range(len(written) + 1):
        assert scanned([written[:at], written[at:]])[2] is not None


def test_what_was_good_before_a_fault_is_not_lost() -> None:
    assert scanned([b'{"text": "abc', b"def\\x", b'"}']) == ("abc", {}, "Invalid \\escape")


def test_of_a_name_that_stands_twice_the_last_value_counts() -> None:
    assert scanned([b'{"comm_id": "cellhold-1", "comm_id": "x"}'])[1] == {"comm_id": "x"}
    assert scanned([b'{"comm_id": "x", "c\\u006fmm_id": "cellhold-1"}'])[1] == {"comm_id": "cellhold-1"}
    assert scanned([b'{"comm_id": "x", "comm_id": ["cellhold-1"]}'])[1] == {}


@pytest.mark.parametrize("written", [b'{"a": NaN}', b'{"a": [1, -Infinity]}', b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}"])
def test_what_no_front_end_can_read_is_told_wherever_it_is_cut(written: bytes) -> None:
    for at in range(len(written) + 1):
        assert scanned([written[:at], written[at:]])[2] in {"it has NaN or Infinity", "it is nested more than 200 levels deep"}
    assert scanned([b'{"a": "NaN", "NaN": ["Infinity", "[[[\\"[["]}'])[2] is None


@pytest.mark.parametrize(
    "filling", [b'"\\u1234' * 90, b"\\\\" * 250, b'"a",' * 125, b"1" * 500, b"[]{}" * 125], ids=lambda filling: repr(filling[:6])
)
def test_memory_does_not_grow_with_what_is_skipped(filling: bytes) -> None:
    scan = ObjectScan(KEPT, streamed="text")
    scan.feed(b'{"data": [' if filling[:1] in b'[{"1' else b'{"data": "')
    tracemalloc.start()
    try:
        for _ in range(10):
            scan.feed(filling * 500)
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()
    assert scan.fault is None


def test_a_name_without_an_end_takes_no_memory() -> None:
    scan = ObjectScan(KEPT)
    scan.feed(b'{"' + b"x" * (1 << 20))
    assert scan.fault is not None


def test_an_object_of_endless_members_is_refused() -> None:
    """A member costs as much time as many bytes of a text: 1 MiB of them took eight seconds."""
    assert ObjectScan().feed(b"{" + b'"":{},' * 999 + b'"":{}}', is_last=True) == []
    for member in (b'"":{},', b'"":0,', b'"text":"a",'):
        scan = ObjectScan(KEPT, streamed="text")
        scan.feed(b"{" + member * 1001)
        assert scan.fault == "it has more than 1000 members"


def test_a_number_without_an_end_takes_no_memory() -> None:
    scan = ObjectScan()
    scan.feed(b'{"a":1')
    tracemalloc.start()
    try:
        for _ in range(20):
            scan.feed(b"1" * 500_000)
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
    finally:
        tracemalloc.stop()
    assert scan.fault == "it has a number that is too long"
