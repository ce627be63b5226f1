"""Jobs that a cell waits for: an image is pulled, built, or gets a kernel.

Here each is done by a process of its own, and the host kernel answers meanwhile. The
process writes lines of JSON; how far it is can be shown as text and as HTML. Where that
is shown is not the business of this module (relay/progress.py).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cellhold import helper
from cellhold.errors import BuildFailed, CellholdError, ImageNotFound, ImageRefused, InvalidSpec, NotAllowed, NotSupported, RegistryFailed
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CHUNK = 64 << 10
_LINE_MOST = 512 << 10
_BAR_WIDTH = 24
_ERRORS: dict[str, type[CellholdError]] = {
    kind.__name__: kind for kind in (ImageNotFound, ImageRefused, InvalidSpec, NotAllowed, NotSupported, RegistryFailed)
}


class Job(ABC):
    """One job, wherever it is done.

    interrupted_message: what an interrupt leaves undone, in words. shows_progress:
    while it goes on; in the end in any case. on_end: what conclude() does.
    """

    interrupted_message = ""
    shows_progress = True
    on_end: Sequence[Callable[[], object]] = ()

    @abstractmethod
    def text(self) -> str:
        """Return how far it is, in lines."""

    @abstractmethod
    def html(self) -> str:
        """Return the same for a browser: only numbers, our own words and what was escaped."""

    def take_outputs(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the types and contents of messages for the cell's output, once."""
        return []

    def conclude(self) -> None:
        """Do what its end means in the host kernel.

        All that is in `on_end`.

        Called by relay/cell_jobs.py when it has ended well, on the host kernel's one
        thread. Raises CellholdError.
        """
        for act in self.on_end:
            act()

    @property
    @abstractmethod
    def seconds(self) -> float:
        """Time since it began."""

    @property
    @abstractmethod
    def is_going_on(self) -> bool:
        """Whether it is at work."""

    @abstractmethod
    def fileno(self) -> int:
        """Return a descriptor that is readable when there is something to drain()."""

    @abstractmethod
    def drain(self) -> bool:
        """Take in its output; return False once it has ended.

        Raises the CellholdError that it ended with.
        """

    @abstractmethod
    def close(self) -> None:
        """End it. What it has done so far is there for the next one.

        Closing it twice is not an error.
        """


class ProcessJob(Job):
    """A job that a process of this host does.

    variables: of our environment, besides helper.BASE. bounds: of the process.
    """

    variables: tuple[str, ...] = ()
    bounds = helper.Bounds(memory_bytes=2 << 30)

    def __init__(self, module: str, arguments: Sequence[str], *, given: bytes = b"", keep: Sequence[int] = ()) -> None:
        """Start main() of a module.

        given: its standard input. keep: descriptors that it gets, by their numbers.
        Raises InvalidSpec for an argument with a NUL in it, OSError.
        """
        if any("\0" in word for word in arguments):
            raise InvalidSpec(f"cannot use {escape(next(word for word in arguments if chr(0) in word), most=80)}: it has a NUL in it")
        self._began = time.monotonic()
        self._rest = b""
        self._error: dict[str, Any] = {}
        stdin = os.memfd_create("given", os.MFD_CLOEXEC)
        try:
            os.write(stdin, given)
            os.lseek(stdin, 0, os.SEEK_SET)
            self._process = helper.start(
                helper.python(module, *arguments, bounds=self.bounds),
                env=helper.environment(*self.variables),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=keep,
            )
        finally:
            os.close(stdin)
        os.set_blocking(self.fileno(), False)

    @abstractmethod
    def _note(self, said: dict[str, Any]) -> None:
        """Take in a line of its output.

        A KeyError, ValueError or TypeError means that the line means nothing.
        """

    @property
    def seconds(self) -> float:
        """Time since it began."""
        return time.monotonic() - self._began

    @property
    def is_going_on(self) -> bool:
        """Whether it is at work."""
        return self._process.poll() is None

    def fileno(self) -> int:
        """Return the pipe that the process writes to."""
        assert self._process.stdout is not None  # noqa: S101  # for mypy: it is a pipe
        return self._process.stdout.fileno()

    def drain(self) -> bool:
        """Take in its output; return False once it has ended.

        Raises the CellholdError that it ended with.
        """
        with suppress(BlockingIOError):
            while chunk := os.read(self.fileno(), _CHUNK):
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                for line in lines:
                    self._read(line)
            self._end()
            return False
        return True

    def close(self) -> None:
        """Kill the process. Closing it twice is not an error."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
        self._process.communicate()  # which closes the pipe

    def _read(self, line: bytes) -> None:
        with suppress(ValueError, KeyError, TypeError):
            if line.startswith(b"{") and len(line) < _LINE_MOST:
                said = json.loads(line)
                if "error" in said:
                    self._error = said
                else:
                    self._note(said)

    def _end(self) -> None:
        if self._process.wait() != 0:
            raise parse_error(self._error or {"sentence": f"cannot go on: the work was ended ({self._process.returncode})"})


def parse_error(error: dict[str, Any]) -> CellholdError:
    """Return the error that a process has written in its last line."""
    sentence, hint = escape(str(error.get("sentence")), most=2000), escape(str(error["hint"])) if error.get("hint") else None
    if error.get("error") == BuildFailed.__name__:
        status = error.get("status")
        last = tuple(escape(str(line)) for line in error.get("last") or ())
        return BuildFailed(sentence, status=status if isinstance(status, int) else 1, last=last, hint=hint)
    return _ERRORS.get(str(error.get("error")), CellholdError)(sentence, hint=hint)


def bar(done: int, total: int) -> str:
    """Return a bar of letters."""
    filled = round(_BAR_WIDTH * done / total) if total else 0
    return f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}]"
