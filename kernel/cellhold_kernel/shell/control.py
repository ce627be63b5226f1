r"""The control pipe: marks of ours among prompts, traces and other noise. Bounded.

    \nTOKEN begin\n      what follows, up to \nTOKEN end\n, is the answer to a question
    \nTOKEN 3\n          done, with this exit status

Programs of a cell have no descriptor of the pipe. One that gets it nevertheless can, if
it knows the current token, end the current cell too early.
"""

from __future__ import annotations

import re
from typing import NamedTuple

ANSWER_MOST = 256 << 10
_MARK_MOST = 64


class Done(NamedTuple):
    """The end of a cell or question. answer: what the question printed."""

    status: int
    answer: bytes


class Control:
    """A parser for the marks of one token at a time."""

    def __init__(self) -> None:
        self._seen = bytearray()
        self._answer: bytearray | None = None
        self._begin = self._end = b""
        self._done: re.Pattern[bytes] | None = None

    def expect(self, token: str) -> None:
        """Look for the marks of this token from now on; drop what was read before."""
        self._seen.clear()
        self._answer = None
        self._begin = f"\n{token} begin\n".encode()
        self._end = f"\n{token} end\n".encode()
        self._done = re.compile(rf"\n{token} ([0-9]{{1,3}})\n".encode())

    def feed(self, chunk: bytes) -> Done | None:
        """Parse a chunk; return the end if it was found.

        Of noise, only what may be the beginning of a mark is kept.
        """
        if self._done is None:
            return None
        self._seen += chunk
        if self._answer is None and (at := self._seen.find(self._begin)) >= 0:
            del self._seen[: at + len(self._begin)]
            self._answer = bytearray()
        mark = self._done.search(self._seen)
        if mark is None:
            self._keep(len(self._seen) - _MARK_MOST)
            return None
        status = int(mark[1])
        self._keep(mark.start())
        self._done = None
        return Done(status, bytes(self._answer or b"").partition(self._end)[0])

    def _keep(self, size: int) -> None:
        """Move the first `size` bytes to the answer if there is room, or drop them."""
        if size > 0:
            if self._answer is not None:
                self._answer += self._seen[: min(size, ANSWER_MOST - len(self._answer))]
            del self._seen[:size]
