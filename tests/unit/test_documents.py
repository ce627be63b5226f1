"""JSON from outside: what is read can be written again, and what is too much is seen without being read."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellhold_kernel.protocol import documents, messages
from cellhold_kernel.widgets import saved

_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=3), _ANY, max_size=4), st.binary(max_size=3), st.integers(0, 50))
def test_what_is_read_can_be_written_again(document: dict[str, Any], noise: bytes, at: int) -> None:
    whole = json.dumps(document).encode()
    for raw in (whole, whole[:at] + noise + whole[at:]):
        found = None
        with suppress(ValueError):
            found = documents.parse(raw, errors="replace")
        if found is not None:
            assert documents.parse(documents.pack(found)) == found


@given(st.text('[]{}"\\a,:', max_size=60))
def test_depth_is_counted_as_brackets_outside_of_texts(text: str) -> None:
    depth, deepest, in_text, escaped = 0, 0, False, False
    for letter in text:
        if in_text:
            in_text, escaped = escaped or letter != '"', letter == "\\" and not escaped
        elif letter == '"':
            in_text = True
        else:
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(letter, 0)
            deepest = max(deepest, depth)
    around = "[" * (documents.DEEPEST - deepest)
    assert not documents.is_deep((around + text).encode())
    assert documents.is_deep((around + "[" + text).encode()) == (deepest <= documents.DEEPEST)


def test_as_deep_as_is_allowed_can_be_written_inside_of_something_else() -> None:
    deepest = b'{"n": ' * documents.DEEPEST + b"1" + b"}" * documents.DEEPEST
    found = documents.parse(deepest)
    assert documents.pack({"content": {"of": found}})
    with pytest.raises(ValueError, match="nested more than 200 levels deep"):
        documents.parse(b'{"n": %s}' % deepest)


@pytest.mark.parametrize("piece", [b'"', b'"\\', b"[", b'["', b"\\", b'{"a":[', b'"\\"'])
def test_a_hostile_document_is_seen_through_in_time_that_grows_with_its_length(piece: bytes) -> None:
    raw = b"{" + b"[" * 300 + piece * ((4 << 20) // len(piece))
    began = time.monotonic()
    documents.flaw(raw)
    assert time.monotonic() - began < 20  # a quadratic look would take hours


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[1]" * 40000, "it is not a JSON object"),
        (b'{"n": [NaN, %s]}' % (b"1, " * 40000), "NaN is not a number"),
        (b'{"n": -Infinity, "s": "%s"}' % (b"x" * 70000), "Infinity is not a number"),
        (b'{"n": ' * 20000, "it is nested more than 200 levels deep"),
        (b'  {"NaN": "Infinity \\" NaN%s"}' % (b"[" * 70000), None),
    ],
)
def test_what_is_wrong_with_a_large_document_is_said_in_words(raw: bytes, reason: str | None) -> None:
    assert documents.flaw(raw) == reason


def _comm(content: bytes) -> messages.Message:
    message = messages.parse([b"<IDS|MSG>", b"", b'{"msg_type": "comm_msg", "msg_id": "1"}', b"{}", b"{}", content])
    assert message is not None
    return message


@pytest.mark.parametrize(
    "content",
    [
        b'{"comm_id": "cellhold-panel"}',
        b'{"data": {}, "comm_id"\n:\t"cellhold-"}',
        b'{"comm_i\\u0064":"\\u0063ellhold\\u002dpanel"}',
        b'{"comm\\u005fid":"cellh\\u006Fld-x"}',
        b'{"comm_id": "mine", "comm_id": "cellhold-panel"}',
        b'{"comm_id": "cellhold-panel", "comm_id": "mine"}',
        b'{"data": "%s", "comm_id": "cellhold-panel"}' % (b"x" * (8 << 20)),
    ],
)
def test_an_id_of_ours_is_found_however_it_is_spelt(content: bytes) -> None:
    assert saved.forges(_comm(content))


@pytest.mark.parametrize(
    "content",
    [
        b'{"comm_id": "mine", "data": {"text": "cellhold-panel"}}',
        b'{"comm_id": "mine", "data": "\\"comm_id\\": \\"cellhold-panel\\""}',
        b'{"comm_id": "not-cellhold-panel"}',
        b'{"comm_ids": "cellhold-panel"}',
    ],
)
def test_what_only_mentions_ours_gets_through(content: bytes) -> None:
    assert not saved.forges(_comm(content))
