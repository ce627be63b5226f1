"""Copy bytes between our standard streams and the container's.

At the pace of the slowest, so that nothing piles up here.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress
from errno import EPIPE
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, Self

    class Process(Protocol):
        """What can be waited for: a container, or a process in one."""

        def fileno(self) -> int:
            """Return a descriptor that is readable when poll() may have news."""

        def poll(self) -> object:
            """Return None while it runs."""


_CHUNK = 65536
STDIN, STDOUT, STDERR = 0, 1, 2


class Feed:
    """Our standard input on its way into the container.

    One piece at a time, never blocking on a program that does not read it.

    keys: when these are typed one after the other, `is_detached` is set; they are not
    passed on.
    """

    def __init__(self, writing: int, *, keys: bytes = b"") -> None:
        """Feed a descriptor that leads into the container.

        writing: that descriptor, closed here.
        """
        self._writing = writing
        os.set_blocking(self._writing, False)
        self._piece = b""
        self._keys, self._typed = keys, b""
        self.is_detached = False

    def awaited(self) -> tuple[int, int] | None:
        """Return what to poll for next; None once it is closed."""
        if self._writing < 0:
            return None
        return (self._writing, select.POLLOUT) if self._piece else (STDIN, select.POLLIN)

    def go_on(self) -> None:
        """Read a piece, or write some of it; close at the end of either side."""
        try:
            if self._piece:
                self._piece = self._piece[os.write(self._writing, self._piece) :]
            elif not (piece := os.read(STDIN, _CHUNK)):
                self.close()
            else:
                self._piece = self._without_keys(piece) if self._keys else piece
        except BlockingIOError:
            return
        except OSError:  # the program reads no more, or there is nothing to read from
            self.close()

    def _without_keys(self, piece: bytes) -> bytes:
        """Return what to pass on.

        The beginning of the keys waits for what follows.
        """
        piece, self._typed = self._typed + piece, b""
        before, found, _after = piece.partition(self._keys)
        if found:
            self.is_detached = True
            return before
        for length in range(len(self._keys) - 1, 0, -1):
            if piece.endswith(self._keys[:length]):
                self._typed = piece[-length:]
                return piece[:-length]
        return piece

    def close(self) -> None:
        """Close our end; the program sees the end of its input."""
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1


class Output:
    """One of the container's output streams on its way to ours."""

    def __init__(self, to: int) -> None:
        """Make the pipe; `writing` is the container's end."""
        self.reading, self.writing = os.pipe2(os.O_CLOEXEC)
        self._to = to

    def go_on(self) -> None:
        """Copy a piece.

        If nobody reads ours any more (`| head -1`) the program's is closed, too, as it
        would be without a container.
        """
        piece = os.read(self.reading, _CHUNK)
        try:
            write_all(self._to, piece)
        except OSError as error:
            if error.errno != EPIPE:
                say(f"cellhold: cannot write the program's output: {error.strerror}\n")
            piece = b""
        if not piece:
            self.close()

    def close(self) -> None:
        """Close our end."""
        if self.reading >= 0:
            os.close(self.reading)
            self.reading = -1


class Streams:
    """The pipes of one run.

    The container's ends are closed here as soon as it has them.
    """

    def __init__(self, *, interactive: bool) -> None:
        """Make the pipes."""
        self._stdin: int | None = None
        self.feed: Feed | None = None
        if interactive:
            self._stdin, writing = os.pipe2(os.O_CLOEXEC)
            self.feed = Feed(writing)
        self.outputs = (Output(STDOUT), Output(STDERR))

    def start(self, start: Callable[..., object]) -> None:
        """Call `start` with the other ends as stdin, stdout and stderr."""
        theirs = [output.writing for output in self.outputs]
        stdin, self._stdin = self._stdin, None
        try:
            start(stdin=stdin, stdout=theirs[0], stderr=theirs[1])
        finally:
            for fd in (*theirs, *(() if stdin is None else (stdin,))):
                os.close(fd)

    def copy(self, process: Process) -> None:
        """Copy until both outputs are at their end."""
        ended = False
        while left := {output.reading: output for output in self.outputs if output.reading >= 0}:
            poll = select.poll()
            for reading in left:
                poll.register(reading, select.POLLIN)
            if not ended:
                poll.register(process.fileno(), select.POLLIN)
            awaited = self.feed.awaited() if self.feed else None
            if awaited is not None:
                poll.register(*awaited)
            for fd, _events in poll.poll():
                if fd in left:
                    left[fd].go_on()
                elif self.feed and awaited and fd == awaited[0]:
                    self.feed.go_on()
            ended = ended or process.poll() is not None

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close our ends."""
        for end in (*self.outputs, self.feed):
            if end is not None:
                end.close()
        if self._stdin is not None:
            os.close(self._stdin)


def write_all(fd: int, data: bytes) -> None:
    """Write everything, also if the descriptor is non-blocking (write(2))."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])


def say(text: str) -> None:
    """Print a text on standard error, if it is open."""
    with suppress(OSError):
        sys.stderr.write(text)


def keep_standard_streams() -> None:
    """Open /dev/null in place of a closed standard stream.

    Otherwise the next file that is opened would get its number, and what is meant for
    people.
    """
    for fd in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name, fd, mode in (("stdin", STDIN, "r"), ("stdout", STDOUT, "w"), ("stderr", STDERR, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  # a descriptor; for the rest of our life
