"""Extended headers (POSIX.1-2001 pax interchange format).

They are "LENGTH KEYWORD=VALUE" and a newline, repeated.
"""

from __future__ import annotations

from cellhold.errors import ImageRefused
from cellhold.layer.worker.names import quote

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterator

XATTR = b"SCHILY.xattr."  # star's, which docker, podman and GNU tar write
_LONGEST_LENGTH = 8
_NO_NUL = (b"path", b"linkpath", b"uname", b"gname", b"GNU.sparse.name")
_LARGEST_SECONDS = 1 << 40
_NANOSECONDS = 9  # digits
_SECOND_NS = 1_000_000_000


def records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each (keyword, value). Raises ImageRefused at the first that is malformed."""
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + _LONGEST_LENGTH + 1)
        length = decimal(data[at:space], "record's length") if space > 0 else 0
        end = at + length
        record = data[space + 1 : end - 1]
        keyword, equals, value = record.partition(b"=")
        if length <= space - at or end > len(data) or data[end - 1] != ord("\n") or not equals or not keyword or b"\0" in keyword:
            raise ImageRefused(f"an extended tar header is malformed: {quote(data[at : at + 60])}")
        if keyword in _NO_NUL and b"\0" in value:
            raise ImageRefused(f"an extended tar header's {keyword.decode()} has a NUL in it: {quote(value)}")
        yield keyword, value
        at = end


def decimal(value: bytes, what: str) -> int:
    """Parse a number of ASCII digits, with an optional minus.

    int() alone would take more.
    """
    digits = value[1:] if value.startswith(b"-") else value
    if not digits.isdigit() or len(digits) > 2 * _NANOSECONDS + 2:
        raise ImageRefused(f"an extended tar header's {what} is not a number: {quote(value)}")
    return int(value)


def nanoseconds(value: bytes) -> int:
    """Parse a time such as "1700000000.25".

    One that no clock shows becomes the nearest that one does.
    """
    seconds, _dot, fraction = value.partition(b".")
    whole: int = clamped(decimal(seconds or b"0", "time")) * _SECOND_NS
    part = decimal(fraction[:_NANOSECONDS].ljust(_NANOSECONDS, b"0"), "time") if fraction else 0
    return whole - part if seconds.startswith(b"-") else whole + part


def clamped(seconds: int) -> int:
    """Limit to what every kernel interface takes; file systems have their own bounds."""
    return max(-_LARGEST_SECONDS, min(seconds, _LARGEST_SECONDS))
