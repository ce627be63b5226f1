"""Have the shell run one thing at a time, and report when it is done.

What is run, and why, is not the business of this module. The line with the cell is
followed by one that prints the exit status. A shell drops its input buffer when an
interrupt or a syntax error ends the first line; so the second is sent only when the
shell has read all of the first. Linux tells when: a pipe of one page can be written to
again when it is empty. Nothing depends on a prompt, which a cell may change.
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
_AGAIN_SECONDS = 0.3  # without a status after its line was read: an interrupt has ended that line too


class Driver:
    """The shell's two pipes.

    has_begun: whether the shell has read the whole line, so that an interrupt hits what
    it runs. is_over: whether a pipe is closed.
    """

    def __init__(self, commands: int, control: int) -> None:
        """Take over the descriptors.

        commands: the pipe to write to. control: the pipe to read from.
        """
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
        """Have the shell run a line, whose end is marked with the token."""
        self._control.expect(token)
        whole = line.encode("utf-8", "surrogateescape")
        self._status = lines.status(token).encode()
        self._left = deque(whole[at : at + _PAGE] for at in range(0, len(whole), _PAGE))
        self._left.append(self._status)
        self.has_begun = False
        self._read_at = None

    @property
    def wants_to_write(self) -> bool:
        """Whether to call `write` when the command pipe is writable."""
        return not self.is_over and bool(self._status) and self._read_at is None

    def write(self) -> None:
        """Write the next page; called when the shell has read the one before."""
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
        """Read the control pipe; return the end of what runs if it was found."""
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
        """Ask for the status again if it is overdue.

        Returns the seconds until it may be; None if none is expected.
        """
        if self._read_at is None or not self._status or self.is_over:
            return None
        left = self._read_at + _AGAIN_SECONDS - time.monotonic()
        if left > 0:
            return left
        self._read_at = None
        self._left.append(self._status)
        return 0

    def close(self) -> None:
        """Close the shell's input: the shell ends once nothing runs."""
        self.is_over = True
        if self.commands >= 0:
            with suppress(OSError):
                os.close(self.commands)
            self.commands = -1
