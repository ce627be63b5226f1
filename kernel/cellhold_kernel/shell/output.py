"""A cell's standard output and error: bytes of two pipes, told apart, as text that comes as soon as it was written.

Whoever writes a great many small pieces has them put together: pieces that come faster than a person reads wait a moment for the next.
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
_BURST = 40.0  # small pieces in a row that are passed on at once
_PER_SECOND = 80.0
_REST_SECONDS = 0.02


class Output:
    """One of the two. name: as Jupyter has it, stdout or stderr."""

    def __init__(self, name: str, fd: int) -> None:
        """fd: a pipe's end to read from, ours."""
        self.name = name
        self.fd = fd
        self.is_over = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        os.set_blocking(fd, False)
        with suppress(OSError):  # no more room for this user's pipes: what it has is enough
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def read(self) -> tuple[int, str]:
        """What came: how many bytes, and the text of those that are whole characters."""
        try:
            chunk = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return 0, ""
        self.is_over = not chunk
        return len(chunk), self._decoder.decode(chunk)

    def waiting(self) -> int:
        """How many bytes are in the pipe now (ioctl FIONREAD)."""
        found: int = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, bytes(4)))[0]
        return found

    def end(self) -> str:
        """The text of a character that was not completed, at the end of a cell."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


class Pace:
    """How fast small pieces are passed on: at once, until there are many; then so many a second."""

    def __init__(self) -> None:
        self._left = _BURST
        self._at = time.monotonic()

    def passed(self, size: int) -> None:
        """A piece of so many bytes was."""
        if size < _LARGE:
            self._left -= 1

    def rest(self) -> float:
        """Seconds to wait before the next piece is read."""
        now = time.monotonic()
        self._left = min(_BURST, self._left + (now - self._at) * _PER_SECOND)
        self._at = now
        return _REST_SECONDS if self._left < 1 else 0
