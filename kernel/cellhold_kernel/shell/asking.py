"""`read` in a cell asks the user at the front end.

The function of that name (lines.py) sends its arguments over a socket, and receives
whether there will be an answer, and then the answer, which the shell's own `read`
takes. Any program of the cell can write to that socket: it can ask, as the cell can.
"""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST = 64 << 10
_CHUNK = 16 << 10
_COUNT = re.compile(rb"[0-9]{1,3}")


class Question(NamedTuple):
    """The arguments of `read` that the front end needs."""

    prompt: str
    is_secret: bool


class Asking:
    """The socket: our end, and the shell's, to take back an unread answer."""

    def __init__(self, fd: int, theirs: int) -> None:
        """Take over the two ends of the socket."""
        self.fd = fd
        self._theirs = socket.socket(fileno=theirs)
        os.set_blocking(fd, False)
        self._came = b""

    def read(self) -> Question | None:
        """Read from the socket; return a question if one is complete."""
        try:
            chunk = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return None
        self._came += chunk
        count, ends, rest = self._came.partition(b"\0")
        if len(self._came) > _MOST or (ends and not _COUNT.fullmatch(count)):
            self._came = b""
            return None
        words = rest.split(b"\0")
        if not ends or len(words) <= int(count):
            return None
        self._came = b""
        return parse_read([word.decode("utf-8", "replace") for word in words[: int(count)]])

    def answer(self, text: str | None) -> None:
        """Answer with a line; None: there is no user to ask."""
        self._take_back()
        with suppress(OSError):
            os.write(self.fd, b"n\n" if text is None else b"y\n" + text.encode("utf-8", "replace")[:_MOST] + b"\n")

    def forget(self) -> None:
        """Drop what is left of a question, or of its answer, at the end of its cell."""
        self._came = b""
        self._take_back()

    def _take_back(self) -> None:
        with suppress(BlockingIOError):
            while self._theirs.recv(_CHUNK, socket.MSG_DONTWAIT):
                pass


def parse_read(words: Sequence[str]) -> Question:
    """Parse read's arguments: the prompt (-p) and whether the input is hidden (-s)."""
    prompt, is_secret = "", False
    left = iter(words)
    for word in left:
        if word == "--" or not word.startswith("-"):
            break
        for at, letter in enumerate(word[1:], start=2):
            is_secret = is_secret or letter == "s"
            if letter in "pdnNtiau":  # these take a value
                value = word[at:] or next(left, "")
                prompt = value if letter == "p" else prompt
                break
    return Question(prompt, is_secret)
