"""One container with the kernel in it: from spec to end. What becomes of a notebook's cells is not its business (session.py)."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from cellhold.errors import CellholdError
from cellhold.spec.fields import FIELDS
from cellhold_kernel.engine.local.last_words import LastWords
from cellhold_kernel.engine.local.program import InsideProgram
from cellhold_kernel.protocol.text import OutputTail
from cellhold_kernel.transport import logged, socket_directory
from cellhold_kernel.transport.backend import Backend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cellhold.cgroups.base import Usage
    from cellhold.cgroups.files import Read
    from cellhold.network import Connection
    from cellhold.network.egress import Refused
    from cellhold.spec.lifecycle import State
    from cellhold.spec.limits import Limits
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.spec import Spec
    from cellhold.spec.tracing import Step
    from cellhold_kernel.engine.local.program import Program
    from cellhold_kernel.engine.local.shell_kernel import Companion
    from cellhold_kernel.gate.granted import GrantedChange, GrantedContainer, GrantedEgress


_USER = "0:0"  # whose sockets and folder it can use, whatever user the image names


class Sandbox(Protocol):
    """What is used of `cellhold.container.container.Container`."""

    id: str
    state: State
    spec: Spec  # with the limits that hold
    timings: list[Step]  # all that was done so far

    def start(self, *, stdin: int | None = None, stdout: int | None = None, stderr: int | None = None, more: Sequence[int] = ()) -> None:
        """Run its program."""

    def signal_fd(self) -> int:
        """A pidfd to signal it by, the caller's own from now on."""

    def exchange(self) -> list[int]:
        """The directory of the spec's exchange, and its pipes, descriptors that are the caller's own from now on."""

    def fileno(self) -> int:
        """Readable when it ended."""

    def poll(self) -> Outcome | None:
        """How it ended, or None."""

    def calls(self) -> dict[str, tuple[str, ...]]:
        """See Container.calls."""

    def usage(self, read: Read = ...) -> Usage:
        """What it has used so far. read: see Container.usage."""

    def connections(self) -> list[Connection]:
        """How it is connected, and what has gone over its networks."""

    def refused(self) -> list[Refused]:
        """What its egress policy did not let through."""

    def restrict(self, policy: str) -> None:
        """Give it another egress policy."""

    def oom_victims(self, last: int) -> tuple[str, ...]:
        """The names of its processes that were killed at the memory limit."""

    def writable_layer(self) -> tuple[int, int]:
        """Bytes free, and bytes in all."""

    def update(self, limits: Limits) -> None:
        """Change limits while it runs."""

    def pause(self) -> None:
        """Freeze every process where it is."""

    def unpause(self) -> None:
        """Let them go on."""

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send its program a signal; SIGKILL ends every process of it."""

    def remove(self, *, force: bool = False) -> None:
        """Take everything of it away."""


class CellKernel:
    """A container that runs, or comes up, and its sockets.

    words: what an ipykernel has said and was not heard to say. life: a descriptor that is readable when it has ended. back: None
    until the cell kernel has bound its sockets. began, connected: moments of CLOCK_MONOTONIC. ready_after: seconds from the order to
    the first word of the cell kernel; None until then.
    """

    def __init__(
        self,
        granted: GrantedContainer,
        *,
        create: Callable[[Spec], Sandbox],
        key: str,
        signature_scheme: str,
        program: Program,
    ) -> None:
        """Make the container and start the kernel's program in it.

        key, signature_scheme: of the front connection; program: what program.py has found. Raises what Container.create and start raise.
        """
        self.ready_after: float | None = None  # seconds
        self.backend: Backend | None = None
        self.connected = 0.0
        self._companion: Companion | None = None  # of a shell
        self.words: LastWords | None = None
        self._is_logged = False
        self.program = program
        spec = granted.spec
        with ExitStack() as undo:
            ends = {"key": key, "signature_scheme": signature_scheme}
            is_inside = isinstance(program, InsideProgram)
            self.socket_directory = socket_directory.SocketDirectory() if is_inside else socket_directory.HostSocketDirectory(**ends)
            undo.callback(self.socket_directory.close)
            self._run = undo.enter_context(ExitStack())  # what one run of the program has
            if isinstance(program, InsideProgram):
                env = {**spec.env, **program.env}
                image = program.image or spec.image
                command = logged.command(program.argv)
                self._is_logged = command is not None
                place = socket_directory.exchange(**ends, is_logged=self._is_logged)
                args = command or program.argv
                self.box = create(replace(spec, image=image, entrypoint=(), args=args, env=env, user=_USER, exchange=place))
            else:
                from cellhold_kernel.shell import lines  # noqa: PLC0415  # imported for an image without Python

                self.box = create(replace(spec, entrypoint=(), args=lines.start(program.argv), user=_USER))
            undo.callback(self.box.remove, force=True)
            self._start()
            self.spec = replace(spec, limits=self.box.spec.limits)  # without root none may hold that nobody asked for
            self._undo = undo.pop_all()

    def _start(self) -> None:
        self.began = time.monotonic()
        self.tail = OutputTail(mirror=2 if os.environ.get("CELLHOLD_DEBUG") else None)
        self._run.callback(self.tail.close)
        if isinstance(self.program, InsideProgram):
            if self._is_logged:
                self.words = LastWords()
                self._run.callback(self.words.close)
            stdin = None if self.words is None else self.words.memory
            self.box.start(stdin=stdin, stdout=self.tail.writer, stderr=self.tail.writer)
            directory, *pipes = self.box.exchange()
            self.socket_directory.begin(directory)
            if self.words is not None:
                self.words.begin(pipes)
        elif isinstance(self.socket_directory, socket_directory.HostSocketDirectory):
            from cellhold_kernel.engine.local.shell_kernel import Companion  # noqa: PLC0415  # as above

            self._companion = Companion(self.program.argv, directory=self.socket_directory.sockets, errors=self.tail.writer)
            self._run.callback(self._companion.close)
            self._companion.start(self.box)
        self.tail.close_writer()
        self.life = self.box.fileno()  # once it has ended the box does not tell the descriptor any more

    def rest(self) -> None:
        """It has ended, and may be started again: let go of what only a run has."""
        self._run.close()
        self.backend = self.ready_after = None

    def start_again(self) -> None:
        """Start the program again, in the same container with all that was written. Raises what Container.start raises."""
        self.socket_directory.clear()
        self._start()

    def connect(self) -> Backend | None:
        """Connect to the cell kernel's sockets, if they are there by now. Raises CellholdError where they are no sockets."""
        names = self.socket_directory.names()
        if names is not None:
            try:
                self.backend = self._connected_backend(names)
            except (ConnectionRefusedError, BlockingIOError):
                return None  # bound, but nobody listens yet
            except OSError as error:
                raise CellholdError(f"cannot connect to the cell kernel: {error.strerror}") from error
            self._run.callback(self.backend.close)
            self.connected = time.monotonic()
        return self.backend

    def _connected_backend(self, names: dict[str, str]) -> Backend:
        if self._companion is None:
            return Backend(names, directory=self.socket_directory.directory)
        from cellhold_kernel.engine.local.shell_kernel import ShellBackend  # noqa: PLC0415  # as above

        return ShellBackend(names, directory=self.socket_directory.directory, box=self.box, companion=self._companion)

    def greeted(self) -> None:
        """Its iopub is heard: from now on nothing that it publishes is lost."""
        self.ready_after = time.monotonic() - self.began

    @property
    def interrupts_by_signal(self) -> bool:
        """Whether its kernel knows no message for that."""
        return isinstance(self.program, InsideProgram) and self.program.by_signal

    def interrupt(self) -> None:
        """Interrupt such a kernel."""
        with suppress(CellholdError):
            self.box.kill(signal.SIGINT)

    def update(self, granted: GrantedChange) -> None:
        """Change limits while it runs; raises what Container.update raises."""
        # What was left of the disk, say, when it was made need not be what is left now.
        fixed = {field.name: field.value(self.spec.limits) for field in FIELDS if field.is_fixed(is_alive=True)}
        limits = replace(granted.limits, **fixed)
        self.box.update(limits)
        self.spec = replace(self.spec, limits=limits)

    def restrict(self, granted: GrantedEgress) -> None:
        """Change the egress policy while it runs; raises what Container.restrict raises."""
        self.box.restrict(granted.egress)

    def close(self) -> None:
        """Take everything of it away, running or not. Closing twice is no error."""
        self._undo.close()
