"""Jupyter's messages on the wire: take apart, sign, check. Knows no channel and no message type.

    identity ... | <IDS|MSG> | signature | header | parent header | metadata | content | buffer ...

A message is parsed no deeper than it is interpreted: the header always, the rest when somebody asks. What comes in may be
anything: `parse` gives None for what is no message, and bounds what it looks at.

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
FRAME_COST = 128  # bytes that a frame takes besides its own, here and in zmq
_FIXED = 5  # signature, header, parent header, metadata, content
_HEADER_MOST = 64 << 10
_INTERPRETED_MOST = 32 << 20  # what anybody reads of parent header and content
_REPLY_MOST = 64 << 10  # bytes of a reply's content that are parsed: 3 bytes of JSON can become 70 of memory


def size_of(parts: Sequence[Part]) -> int:
    """What a message takes, in bytes."""
    return sum(map(len, parts)) + FRAME_COST * len(parts)


class Seen(NamedTuple):
    """What was found of a large message while it came in pieces.

    is_verified: as of `Signer.verify`; flaw: as of `Message.flaw`; comm_id: the comm that it is about, where it is about one.
    """

    is_verified: bool
    flaw: str | None
    comm_id: str | None


class Message:
    """A message that came in: raw frames, and the parsed header. `header` has a msg_type and a msg_id, both texts.

    at: which frame is the signature. seen: of a large one, which is not held in memory and not to be read as a whole.
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
        """Where an answer goes (ROUTER), or the topic (iopub)."""
        return [bytes(frame) for frame in self.frames[: self.at - 1]]

    @property
    def signature(self) -> bytes:
        """The signature as it came."""
        return bytes(self.frames[self.at])

    @property
    def signed(self) -> Sequence[Part]:
        """The four frames that the signature is of."""
        return self.frames[self.at + 1 : self.at + _FIXED]

    @property
    def buffers(self) -> Sequence[Part]:
        """What follows the content."""
        return self.frames[self.at + _FIXED :]

    @property
    def parent(self) -> dict[str, Any]:
        """The parent header; {} where it is none."""
        if self._parent is None:
            self._parent = object_in(self.signed[1], most=_HEADER_MOST) or {}
        return self._parent

    @property
    def parent_id(self) -> str:
        """The parent header's msg_id; "" where there is none."""
        found = self.parent.get("msg_id")
        return found if isinstance(found, str) else ""

    @property
    def content(self) -> dict[str, Any]:
        """The content; {} where it is no JSON object."""
        if self._content is None:
            self._content = object_in(self.signed[3], most=_INTERPRETED_MOST) or {}
        return self._content

    def content_up_to(self, most: int) -> dict[str, Any]:
        """The content; {} where it has more bytes: 3 bytes of JSON can become 70 of memory."""
        return self.content if len(self.signed[3]) <= most else {}

    @property
    def flaw(self) -> str | None:
        """Why nobody can read the content, in words; None where it can be read. What is large is not parsed for that."""
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
        """Whether the content's raw JSON holds `text`: a look that costs nothing, before anything is parsed."""
        return text in bytes(self.signed[3])


def parse(frames: Sequence[Part]) -> Message | None:
    """The message in these frames, or None where they are none."""
    leading = frames[: _IDENTITIES_MOST + 1]
    at = next((at for at, frame in enumerate(leading) if len(frame) == len(DELIMITER) and frame == DELIMITER), None)
    if at is None or len(frames) < at + 1 + _FIXED:
        return None
    header = object_in(frames[at + 2], most=_HEADER_MOST)
    if header is None or not isinstance(header.get("msg_type"), str) or not isinstance(header.get("msg_id"), str):
        return None
    return Message(frames, at + 1, header)


def parse_head(frames: Sequence[Part]) -> Message | None:
    """The message that begins with these frames, whatever else there is missing of it; None where it is none."""
    return parse([*frames, *[b"{}"] * (_FIXED - 1)])


class Signer:
    """Signs and checks with the connection's key, and makes messages of our own."""

    def __init__(self, key: str, scheme: str = "hmac-sha256") -> None:
        """Raise InvalidSpec where this Python has no such signature scheme."""
        self._session = os.urandom(16).hex()
        self._numbers = count(1)
        self._keyed = _keyed(key, scheme) if key else None

    def sign(self, frames: Sequence[Part]) -> bytes:
        """The signature, in hexadecimal; b"" where the connection has no key."""
        if self._keyed is None:
            return b""
        mac = self._keyed.copy()
        for frame in frames:
            mac.update(frame)
        return mac.hexdigest().encode()

    def verify(self, message: Message) -> bool:
        """Whether the holder of the key made this message; the comparison takes the same time wherever they differ."""
        if message.seen is not None:
            return message.seen.is_verified
        return hmac.compare_digest(message.signature, self.sign(message.signed))

    def begin(self) -> Running:
        """The check of a message that comes in pieces."""
        return Running(None if self._keyed is None else self._keyed.copy())

    def header(self, kind: str) -> dict[str, Any]:
        """A header for a message of our own."""
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
        """The frames of a message of our own; `parent` is the header of what it answers."""
        signed = [documents.pack(self.header(kind)), documents.pack(parent or {}), documents.pack(metadata or {}), documents.pack(content)]
        return [*identities, DELIMITER, self.sign(signed), *signed]

    def piece(self, message: Message, content: Mapping[str, Any]) -> list[Part]:
        """The frames of a part of `message`: with its parent and metadata, an id of its own, and this content."""
        signed: list[Part] = [documents.pack(self.header(message.type)), *message.signed[1:3], documents.pack(content)]
        return [*message.identities, DELIMITER, self.sign(signed), *signed]

    def with_content(self, message: Message, content: Mapping[str, Any]) -> list[Part]:
        """The frames of `message` with another content, signed anew."""
        signed: list[Part] = [*message.signed[:3], documents.pack(content)]
        return [*message.identities, DELIMITER, self.sign(signed), *signed, *message.buffers]


class Running:
    """The check of one message's signature, while its signed frames come in."""

    def __init__(self, mac: hmac.HMAC | None) -> None:
        """mac: of the connection's key; None where it has none."""
        self._mac = mac

    def update(self, part: Part) -> None:
        """The next bytes."""
        if self._mac is not None:
            self._mac.update(part)

    def verifies(self, message: Message) -> bool:
        """As Signer.verify, once all of it has come."""
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
    """As jupyter_client reads it, which puts a mark where bytes are not UTF-8. Raises ValueError."""
    return documents.parse(bytes(part), errors="replace")


def object_in(part: Part, *, most: int = _HEADER_MOST) -> dict[str, Any] | None:
    """The JSON object in a part of at most `most` bytes, or None."""
    if len(part) > most:
        return None
    try:
        return _parse(part)
    except ValueError:
        return None
