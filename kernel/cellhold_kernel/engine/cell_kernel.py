"""A container with the kernel in it, from its start to its end, on any engine.

What becomes of a notebook's cells is not its business (session.py).
"""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError
from cellhold.spec.fields import FIELDS

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.spec.spec import Spec
    from cellhold_kernel.engine.base import KernelSandbox, LastWords, Output, WrittenFiles
    from cellhold_kernel.gate.granted import GrantedChange, GrantedEgress
    from cellhold_kernel.transport.backend import Backend


class CellKernel:
    """A container that runs or comes up, and the connection to the kernel in it.

    sandbox: the container. life: a descriptor that is readable when it has ended.
    backend: None until the cell kernel has bound its sockets. began, connected: moments
    of CLOCK_MONOTONIC. ready_after: seconds from the start to the first message of the
    cell kernel; None until then.
    """

    def __init__(self, spec: Spec, sandbox: KernelSandbox) -> None:
        """Start the kernel's program; if that fails, remove the container.

        spec: as it was granted. Raises what KernelSandbox.start() raises.
        """
        self.sandbox = sandbox
        self.backend: Backend | None = None
        self.ready_after: float | None = None
        self.connected = 0.0
        try:
            self._start()
        except BaseException:
            sandbox.remove()
            raise
        self.spec = replace(spec, limits=sandbox.spec.limits)  # without root none may hold that nobody asked for

    def _start(self) -> None:
        self.began = time.monotonic()
        self.sandbox.start()
        self.life = self.sandbox.fileno()  # once it has ended the sandbox need not know the descriptor any more

    @property
    def output(self) -> Output:
        """The output of its program."""
        return self.sandbox.output

    @property
    def words(self) -> LastWords | None:
        """The messages that were not received; None where they are not kept."""
        return self.sandbox.last_words

    @property
    def files(self) -> WrittenFiles | None:
        """What it writes into the notebook's folder."""
        return self.sandbox.files

    @property
    def scratch(self) -> Path:
        """A directory for messages too large to be held."""
        return self.sandbox.scratch

    def rest(self) -> None:
        """Release what belongs to the run that has ended, so that it can be started again."""
        self.sandbox.rest()
        self.backend = self.ready_after = None

    def start_again(self) -> None:
        """Start the program again, in the same container with its files.

        Raises what KernelSandbox.start() raises.
        """
        self._start()

    def connect(self) -> Backend | None:
        """Connect to the cell kernel's sockets; return None if it is not up yet.

        Raises what KernelSandbox.connect() raises.
        """
        self.backend = self.sandbox.connect()
        if self.backend is not None:
            self.connected = time.monotonic()
        return self.backend

    def greeted(self) -> None:
        """Record that its iopub is received: nothing it publishes is lost from now on."""
        self.ready_after = time.monotonic() - self.began

    @property
    def interrupts_by_signal(self) -> bool:
        """Whether its kernel is interrupted by SIGINT, and not by a message."""
        return self.sandbox.interrupts_by_signal

    def interrupt(self) -> None:
        """Interrupt such a kernel by SIGINT."""
        with suppress(CellholdError):
            self.sandbox.kill(signal.SIGINT)

    def update(self, granted: GrantedChange) -> None:
        """Change limits while it runs. Raises what KernelSandbox.update() raises."""
        # What was left of the disk, say, when it was made need not be what is left now.
        fixed = {field.name: field.value(self.spec.limits) for field in FIELDS if field.is_fixed(is_alive=True)}
        limits = replace(granted.limits, **fixed)
        self.sandbox.update(limits)
        self.spec = replace(self.spec, limits=limits)

    def restrict(self, granted: GrantedEgress) -> None:
        """Change the egress policy while it runs.

        Raises what KernelSandbox.restrict() raises.
        """
        self.sandbox.restrict(granted.egress)

    def close(self) -> None:
        """Remove the container, running or not. Closing it twice is not an error."""
        self.sandbox.remove()
