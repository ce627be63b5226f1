"""Text from a container, made safe to show; and the end of a program's output."""

from __future__ import annotations

import os
import re

from cellhold.spec import words

_KEPT = 64 << 10
_CHUNK = 64 << 10
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")  # ECMA-48: CSI, OSC, two-byte ones


class OutputTail:
    """A pipe for a program's output, of which the end is kept.

    writer: the descriptor for the program.
    """

    def __init__(self, *, mirror: int | None = None) -> None:
        """Make the pipe. mirror: a descriptor that gets a copy (for debugging)."""
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        self._mirror = mirror
        self._kept = bytearray()

    def fileno(self) -> int:
        """Return the descriptor to poll; it is readable when `drain` has work."""
        return self._reader

    def close_writer(self) -> None:
        """Close our copy of the writer, once the program has its own."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def drain(self) -> bool:
        """Read a part of the output; return False if there is none, or at its end."""
        try:
            chunk = os.read(self._reader, _CHUNK)
        except BlockingIOError:
            return False
        self._kept += chunk
        del self._kept[:-_KEPT]
        if self._mirror is not None:
            os.write(self._mirror, chunk)
        return bool(chunk)

    def last(self, lines: int) -> list[str]:
        """Return the last lines, escaped."""
        return [escape(line) for line in self._kept.decode("utf-8", "replace").splitlines() if line.strip()][-lines:]

    def close(self) -> None:
        """Close the pipe; it may be called twice."""
        self.close_writer()
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1


def escape(text: str, *, most: int = 500) -> str:
    """Make a text from a container safe to show, at most `most` characters of it.

    Escape sequences are removed, control characters and bidirectional overrides spelt
    out.
    """
    cleaned = _ESCAPES.sub("", text[: most * 4])
    return words.printable(cleaned)[:most]
