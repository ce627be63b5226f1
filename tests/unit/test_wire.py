"""Jupyter's messages, taken apart and made; what the container may send instead of one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jupyter_client.session import Session

from cellhold.errors import InvalidSpec
from cellhold_kernel.protocol import messages

KEY = "a key"


def theirs(**more: Any) -> list[messages.Part]:
    """A message as jupyter_client makes it."""
    session = Session(key=KEY.encode())
    message = session.msg("execute_request", {"code": "%container\n1", **more}, parent={"header": session.msg_header("x")})
    return [b"client", *session.serialize(message), b"buffer"]


def test_a_message_of_jupyter_client_is_read() -> None:
    message = messages.parse(theirs())
    assert message is not None
    assert (message.type, message.identities, message.content["code"]) == ("execute_request", [b"client"], "%container\n1")
    assert message.parent_id
    assert message.buffers == [b"buffer"]
    assert message.mentions(b"%container")
    assert messages.Signer(KEY).verify(message)


def test_our_messages_are_read_by_jupyter_client() -> None:
    made = messages.Signer(KEY).make("stream", {"text": "ä\ud800"}, parent={"msg_id": "1"}, identities=(b"topic",))
    session = Session(key=KEY.encode())
    identities, rest = session.feed_identities(made)
    message = session.deserialize(rest)
    assert identities == [b"topic"]
    assert (message["msg_type"], message["parent_header"]["msg_id"]) == ("stream", "1")


def test_another_content_is_signed_anew_and_keeps_the_rest() -> None:
    signer, before = messages.Signer(KEY), messages.parse(theirs())
    assert before is not None
    after = messages.parse(signer.with_content(before, {"code": "2"}))
    assert after is not None
    assert signer.verify(after)
    assert (after.content, after.header, after.identities) == ({"code": "2"}, before.header, [b"client"])
    assert after.buffers == [b"buffer"]


@pytest.mark.parametrize("at", [3, 4, 5, 6])
def test_a_changed_frame_does_not_verify(at: int) -> None:
    changed = theirs()
    before = bytes(changed[at])
    changed[at] = before.replace(b"}", b', "more": 1}') if b":" in before else b'{"more": 1}'
    message = messages.parse(changed)
    assert message is not None
    assert not messages.Signer(KEY).verify(message)


def test_without_a_key_nothing_is_signed() -> None:
    signer = messages.Signer("")
    message = messages.parse(signer.make("status", {}))
    assert message is not None
    assert message.signature == b""
    assert signer.verify(message)


@pytest.mark.parametrize("scheme", ["hmac-nonsuch", "rsa-sha256", "sha256", ""])
def test_an_unknown_signature_scheme_is_refused(scheme: str) -> None:
    with pytest.raises(InvalidSpec, match="cannot use signature_scheme"):
        messages.Signer(KEY, scheme)


HEADER = json.dumps({"msg_type": "status", "msg_id": "1"}).encode()


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b""],
        [b"<IDS|MSG>"],
        [b"topic", b"<IDS|MSG>", b"", HEADER, b"{}", b"{}"],  # no content
        [b"x"] * 9 + [b"<IDS|MSG>", b"", HEADER, b"{}", b"{}", b"{}"],  # too many identities
        [b"<IDS|MSG>", b"", b"", b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b"\xff\xfe", b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b"[]", b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b"{}", b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b'{"msg_type": 1, "msg_id": "1"}', b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b'{"msg_type": "status", "msg_id": []}', b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b"[" * 60_000, b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", HEADER + b" " * (64 << 10), b"{}", b"{}", b"{}"],
    ],
)
def test_what_is_no_message_is_none(parts: list[bytes]) -> None:
    assert messages.parse(parts) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b'"text"', b"null"])
def test_a_content_that_is_no_object_is_read_as_empty(content: bytes) -> None:
    message = messages.parse([b"<IDS|MSG>", b"", HEADER, content, b"{}", content])
    assert message is not None
    assert (message.content, message.parent, message.parent_id) == ({}, {}, "")
