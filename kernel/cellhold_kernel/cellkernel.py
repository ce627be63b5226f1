"""One container with the kernel in it: from spec to end. What becomes of a notebook's cells is not its business (session.py)."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from cellhold.errors import CellholdError
from cellhold_kernel import meeting
from cellhold_kernel.back import Back
from cellhold_kernel.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cellhold.cgroups.base import Usage
    from cellhold.lifecycle import State
    from cellhold.outcome import Outcome
    from cellhold.spec import Limits, Spec


_USER = "0:0"  # whose sockets and folder it can use, whatever user the image names


class Box(Protocol):
    """What is used of `cellhold.container.Container`."""

    id: str
    state: State

    def start(self, *, stdin: int | None = None, stdout: int | None = None, stderr: int | None = None) -> None:
        """Run its program."""

    def fileno(self) -> int:
        """Readable when it ended."""

    def poll(self) -> Outcome | None:
        """How it ended, or None."""

    def usage(self) -> Usage:
        """What it has used so far."""

    def oom_victims(self, last: int) -> tuple[str, ...]:
        """The names of its processes that were killed at the memory limit."""

    def writable_layer(self) -> tuple[int, int]:
        """Bytes free, and bytes in all."""

    def update(self, limits: Limits) -> None:
        """Change limits while it runs."""

    def kill(self) -> None:
        """End every process of it."""

    def remove(self, *, force: bool = False) -> None:
        """Take everything of it away."""


class CellKernel:
    """A container that runs, or comes up, and its sockets.

    life: a descriptor that is readable when it has ended. back: None until the cell kernel has bound its sockets. began, connected:
    moments of CLOCK_MONOTONIC. ready_after: seconds from the order to the first word of the cell kernel; None until then.
    """

    def __init__(self, spec: Spec, *, create: Callable[[Spec], Box], key: str, signature_scheme: str, arguments: Sequence[str]) -> None:
        """Make the container and start the kernel's program in it.

        key, signature_scheme: of the front connection; arguments: for ipykernel. Raises what Container.create and start raise.
        """
        self.spec = spec
        self.began = time.monotonic()
        self.ready_after: float | None = None  # seconds
        self.back: Back | None = None
        self.connected = 0.0
        with ExitStack() as undo:
            self.tail = Tail(mirror=2 if os.environ.get("CELLHOLD_DEBUG") else None)
            undo.callback(self.tail.close)
            self.meeting = meeting.Meeting(key=key, signature_scheme=signature_scheme)
            undo.callback(self.meeting.close)
            mounts = (*spec.mounts, self.meeting.mount)
            self.box = create(replace(spec, entrypoint=(), args=command(spec, arguments), user=_USER, mounts=mounts))
            undo.callback(self.box.remove, force=True)
            self.box.start(stdout=self.tail.writer, stderr=self.tail.writer)
            self.tail.given_away()
            self.life = self.box.fileno()  # once it has ended the box does not tell the descriptor any more
            self._undo = undo.pop_all()

    def connect(self) -> Back | None:
        """Connect to the cell kernel's sockets, if they are there by now. Raises CellholdError where they are no sockets."""
        if self.meeting.has_sockets():
            try:
                self.back = Back(meeting.NAMES, directory=self.meeting.directory)
            except (ConnectionRefusedError, BlockingIOError):
                return None  # bound, but nobody listens yet
            except OSError as error:
                raise CellholdError(f"cannot connect to the cell kernel: {error.strerror}") from error
            self._undo.callback(self.back.close)
            self.connected = time.monotonic()
        return self.back

    def greeted(self) -> None:
        """Its iopub is heard: from now on nothing that it publishes is lost."""
        self.ready_after = time.monotonic() - self.began

    def update(self, limits: Limits) -> None:
        """Change limits while it runs; raises what Container.update raises."""
        self.box.update(limits)
        self.spec = replace(self.spec, limits=limits)

    def close(self) -> None:
        """Take everything of it away, running or not. Closing twice is no error."""
        self._undo.close()


def command(spec: Spec, arguments: Sequence[str]) -> tuple[str, ...]:
    """What to run: ipykernel by the image's own Python; in the `host` image that is this one, with the packages it has."""
    python = sys.executable if spec.image == "host" else "python3"
    return (python, "-m", "ipykernel_launcher", "-f", meeting.CONNECTION_FILE, *arguments)
