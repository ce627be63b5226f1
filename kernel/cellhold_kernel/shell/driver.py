"""Has the shell run one thing at a time, and says when that is done. What is run, and for whom, is not its business.

After the line with the cell comes one that has the exit status told. A shell throws away what it has read when an interrupt or a syntax
error ends the first one; so the second one is sent only when the shell has read all of the first. The kernel tells when: a pipe of
one page can be written to again when it is empty. Nobody depends on a prompt, which a cell may change.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold_kernel.shell import lines
from cellhold_kernel.shell.control import Control

if TYPE_CHECKING:
    from cellhold_kernel.shell.control import Done

_PAGE = 4096
_CHUNK = 64 << 10
_AGAIN_SECONDS = 0.3  # the line that tells the status was read, and nothing came: an interrupt has ended it as well


class Driver:
    """The shell's two pipes. interrupting: send an interrupt as soon as it is the cell's, and no half-read line's."""

    def __init__(self, commands: int, control: int) -> None:
        """commands: to be written to; control: to be read from; both ours."""
        self.commands = commands
        self.control = control
        for fd in (commands, control):
            os.set_blocking(fd, False)
        fcntl.fcntl(commands, fcntl.F_SETPIPE_SZ, _PAGE)
        self.has_begun = False
        self.is_over = False
        self._control = Control()
        self._left: deque[bytes] = deque()
        self._status = b""
        self._read_at: float | None = None  # when the shell had read everything

    def run(self, line: str, token: str) -> None:
        """Have it run a line."""
        self._control.expect(token)
        whole = line.encode("utf-8", "surrogateescape")
        self._status = lines.status(token).encode()
        self._left = deque(whole[at : at + _PAGE] for at in range(0, len(whole), _PAGE))
        self._left.append(self._status)
        self.has_begun = False
        self._read_at = None

    @property
    def wants_to_write(self) -> bool:
        """Whether to call `write` when the pipe of commands can be written to."""
        return not self.is_over and bool(self._status) and self._read_at is None

    def write(self) -> None:
        """The shell has read what was written: write what comes next."""
        if not self._left:
            self._read_at = time.monotonic()
            return
        self.has_begun = len(self._left) == 1
        try:
            os.write(self.commands, self._left[0])  # all of it: a page is empty
            self._left.popleft()
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.is_over = True

    def read(self) -> Done | None:
        """Take in what came over the control pipe; the end of what runs, if it is there."""
        try:
            chunk = os.read(self.control, _CHUNK)
        except BlockingIOError:
            return None
        if not chunk:
            self.is_over = True
        done = self._control.feed(chunk)
        if done is not None:
            self._status = b""
        return done

    def tick(self) -> float | None:
        """Ask for the status again, if it is overdue; gives the seconds until it may be."""
        if self._read_at is None or not self._status or self.is_over:
            return None
        left = self._read_at + _AGAIN_SECONDS - time.monotonic()
        if left > 0:
            return left
        self._read_at = None
        self._left.append(self._status)
        return 0

    def close(self) -> None:
        """The end of the shell's input: it ends, once nothing runs."""
        self.is_over = True
        if self.commands >= 0:
            with suppress(OSError):
                os.close(self.commands)
            self.commands = -1
