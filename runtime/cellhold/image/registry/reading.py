"""The body of an answer, bounded in bytes by the caller and in time by its pace.

A timeout of the socket is not enough: a server that sends a byte every second never
runs into it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3 import BaseHTTPResponse

    from cellhold.image.registry.patience import Patience

PIECE_BYTES = 256 << 10


class Cut(Exception):
    """The body ended before its end, or came too slowly; the text says how."""


class TooLong(Exception):
    """The body is longer than it may be."""


def pieces(response: BaseHTTPResponse, patience: Patience) -> Iterator[bytes]:
    """Yield the body as it comes, up to PIECE_BYTES at a time. Raises Cut.

    Only the time spent here counts: whoever takes the pieces may need long for each.
    """
    seconds, size_bytes = 0.0, 0
    while True:
        start = time.monotonic()
        try:
            piece = response.read1(PIECE_BYTES, decode_content=False)
        except (HTTPError, OSError) as error:
            raise Cut(f"the connection broke: {type(error).__name__}") from error
        if not piece:
            return
        seconds, size_bytes = seconds + time.monotonic() - start, size_bytes + len(piece)
        if seconds > patience.slow_after_seconds:
            if size_bytes < seconds * patience.slowest_bytes_per_second:
                raise Cut(f"only {size_bytes} bytes came in {seconds:.0f} seconds")
            seconds, size_bytes = 0.0, 0
        yield piece


def whole(response: BaseHTTPResponse, *, most_bytes: int, patience: Patience) -> bytes:
    """Return the body, at most `most_bytes`. Raises Cut and TooLong."""
    body = bytearray()
    for piece in pieces(response, patience):
        body += piece
        if len(body) > most_bytes:
            response.close()
            raise TooLong
    return bytes(body)


def settle(response: BaseHTTPResponse, patience: Patience) -> None:
    """Return the connection to the pool for the next request.

    What is left of a short body is read; a long one ends with its connection.
    """
    try:
        whole(response, most_bytes=PIECE_BYTES, patience=patience)
    except (Cut, TooLong):
        response.close()
    response.release_conn()
