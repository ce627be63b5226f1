"""Handle: what Container and Detached have in common.

For callers that have a container and need not know whose it is: a Container belongs to
this process and ends with it, a Detached belongs to no process and is found by its id.
The panel of a plain notebook (cellhold_kernel.widgets.standalone) and the CLI's signal
forwarding take either; tests/system/test_handle.py runs one script on both.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Protocol

from cellhold.container.executable import Executable

if TYPE_CHECKING:
    from cellhold.cgroups.files import Read
    from cellhold.network import Connection
    from cellhold.network.egress import Refused
    from cellhold.spec.lifecycle import State
    from cellhold.spec.limits import Limits
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.spec import Spec
    from cellhold.spec.tracing import Step
    from cellhold.spec.usage import Usage


class Handle(Executable, Protocol):
    """A container that was created.

    Of a Container, wait() and kill() may be called from several threads at once, the
    rest from one at a time; a Detached may be used by any number of threads and
    processes. All methods take milliseconds (a lock of the store, files of the cgroup)
    except start(), stop(), wait() and remove(force=True), which block as described.
    Each raises NotAllowed with the reason from the lifecycle's table
    (cellhold.spec.lifecycle) if the present state has no such move; a Detached raises
    ContainerNotFound as well, once it has been removed.
    """

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits; they never change."""

    @property
    def name(self) -> str:
        """The present name; the id if it has no name."""

    @property
    def state(self) -> State:
        """The present state.

        Of a Container: as of the last call of one of these methods; poll() brings it up
        to date.
        """

    @property
    def spec(self) -> Spec:
        """What it runs, completed by its image; of a Container with the limits that hold."""

    @property
    def timings(self) -> list[Step]:
        """The steps that this process took or was told about; none of a Detached."""

    @property
    def outcome(self) -> Outcome | None:
        """How the last run ended; None while it runs and before the first.

        Of a Container: as of the last poll() or wait().
        """

    def start(self) -> object:
        """Run its program; return once that is exec'd.

        Called by whoever created or found it, in the states created and stopped. Blocks
        for the start, a minute at most.
        Raises SetupFailed with the step that failed, CommandNotRun (126, 127),
        NotSupported, InvalidSpec.
        """

    def poll(self) -> Outcome | None:
        """Return how the last run ended; None while it runs and before the first.

        Called by event loops, over and over. Does not block.
        """

    def wait(self, timeout: float | None = None) -> Outcome:
        """Wait until the container does not run; return how it ended.

        timeout: seconds; None: for ever.

        Called by code that needs the status. Raises TimeoutError, and NotAllowed if it
        was never started.
        """

    def stop(self, grace_seconds: float | None = None) -> Outcome:
        """Send the stop signal, and SIGKILL after the grace period; return how it ended.

        One that has ended is left as it is.

        grace_seconds: None = the spec's stop_seconds, else 10. Blocks for that long at
        most, and until the container has ended.
        """

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send its program a signal; SIGKILL kills every process of the container.

        Does not wait for the end.
        """

    def pause(self) -> None:
        """Freeze every process of the container."""

    def unpause(self) -> None:
        """Thaw the container's processes."""

    def update(self, limits: Limits) -> None:
        """Set the limits, at once if it runs.

        Raises InvalidSpec (memory below present use), NotSupported for a limit that
        cannot be changed any more (cellhold.spec.fields).
        """

    def usage(self, read: Read = ...) -> Usage:
        """Return what this run has used.

        read: cgroups.Kept().read for a caller that asks over and over (the panel's
        sampler).

        Of a Container after its end: what it had used then. Raises NotAllowed if its
        group is gone.
        """

    def connections(self) -> list[Connection]:
        """Return how it is connected, with traffic; the first network's first.

        Empty unless it runs.
        """

    def refused(self) -> list[Refused]:
        """Return what its egress policy refused, the most frequent first.

        Raises NotAllowed if it is on no network.
        """

    def restrict(self, policy: str) -> None:
        """Set the egress policy of this run; existing connections stay.

        Raises InvalidSpec, NotAllowed if it is on no network.
        """

    def writable_layer(self) -> tuple[int, int]:
        """Return the free bytes and all bytes of its writable layer.

        Raises NotAllowed unless it runs, and without root.
        """

    def calls(self) -> dict[str, tuple[str, ...]]:
        """Return the system calls of its last start, by step.

        Empty if another process started it.
        """

    def remove(self, *, force: bool = False) -> None:
        """Remove the container and everything it has.

        force: kill it first if it runs, and wait for its end.

        Raises NotAllowed if it runs. Removing it twice is not an error.
        """
