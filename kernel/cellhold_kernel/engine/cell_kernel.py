"""One container with the kernel in it, whichever engine made it: from its start to its end.

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
    from cellhold_kernel.engine.base import KernelSandbox, LastWords, Output
    from cellhold_kernel.gate.granted import GrantedChange, GrantedEgress
    from cellhold_kernel.transport.backend import Backend


class CellKernel:
    """A container that runs, or comes up, and the connection to the kernel in it.

    box: the container. life: a descriptor that is readable when it has ended. backend: None
    until the cell kernel has bound its sockets. began, connected: moments of CLOCK_MONOTONIC.
    ready_after: seconds from the order to the first word of the cell kernel; None until then.
    """

    def __init__(self, spec: Spec, sandbox: KernelSandbox) -> None:
        """Start the kernel's program. spec: as it was granted. Raises what KernelSandbox.start raises; nothing is left then."""
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
        """What its program writes."""
        return self.sandbox.output

    @property
    def words(self) -> LastWords | None:
        """What it has said and was not heard to say."""
        return self.sandbox.last_words

    @property
    def scratch(self) -> Path:
        """A directory for messages too large to be held."""
        return self.sandbox.scratch

    def rest(self) -> None:
        """Let go of what only a run has: it has ended, and may be started again."""
        self.sandbox.rest()
        self.backend = self.ready_after = None

    def start_again(self) -> None:
        """Start the program again, in the same container with all that was written. Raises what KernelSandbox.start raises."""
        self._start()

    def connect(self) -> Backend | None:
        """Connect to the cell kernel's sockets, if they are there by now. Raises what KernelSandbox.connect raises."""
        self.backend = self.sandbox.connect()
        if self.backend is not None:
            self.connected = time.monotonic()
        return self.backend

    def greeted(self) -> None:
        """Its iopub is heard: from now on nothing that it publishes is lost."""
        self.ready_after = time.monotonic() - self.began

    @property
    def interrupts_by_signal(self) -> bool:
        """Whether its kernel knows no message for that."""
        return self.sandbox.interrupts_by_signal

    def interrupt(self) -> None:
        """Interrupt such a kernel."""
        with suppress(CellholdError):
            self.sandbox.kill(signal.SIGINT)

    def update(self, granted: GrantedChange) -> None:
        """Change limits while it runs; raises what KernelSandbox.update raises."""
        # What was left of the disk, say, when it was made need not be what is left now.
        fixed = {field.name: field.value(self.spec.limits) for field in FIELDS if field.is_fixed(is_alive=True)}
        limits = replace(granted.limits, **fixed)
        self.sandbox.update(limits)
        self.spec = replace(self.spec, limits=limits)

    def restrict(self, granted: GrantedEgress) -> None:
        """Change the egress policy while it runs; raises what KernelSandbox.restrict raises."""
        self.sandbox.restrict(granted.egress)

    def close(self) -> None:
        """Remove all of it, running or not. Closing twice is no error."""
        self.sandbox.remove()
