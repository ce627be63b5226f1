"""What the local engine uses of `cellhold.container.container.Container`.

Tests can serve a stand-in for it.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from cellhold.cgroups.files import Read
    from cellhold.network import Connection
    from cellhold.network.egress import Refused
    from cellhold.spec.lifecycle import State
    from cellhold.spec.limits import Limits
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.spec import Spec
    from cellhold.spec.tracing import Step
    from cellhold.spec.usage import Usage


class InspectedContainer(Protocol):
    """What the panel reads of a Container and of a Detached alike."""

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits."""

    @property
    def timings(self) -> list[Step]:
        """All that was done so far."""

    @property
    def state(self) -> State:
        """Its present state."""

    @property
    def spec(self) -> Spec:
        """The spec, with the limits that hold."""

    def calls(self) -> dict[str, tuple[str, ...]]:
        """Return the system calls of each step, as Container.calls() does."""

    def usage(self, read: Read = ...) -> Usage:
        """Return what it has used so far. read: see Container.usage."""

    def connections(self) -> list[Connection]:
        """Return how it is connected, and what has gone over its networks."""

    def refused(self) -> list[Refused]:
        """Return what its egress policy did not let through."""

    def writable_layer(self) -> tuple[int, int]:
        """Return bytes free, and bytes in all."""

    def pause(self) -> None:
        """Freeze all processes."""

    def unpause(self) -> None:
        """Thaw all processes."""

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send its program a signal; SIGKILL ends every process of it."""


class LocalContainer(InspectedContainer, Protocol):
    """What is used of one that the host kernel makes."""

    pid: int | None  # of its PID 1, on the host, while it runs

    def start(
        self,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        more: Sequence[int] = (),
        keep: ExitStack | None = None,
    ) -> None:
        """Start its program. keep: what holds its writable layer open from then on."""

    def upper(self, target: str) -> int:
        """Open the upper directory of the overlay at `target`, while its layer is kept.

        Raises NotAllowed.
        """

    def signal_fd(self) -> int:
        """Return a pidfd to signal it by, the caller's own from now on."""

    def exchange(self) -> list[int]:
        """Return the directory of the spec's exchange, and its pipes.

        The descriptors are the caller's own from now on.
        """

    def fileno(self) -> int:
        """Return a descriptor that is readable when it ended."""

    def poll(self) -> Outcome | None:
        """Return how it ended, or None."""

    def restrict(self, policy: str) -> None:
        """Give it another egress policy."""

    def oom_victims(self, last: int) -> tuple[str, ...]:
        """Return the names of its processes that were killed at the memory limit."""

    def update(self, limits: Limits) -> None:
        """Change limits while it runs."""

    def remove(self, *, force: bool = False) -> None:
        """Remove all of it."""
