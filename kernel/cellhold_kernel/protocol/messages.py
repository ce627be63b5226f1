"""Jupyter's messages on the wire: parse, sign and verify any type of message.

    identity ... | <IDS|MSG> | signature | header | parent header | metadata | content
        | buffer ...

A message is parsed no deeper than it is interpreted: the header always, the rest on
demand. The input is untrusted: `parse` returns None for what is not a message, and
bounds what it reads.

https://jupyter-client.readthedocs.io/en/stable/messaging.html#the-wire-protocol
"""

from __future__ import annotations

import hmac
import os
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from cellhold.errors import InvalidSpec
from cellhold_kernel.protocol import documents

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Part = bytes | bytearray | memoryview  # of a message: what zmq calls a frame
DELIMITER = b"<IDS|MSG>"
PROTOCOL_VERSION = "5.4"
_IDENTITIES_MOST = 8  # a front end, a relay, a relay of relays ...
FRAME_COST = 128  # bytes of overhead of a frame, here and in zmq
_FIXED = 5  # signature, header, parent header, metadata, content
_HEADER_MOST = 64 << 10
_INTERPRETED_MOST = 32 << 20  # bytes of parent header and content that are parsed at all
_REPLY_MOST = 64 << 10  # bytes of a reply's content that are parsed: 3 bytes of JSON can become 70 of memory


def size_of(parts: Sequence[Part]) -> int:
    """Return the size of a message in bytes, with its overhead."""
    return sum(map(len, parts)) + FRAME_COST * len(parts)


class Seen(NamedTuple):
    """The facts of a large message, gathered while it arrived in pieces.

    is_verified: as of `Signer.verify`. flaw: as of `Message.flaw`. comm_id: the comm
    that it is about, if any.
    """

    is_verified: bool
    flaw: str | None
    comm_id: str | None


class Message:
    """A received message: raw frames, and the parsed header.

    `header` has a msg_type and a msg_id, both strings. at: the index of the signature.
    seen: the facts of a large message, which is not in memory as a whole.
    """

    __slots__ = ("_content", "_parent", "at", "frames", "header", "seen")

    def __init__(self, frames: Sequence[Part], at: int, header: dict[str, Any]) -> None:
        self.frames = frames
        self.header = header
        self.at = at
        self._parent: dict[str, Any] | None = None
        self._content: dict[str, Any] | None = None
        self.seen: Seen | None = None

    @property
    def type(self) -> str:
        """The header's msg_type."""
        return str(self.header["msg_type"])

    @property
    def id(self) -> str:
        """The header's msg_id."""
        return str(self.header["msg_id"])

    @property
    def identities(self) -> list[bytes]:
        """The address for a reply (ROUTER), or the topic (iopub)."""
        return [bytes(frame) for frame in self.frames[: self.at - 1]]

    @property
    def signature(self) -> bytes:
        """The signature as received."""
        return bytes(self.frames[self.at])

    @property
    def signed(self) -> Sequence[Part]:
        """The four frames that are signed."""
        return self.frames[self.at + 1 : self.at + _FIXED]

    @property
    def buffers(self) -> Sequence[Part]:
        """The frames after the content."""
        return self.frames[self.at + _FIXED :]

    @property
    def parent(self) -> dict[str, Any]:
        """The parent header; {} if it is not valid."""
        if self._parent is None:
            self._parent = object_in(self.signed[1], most=_HEADER_MOST) or {}
        return self._parent

    @property
    def parent_id(self) -> str:
        """The parent header's msg_id; "" if there is none."""
        id_ = self.parent.get("msg_id")
        return id_ if isinstance(id_, str) else ""

    @property
    def content(self) -> dict[str, Any]:
        """The content; {} if it is not a JSON object."""
        if self._content is None:
            self._content = object_in(self.signed[3], most=_INTERPRETED_MOST) or {}
        return self._content

    def content_up_to(self, most: int) -> dict[str, Any]:
        """Return the content; {} if it has more than `most` bytes.

        3 bytes of JSON can become 70 of memory.
        """
        return self.content if len(self.signed[3]) <= most else {}

    @property
    def flaw(self) -> str | None:
        """Why the content cannot be parsed, or None; a large one is not parsed."""
        if self.seen is not None:
            return self.seen.flaw
        if len(self.signed[3]) > _REPLY_MOST:
            return documents.flaw(bytes(self.signed[3]))
        try:
            self._content = _parse(self.signed[3])
        except ValueError as error:
            return str(error)
        return None

    def mentions(self, text: bytes) -> bool:
        """Return whether the content's raw JSON contains `text`, without parsing it."""
        return text in bytes(self.signed[3])


def parse(frames: Sequence[Part]) -> Message | None:
    """Parse frames; return None if they are not a message."""
    leading = frames[: _IDENTITIES_MOST + 1]
    at = next((at for at, frame in enumerate(leading) if len(frame) == len(DELIMITER) and frame == DELIMITER), None)
    if at is None or len(frames) < at + 1 + _FIXED:
        return None
    header = object_in(frames[at + 2], most=_HEADER_MOST)
    if header is None or not isinstance(header.get("msg_type"), str) or not isinstance(header.get("msg_id"), str):
        return None
    return Message(frames, at + 1, header)


def parse_head(frames: Sequence[Part]) -> Message | None:
    """Parse the first frames of a message; return None if they do not begin one."""
    return parse([*frames, *[b"{}"] * (_FIXED - 1)])


class Signer:
    """Signs and verifies with the connection's key, and makes messages of our own."""

    def __init__(self, key: str, scheme: str = "hmac-sha256") -> None:
        """Take a key. Raises InvalidSpec if this Python does not have the scheme."""
        self._session = os.urandom(16).hex()
        self._numbers = count(1)
        self._keyed = _keyed(key, scheme) if key else None

    def sign(self, frames: Sequence[Part]) -> bytes:
        """Return the signature in hexadecimal; b"" if the connection has no key."""
        if self._keyed is None:
            return b""
        mac = self._keyed.copy()
        for frame in frames:
            mac.update(frame)
        return mac.hexdigest().encode()

    def verify(self, message: Message) -> bool:
        """Return whether the message is signed with the key; in constant time."""
        if message.seen is not None:
            return message.seen.is_verified
        return hmac.compare_digest(message.signature, self.sign(message.signed))

    def begin(self) -> Running:
        """Begin to verify a message that arrives in pieces."""
        return Running(None if self._keyed is None else self._keyed.copy())

    def header(self, kind: str) -> dict[str, Any]:
        """Return a header for a message of our own."""
        return {
            "msg_id": f"{self._session}_{next(self._numbers)}",
            "msg_type": kind,
            "username": "cellhold",
            "session": self._session,
            "date": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "version": PROTOCOL_VERSION,
        }

    def make(
        self,
        kind: str,
        content: Mapping[str, Any],
        *,
        parent: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        identities: Sequence[bytes] = (),
    ) -> list[bytes]:
        """Return the frames of a message of our own.

        parent: the header of the request that it answers.
        """
        signed = [documents.pack(self.header(kind)), documents.pack(parent or {}), documents.pack(metadata or {}), documents.pack(content)]
        return [*identities, DELIMITER, self.sign(signed), *signed]

    def piece(self, message: Message, content: Mapping[str, Any]) -> list[Part]:
        """Return the frames of a part of `message` with this content.

        It has the message's parent and metadata, and an id of its own.
        """
        signed: list[Part] = [documents.pack(self.header(message.type)), *message.signed[1:3], documents.pack(content)]
        return [*message.identities, DELIMITER, self.sign(signed), *signed]

    def with_content(self, message: Message, content: Mapping[str, Any]) -> list[Part]:
        """Return the frames of `message` with another content and signature."""
        signed: list[Part] = [*message.signed[:3], documents.pack(content)]
        return [*message.identities, DELIMITER, self.sign(signed), *signed, *message.buffers]


class Running:
    """The check of one message's signature, while its signed frames arrive."""

    def __init__(self, mac: hmac.HMAC | None) -> None:
        """Begin a check. mac: of the connection's key; None if it has none."""
        self._mac = mac

    def update(self, part: Part) -> None:
        """Add the next bytes."""
        if self._mac is not None:
            self._mac.update(part)

    def verifies(self, message: Message) -> bool:
        """Do what Signer.verify does, once all bytes were added."""
        return hmac.compare_digest(message.signature, b"" if self._mac is None else self._mac.hexdigest().encode())


def _keyed(key: str, scheme: str) -> hmac.HMAC:
    kind, _, digest = scheme.partition("-")
    if kind != "hmac" or not digest:
        raise InvalidSpec(f"cannot use signature_scheme={scheme}: not an HMAC", hint="hmac-sha256")
    try:
        return hmac.new(key.encode(), digestmod=digest)
    except ValueError as error:
        raise InvalidSpec(f"cannot use signature_scheme={scheme}: {error}", hint="hmac-sha256") from error


def _parse(part: Part) -> dict[str, Any]:
    """Parse a part as jupyter_client does, which replaces invalid UTF-8.

    Raises ValueError.
    """
    return documents.parse(bytes(part), errors="replace")


def object_in(part: Part, *, most: int = _HEADER_MOST) -> dict[str, Any] | None:
    """Parse the JSON object in a part; None if it is larger than `most` or invalid."""
    if len(part) > most:
        return None
    try:
        return _parse(part)
    except ValueError:
        return None
