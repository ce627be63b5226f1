"""What controls and panel need of whoever has the container: a notebook's Session, or a plain notebook's own container."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cellhold.cgroups.base import Usage
    from cellhold.cgroups.files import Read
    from cellhold.errors import CellholdError
    from cellhold.network import Connection
    from cellhold.network.egress import Refused
    from cellhold.spec.lifecycle import State
    from cellhold.spec.spec import Spec
    from cellhold.spec.tracing import Step
    from cellhold_kernel.gate.images import Names
    from cellhold_kernel.settings.policy import Policy


class Box(Protocol):
    """A container as controls and panel use it; see cellhold.container.handle.Handle for each. None of them waits for an end."""

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits."""

    @property
    def state(self) -> State:
        """The present state."""

    @property
    def spec(self) -> Spec:
        """What it runs, with the limits that hold."""

    @property
    def timings(self) -> list[Step]:
        """The steps so far."""

    def calls(self) -> dict[str, tuple[str, ...]]:
        """Return the system calls of its last start, by step."""

    def usage(self, read: Read = ...) -> Usage:
        """Return what it has used. Called by the sampler, up to four times a second."""

    def connections(self) -> list[Connection]:
        """Return how it is connected, and what has gone over its networks."""

    def refused(self) -> list[Refused]:
        """Return what its egress policy did not let through."""

    def writable_layer(self) -> tuple[int, int]:
        """Return the bytes free in its writable layer, and in all."""

    def pause(self) -> None:
        """Freeze every process where it is."""

    def unpause(self) -> None:
        """Let them go on."""

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send its program a signal; SIGKILL ends every process of it."""


class Held(Protocol):
    """A container with what it was asked to be: a notebook's CellKernel, or a plain notebook's container."""

    @property
    def box(self) -> Box:
        """The container itself."""

    @property
    def spec(self) -> Spec:
        """What it was asked to be, with the limits that hold."""


class Holder(Protocol):
    """Whoever has the container. Called on the event loop's thread alone.

    failure: why there is no container, where there is none.
    """

    failure: CellholdError | None

    @property
    def current(self) -> Held | None:
        """The container that runs, or is paused."""

    @property
    def stopped(self) -> Held | None:
        """The container that can be started again."""

    @property
    def is_coming(self) -> bool:
        """Whether one is on its way."""

    @property
    def owner(self) -> str:
        """The notebook that images and containers belong to (Spec.owner)."""

    def policy(self) -> Policy:
        """Return the machine's policy for it. Raises CellholdError for a file that cannot be read."""

    def names(self) -> Names:
        """Return the names of images that it may use."""

    def resume(self) -> None:
        """Start the stopped one again. Raises what Container.start() does."""

    def begin(self) -> None:
        """Begin to make a fresh one, or start it again where there is only the one."""

    def remove_stopped(self) -> None:
        """Remove the stopped one."""
