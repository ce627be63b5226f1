"""The last of what a program wrote to a pipe, made fit to be shown."""

from __future__ import annotations

import os
import re

from cellhold.spec import words

_KEPT = 64 << 10
_CHUNK = 64 << 10
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")  # ECMA-48: CSI, OSC, two-byte ones


class OutputTail:
    """A pipe for a program's output: `fileno` is ours to wait for, `writer` is the program's."""

    def __init__(self, *, mirror: int | None = None) -> None:
        """mirror: a descriptor that gets everything as well (for debugging)."""
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        self._mirror = mirror
        self._kept = bytearray()

    def fileno(self) -> int:
        """Readable when there is something to `drain`."""
        return self._reader

    def close_writer(self) -> None:
        """Close our copy of the writer: the program has its own."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def drain(self) -> bool:
        """Read a share of what waits; False where nothing waits: nothing more now, or never (the writer is closed)."""
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
        """The last lines, without what a terminal would obey."""
        return [escape(line) for line in self._kept.decode("utf-8", "replace").splitlines() if line.strip()][-lines:]

    def close(self) -> None:
        """Close the pipe; twice is no error."""
        self.close_writer()
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1


def escape(text: str, *, most: int = 500) -> str:
    """Text from inside a container, fit to be shown: no escape sequences, control characters spelt out, no bidirectional overrides."""
    shown = _ESCAPES.sub("", text[: most * 4])
    return words.printable(shown)[:most]
