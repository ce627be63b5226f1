"""Files with holes, as GNU tar writes them in four ways.

A map says where the data that follows belongs: a list of (offset, bytes); the file ends
at its real size. Old: in the header and in blocks after it; 0.0 and 0.1: in extended
records; 1.0: in the first blocks of the data.
"""

from __future__ import annotations

from struct import iter_unpack

from cellhold.errors import ImageRefused
from cellhold.layer.worker.header import number
from cellhold.layer.worker.pax import decimal

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cellhold.layer.worker.stream import Stream

    Map = list[tuple[int, int]]

_MOST_PIECES = 200_000
_BLOCK = 512
_LONGEST_NUMBER = 20


def old(block: bytes, stream: Stream) -> tuple[Map, int]:
    """Return the map and the real size of an entry of kind S.

    There are four pieces in the header, 21 in each block after it.
    """
    pieces = [*iter_unpack("12s12s", block[386:482])]
    more = block[482]
    while more:
        block_of_more = exactly(stream)
        pieces += iter_unpack("12s12s", block_of_more[:504])
        more = block_of_more[504]
        if len(pieces) > _MOST_PIECES:
            raise ImageRefused(f"a sparse file has more than {_MOST_PIECES} pieces")
    found = [(number(offset, "sparse map"), number(size, "sparse map")) for offset, size in pieces if offset[0]]
    return found, number(block[483:495], "real size")


def exactly(stream: Stream) -> bytes:
    """Return a block; it must be there."""
    return stream.read(_BLOCK)


def listed(numbers: Iterable[bytes]) -> Map:
    """Parse the map of format 0.0 and 0.1: offset, size, offset, size ..."""
    flat = [decimal(value, "sparse map") for value in numbers]
    if len(flat) % 2 or len(flat) > 2 * _MOST_PIECES:
        raise ImageRefused(f"a sparse file's map has {len(flat)} numbers")
    return list(zip(flat[::2], flat[1::2], strict=True))


def leading(stream: Stream) -> tuple[Map, int]:
    """Return the map of format 1.0, and how many bytes of the data it took.

    It has decimal numbers, one per line; the first is the number of pieces.
    """
    numbers: list[bytes] = []
    wanted, taken, rest = 1, 0, b""
    while len(numbers) < wanted:
        *lines, rest = (rest + exactly(stream)).split(b"\n")
        taken += _BLOCK
        numbers += lines
        if wanted == 1 and numbers:
            wanted = 1 + 2 * decimal(numbers[0], "sparse map")
        if (len(rest) > _LONGEST_NUMBER and len(numbers) < wanted) or not 1 <= wanted <= 1 + 2 * _MOST_PIECES:
            raise ImageRefused("a sparse file's map is malformed")
    return listed(numbers[1:wanted]), taken


def checked(pieces: Map, stored: int, real: int) -> Map:
    """Return the map after checking it. Raises ImageRefused.

    Its pieces have to come in order, lie within the file, and be as much as is stored.
    """
    end = 0
    for offset, size in pieces:
        if size < 0 or offset < end:
            raise ImageRefused("a sparse file's map is out of order")
        end = offset + size
    if end > real or sum(size for _offset, size in pieces) != stored:
        raise ImageRefused("a sparse file's map does not fit its size")
    return pieces
