"""A cell's standard output and error: two pipes, decoded as they are written.

A program that writes very many small pieces has them joined: pieces that come faster
than a person can read wait a moment for the next.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import struct
import termios
import time
from contextlib import suppress

_CHUNK = 64 << 10
_PIPE_BYTES = 1 << 20
_LARGE = 16 << 10  # a piece that is worth a message
_BURST = 40.0  # small pieces in a row that are sent at once
_PER_SECOND = 80.0
_REST_SECONDS = 0.02


class Output:
    """One of the two streams. name: Jupyter's, stdout or stderr."""

    def __init__(self, name: str, fd: int) -> None:
        """Take over a descriptor, the reading end of a pipe."""
        self.name = name
        self.fd = fd
        self.is_over = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        os.set_blocking(fd, False)
        with suppress(OSError):  # above this user's limit for pipes: the default size is enough
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def read(self) -> tuple[int, str]:
        """Read the pipe; return how many bytes, and the text of whole characters."""
        try:
            chunk = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return 0, ""
        self.is_over = not chunk
        return len(chunk), self._decoder.decode(chunk)

    def waiting(self) -> int:
        """Return how many bytes are in the pipe now (ioctl FIONREAD)."""
        size: int = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, bytes(4)))[0]
        return size

    def end(self) -> str:
        """Return the text of an incomplete character, at the end of a cell."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


class Pace:
    """A token bucket for small pieces: a burst at once, then a number per second."""

    def __init__(self) -> None:
        self._left = _BURST
        self._at = time.monotonic()

    def count(self, size: int) -> None:
        """Count a piece of so many bytes."""
        if size < _LARGE:
            self._left -= 1

    def rest(self) -> float:
        """Return the seconds to wait before the next piece is read."""
        now = time.monotonic()
        self._left = min(_BURST, self._left + (now - self._at) * _PER_SECOND)
        self._at = now
        return _REST_SECONDS if self._left < 1 else 0
