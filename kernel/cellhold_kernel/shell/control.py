r"""What comes over the control pipe: prompts, traces and other noise, and in between the marks that were asked for. Bounded.

    \nTOKEN begin\n      what follows, up to \nTOKEN end\n, is the answer to a question
    \nTOKEN 3\n          done, with this exit status

Programs of a cell have no descriptor of the pipe. Who gets one all the same can, with the present token, end the present cell too early.
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
    """Looks for the marks of one token at a time."""

    def __init__(self) -> None:
        self._seen = bytearray()
        self._answer: bytearray | None = None
        self._begin = self._end = b""
        self._done: re.Pattern[bytes] | None = None

    def expect(self, token: str) -> None:
        """From now on these marks; what came before is forgotten."""
        self._seen.clear()
        self._answer = None
        self._begin = f"\n{token} begin\n".encode()
        self._end = f"\n{token} end\n".encode()
        self._done = re.compile(rf"\n{token} ([0-9]{{1,3}})\n".encode())

    def feed(self, chunk: bytes) -> Done | None:
        """Take in what came; the end, if it is there. Nothing is kept of noise but what may be the beginning of a mark."""
        if self._done is None:
            return None
        self._seen += chunk
        if self._answer is None and (at := self._seen.find(self._begin)) >= 0:
            del self._seen[: at + len(self._begin)]
            self._answer = bytearray()
        found = self._done.search(self._seen)
        if found is None:
            self._keep(len(self._seen) - _MARK_MOST)
            return None
        status = int(found[1])
        self._keep(found.start())
        self._done = None
        return Done(status, bytes(self._answer or b"").partition(self._end)[0])

    def _keep(self, size: int) -> None:
        """Put the first `size` bytes where they belong: into the answer, as long as there is room, or nowhere."""
        if size > 0:
            if self._answer is not None:
                self._answer += self._seen[: min(size, ANSWER_MOST - len(self._answer))]
            del self._seen[:size]
