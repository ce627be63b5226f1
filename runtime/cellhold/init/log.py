"""The log of a container: CRI log lines in a few files of bounded size.

As Kubernetes' CRI and conmon's k8s-file have it:

    2026-11-29T05:29:23.123456Z stdout F the line

F: a whole line; P: the line continues in the next one of its stream. `path` is written
to; `path.1` and so on are older. On a full disk lines are lost, but the container goes
on.
"""

from __future__ import annotations

import os
import time

MOST_BYTES = 10 << 20  # of one file
FILES = 3
_NAMES = {1: b"stdout", 2: b"stderr"}


class Log:
    """The writing side of a log."""

    def __init__(self, path: str) -> None:
        """Continue an existing log."""
        self._path = path
        self._fd = -1
        self._size = 0
        self._open()

    def _open(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            self._size = os.fstat(self._fd).st_size
        except OSError:
            self._fd = -1

    def write(self, stream: int, piece: bytes) -> None:
        """Append what the program has just written to a stream (1 or 2)."""
        now = time.time()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
        begin = moment.encode() + b" " + _NAMES[stream]
        *whole, rest = piece.split(b"\n")
        text = b"".join(begin + b" F " + line + b"\n" for line in whole) + (begin + b" P " + rest + b"\n" if rest else b"")
        if self._size + len(text) > MOST_BYTES:
            self._rotate()
        try:
            self._size += os.write(self._fd, text)
        except OSError:
            return

    def _rotate(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        for number in range(FILES - 1, 0, -1):
            try:
                os.rename(f"{self._path}.{number - 1}" if number > 1 else self._path, f"{self._path}.{number}")
            except OSError:
                continue
        self._open()
