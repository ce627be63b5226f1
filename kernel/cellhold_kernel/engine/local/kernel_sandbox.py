"""A container of this host with the kernel in it: its sockets, pipes and output."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError
from cellhold_kernel.engine.base import Topic
from cellhold_kernel.engine.local import socket_directory, unix_sockets
from cellhold_kernel.engine.local.last_words import LastWords
from cellhold_kernel.engine.local.program import InsideProgram
from cellhold_kernel.engine.local.sandbox import LocalSandbox
from cellhold_kernel.protocol.text import OutputTail
from cellhold_kernel.transport import exchange, logged
from cellhold_kernel.transport.backend import Backend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cellhold.spec.limits import Limits
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.spec import Spec
    from cellhold_kernel.engine.base import Preparation
    from cellhold_kernel.engine.local.container import LocalContainer
    from cellhold_kernel.engine.local.packages import HeldLayer
    from cellhold_kernel.engine.local.program import Program
    from cellhold_kernel.engine.local.shell_kernel import Companion
    from cellhold_kernel.files.hand_out import HandOut

_USER = "0:0"  # whose sockets and folder it can use, whatever user the image names


class LocalKernelSandbox(LocalSandbox):
    """A container, and where its kernel and the host kernel meet.

    last_words: the messages of an ipykernel that were not received; None for other
    kernels.
    """

    def __init__(
        self, preparation: Preparation, program: Program, *, create: Callable[[Spec], LocalContainer], packages: HeldLayer | None = None
    ) -> None:
        """Create the container.

        create: Container.create, or a stand-in for it. packages: this object's from now
        on. Raises what that raises, and
        OSError.
        """
        self.program = program
        self.last_words: LastWords | None = None
        self.files: HandOut | None = None
        self._preparation = preparation
        self._has_run = False
        self._layer = ExitStack()  # holds the writable layer of this run
        self._companion: Companion | None = None  # of a shell
        self._is_logged = False
        spec = preparation.granted.spec
        self.packages = packages
        with ExitStack() as undo:
            if packages is not None:
                undo.callback(packages.close)
            ends = {"key": preparation.key, "signature_scheme": preparation.signature_scheme}
            is_inside = isinstance(program, InsideProgram)
            self.socket_directory = socket_directory.SocketDirectory() if is_inside else socket_directory.HostSocketDirectory(**ends)
            undo.callback(self.socket_directory.close)
            self._run = undo.enter_context(ExitStack())  # what one run of the program has
            if isinstance(program, InsideProgram):
                image = program.image or spec.image
                command = logged.command(program.argv)
                self._is_logged = command is not None
                if packages is not None:
                    spec = packages.add(spec, has_ipykernel=self._is_logged)
                meeting = exchange.plan(**ends, is_logged=self._is_logged)
                args = command or program.argv
                env = {**spec.env, **program.env}
                made = create(replace(spec, image=image, entrypoint=(), args=args, env=env, user=_USER, exchange=meeting))
            else:
                from cellhold_kernel.shell import lines  # noqa: PLC0415  # imported for an image without Python

                if packages is not None:
                    spec = packages.add(spec, has_ipykernel=False)
                made = create(replace(spec, entrypoint=(), args=lines.start(program.argv), user=_USER))
            super().__init__(made)
            self.container: LocalContainer = made
            undo.callback(made.remove, force=True)
            undo.callback(self._close_files)
            undo.callback(self.release)
            self._undo = undo.pop_all()

    @property
    def is_logged(self) -> bool:
        """Whether its kernel is an ipykernel that is started with programs of ours."""
        return self._is_logged

    def take_packages(self, layer: HeldLayer | None) -> None:
        """Hold a layer that was mounted while the container runs."""
        if layer is not None:
            self.packages = layer
            self._undo.callback(layer.close)

    def inspect(self, topic: Topic) -> Mapping[str, Any]:
        """As of any container; the notebook's packages are a layer on top of the image's."""
        found = super().inspect(topic)
        if topic is Topic.LAYERS and self.packages is not None:
            return {"layers": [self.packages.describe(), *found["layers"]]}
        return found

    @property
    def scratch(self) -> Path:
        """A directory for messages too large to be held."""
        return self.socket_directory.path

    @property
    def interrupts_by_signal(self) -> bool:
        """Whether its kernel is interrupted by SIGINT, and not by a message."""
        return isinstance(self.program, InsideProgram) and self.program.by_signal

    def start(self) -> None:
        """Start the program, for the first time or again.

        Raises what Container.start() raises, and OSError.
        """
        self.output = OutputTail(mirror=2 if os.environ.get("CELLHOLD_DEBUG") else None)
        self._run.callback(self.output.close)
        if isinstance(self.program, InsideProgram):
            if self._is_logged:
                self.last_words = LastWords()
                self._run.callback(self.last_words.close)
            stdin = None if self.last_words is None else self.last_words.memory
            self.container.start(stdin=stdin, stdout=self.output.writer, stderr=self.output.writer, keep=self._layer)
            self._open_files()
            directory, *pipes = self.container.exchange()
            self.socket_directory.begin(directory)
            if self.last_words is not None:
                self.last_words.begin(pipes)
        elif isinstance(self.socket_directory, socket_directory.HostSocketDirectory):
            from cellhold_kernel.engine.local.shell_kernel import Companion  # noqa: PLC0415  # as above

            self._companion = Companion(self.program.argv, directory=self.socket_directory.sockets, errors=self.output.writer)
            self._run.callback(self._companion.close)
            self._companion.start(self.container, keep=self._layer)
            self._open_files()
        self.output.close_writer()

    def rest(self) -> None:
        """Release what belongs to a run that has ended, so that it can be started again."""
        self._close_files()
        self._run.close()
        self.socket_directory.clear()

    def _open_files(self) -> None:
        from cellhold_kernel.engine.local.written_files import open_files  # noqa: PLC0415  # while the cell kernel comes up

        self.files = open_files(self.container, self._preparation, is_resumed=self._has_run)
        self._has_run = True

    def _close_files(self) -> None:
        files, self.files = self.files, None
        if files is not None:
            files.close()
        self._layer.close()

    def connect(self) -> Backend | None:
        """Connect to the cell kernel's sockets; return None if they are not there yet.

        Raises CellholdError where they are not sockets.
        """
        names = self.socket_directory.names()
        if names is None:
            return None
        try:
            backend = self._backend(names)
        except (ConnectionRefusedError, BlockingIOError):
            return None  # bound, but nobody listens yet
        except OSError as error:
            raise CellholdError(f"cannot connect to the cell kernel: {error.strerror}") from error
        self._run.callback(backend.close)
        return backend

    def _backend(self, names: dict[str, str]) -> Backend:
        connected = unix_sockets.connect(names, directory=self.socket_directory.directory)
        if self._companion is None:
            return Backend(connected)
        from cellhold_kernel.engine.local.shell_kernel import ShellBackend  # noqa: PLC0415  # as above

        return ShellBackend(connected, container=self.container, companion=self._companion)

    def fileno(self) -> int:
        """Return a descriptor that is readable when this run has ended."""
        return self.container.fileno()

    def poll(self) -> Outcome | None:
        """Return the outcome of this run; None as long as it runs."""
        return self.container.poll()

    def update(self, limits: Limits) -> None:
        """Change limits while it runs. Raises what Container.update() raises."""
        self.container.update(limits)

    def restrict(self, policy: str) -> None:
        """Change the egress policy while it runs. Raises what Container.restrict() raises."""
        self.container.restrict(policy)

    def remove(self) -> None:
        """Remove the container, running or not. Removing it twice is not an error."""
        self._undo.close()
