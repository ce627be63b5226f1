"""Entries into a tar stream (POSIX.1-2001).

It writes ustar headers, with pax records before them if something does not fit. The
output depends on nothing but the input: no user names, no times but the file's own,
whole seconds, as docker writes them.
"""

from __future__ import annotations

from struct import Struct

from cellhold.layer.worker.pax import XATTR

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK = 512
END = bytes(2 * BLOCK)
_HEADER = Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x")
_LONGEST_TEXT = 100
_LARGEST_OCTAL = 8**11
_LARGEST_ID = 8**7


def entry(  # noqa: PLR0913  # the fields of a header
    name: bytes,
    kind: bytes,
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    target: bytes = b"",
    xattrs: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """Return the header, or headers, of an entry. mtime: in seconds.

    `size` bytes and padding() have to follow.
    """
    records: dict[bytes, bytes] = {}
    if not fits(name):
        records[b"path"] = name
    if not fits(target):
        records[b"linkpath"] = target
    for keyword, number, limit in ((b"uid", uid, _LARGEST_ID), (b"gid", gid, _LARGEST_ID), (b"size", size, _LARGEST_OCTAL)):
        if number >= limit:
            records[keyword] = b"%d" % number
    if not 0 <= mtime < _LARGEST_OCTAL:
        records[b"mtime"] = b"%d" % mtime
        mtime = 0
    for attribute in sorted(xattrs or ()):
        records[XATTR + attribute] = (xattrs or {})[attribute]
    return extended(records) + header(name, kind, mode, uid % _LARGEST_ID, gid % _LARGEST_ID, size % _LARGEST_OCTAL, mtime, target)


def fits(text: bytes) -> bool:
    """Return whether the value can stand in a header.

    What is not ASCII would need a guess by the reader.
    """
    return len(text) <= _LONGEST_TEXT and text.isascii()


def extended(records: Mapping[bytes, bytes]) -> bytes:
    """Return an extended header with these records; nothing for none."""
    if not records:
        return b""
    data = b"".join(record(keyword, value) for keyword, value in records.items())
    return header(b"pax", b"x", 0o644, 0, 0, len(data), 0, b"") + data + padding(len(data))


def record(keyword: bytes, value: bytes) -> bytes:
    """Return one record, which begins with its own length."""
    rest = b" %s=%s\n" % (keyword, value)
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def header(  # noqa: PLR0913, PLR0917  # the fields of a header, in their order
    name: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, target: bytes
) -> bytes:
    """Return one header block."""
    numbers = (b"%07o" % mode, b"%07o" % uid, b"%07o" % gid, b"%011o" % size, b"%011o" % mtime)
    texts = (kind, target, b"ustar\0", b"00", b"", b"", b"", b"", b"")
    blank = _HEADER.pack(name, *numbers, b" " * 8, *texts)
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def padding(size: int) -> bytes:
    """Return what fills the last block of so many bytes."""
    return bytes(-size % BLOCK)
