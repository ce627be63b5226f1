"""One 512-byte header of a tar: its fields as numbers and bytes.

POSIX.1-2001 ustar interchange format, and GNU's own.
"""

from __future__ import annotations

from struct import Struct
from zlib import adler32

from cellhold.errors import ImageRefused
from cellhold.layer.worker.names import quote

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from typing import NamedTuple

_FIELDS = Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
_CHECKSUM = slice(148, 156)
_HALF = 256
_BASE_256 = 0x80  # the first bit of a binary number (GNU, star)
_NEGATIVE = 0xFF
_USTAR = b"ustar\x0000"
ZERO = bytes(512)


def number(field: bytes, what: str) -> int:
    """Parse a number: octal digits, or GNU's base 256. Raises ImageRefused.

    A negative one is possible, and refused where it makes no sense.
    """
    first = field[0]
    if first & _BASE_256:
        if first in {_BASE_256, _NEGATIVE}:
            return int.from_bytes(field[1:], "big", signed=first == _NEGATIVE)
        return int.from_bytes(bytes([first & ~_BASE_256]) + field[1:], "big")
    digits = field.strip(b" \0").partition(b"\0")[0].rstrip(b" ")
    try:
        return int(digits, 8) if digits.isdigit() else 0 if not digits else refuse(field, what)
    except ValueError:
        return refuse(field, what)


def refuse(field: bytes, what: str) -> int:
    """Return the error for a field that is not a number."""
    raise ImageRefused(f"a tar header's {what} is not a number: {quote(field)}")


def is_sound(block: bytes) -> bool:
    """Return whether the checksum is right.

    It is the sum of all bytes, its own field taken as spaces. Some old tars have summed
    signed bytes. The lower half of adler32 is 1 plus the sum of the bytes, modulo
    65521, which 256 bytes cannot reach: a sum at C's speed.
    """
    stored = number(block[_CHECKSUM], "checksum")
    field = sum(block[_CHECKSUM])
    found = (adler32(block[:_HALF]) & 0xFFFF) + (adler32(block[_HALF:]) & 0xFFFF) - 2 - field + 8 * ord(" ")
    return stored == found or stored == found - _HALF * sum(byte >= 128 for byte in block[:148] + block[156:])  # noqa: PLR2004  # as signed


if TYPE_CHECKING:

    class Header(NamedTuple):
        """The fields that count; `name` has its prefix, text ends at the first NUL."""

        name: bytes
        mode: int
        uid: int
        gid: int
        size: int
        mtime: int
        kind: bytes
        target: bytes


def parsed(block: bytes) -> Header:
    """Parse the header in a block. Raises ImageRefused if it is invalid."""
    if not is_sound(block):
        raise ImageRefused("its tar data is damaged: a header's checksum is wrong")
    name, mode, uid, gid, size, mtime, _sum, kind, target, magic, _user, _group, _major, _minor, prefix, _rest = _FIELDS.unpack(block)
    name = text(name)
    if magic == _USTAR and prefix[0]:
        name = text(prefix) + b"/" + name
    return (  # type: ignore[return-value]  # a plain tuple: a class for it would have to import typing
        name,
        number(mode, "mode"),
        number(uid, "uid"),
        number(gid, "gid"),
        number(size, "size"),
        number(mtime, "mtime"),
        kind,
        text(target),
    )


def text(field: bytes) -> bytes:
    """Return the text up to the first NUL."""
    return field.partition(b"\0")[0]
