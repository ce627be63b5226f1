"""Handle: what Container and Detached have in common, for whoever has a container and need not know whose it is.

The cases differ in who has the container: a Container belongs to this process and ends with it, a Detached is nobody's and
is found by its id. The panel of a plain notebook (cellhold_kernel.widgets.standalone) and the CLI's signal forwarding
take either; tests/system/test_handle.py runs one script on both.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.cgroups.files import Read
    from cellhold.container.exec import ExecSession
    from cellhold.network import Connection
    from cellhold.network.egress import Refused
    from cellhold.spec.lifecycle import State
    from cellhold.spec.limits import Limits
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.spec import Spec
    from cellhold.spec.tracing import Step
    from cellhold.spec.usage import Usage


class Handle(Protocol):
    """A container that was created.

    Of a Container, wait() and kill() may be called from several threads at once, the rest from one at a time; a Detached
    may be used by any number of threads and processes. All methods take milliseconds (a lock of the store, files of the cgroup) but for
    start(), stop(), wait() and remove(force=True), which block as they say. Each raises NotAllowed with the reason of
    the lifecycle's table (cellhold.spec.lifecycle) where the present state has no such move; a Detached raises
    ContainerNotFound as well, once somebody has removed it.
    """

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits; they stay."""

    @property
    def name(self) -> str:
        """The present name; the id, if it was given none."""

    @property
    def state(self) -> State:
        """The present state.

        Of a Container: as of the last call of one of these methods; poll() brings it up to date.
        """

    @property
    def spec(self) -> Spec:
        """What it runs, completed by its image; of a Container with the limits that hold."""

    @property
    def timings(self) -> list[Step]:
        """The steps so far that this process took or was told of; none of a Detached."""

    @property
    def outcome(self) -> Outcome | None:
        """How the last run ended; None while it runs and before the first.

        Of a Container: as of the last poll() or wait().
        """

    def start(self) -> object:
        """Run its program; return once that is exec'd.

        Called by whoever created or found it, in the states created and stopped. Blocks for the start, a minute at most.
        Raises SetupFailed with the step that failed, CommandNotRun (126, 127), NotSupported, InvalidSpec.
        """

    def poll(self) -> Outcome | None:
        """Return how the last run ended; None while it runs and before the first.

        Called by event loops, over and over. Does not block.
        """

    def wait(self, timeout: float | None = None) -> Outcome:
        """Wait until it does not run. timeout: seconds; None: for ever.

        Called by whoever needs the status. Raises TimeoutError, and NotAllowed where it was never started.
        """

    def stop(self, grace_seconds: float | None = None) -> Outcome:
        """Send the stop signal, and SIGKILL after the grace period; return how it ended.

        One that has ended is left as it is.

        grace_seconds: None = the spec's stop_seconds, else 10. Blocks so long at most, and for the end.
        """

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send its program a signal; SIGKILL ends every process of it.

        Does not wait for the end.
        """

    def pause(self) -> None:
        """Freeze every process where it is."""

    def unpause(self) -> None:
        """Let them go on."""

    def update(self, limits: Limits) -> None:
        """Set the limits, at once where it runs.

        Raises InvalidSpec (memory below present use), NotSupported for what is fixed by now (cellhold.spec.fields).
        """

    def exec(  # noqa: PLR0913  # docker's flags
        self,
        *args: str,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        terminal: bool = False,
    ) -> ExecSession:
        """Start one more process in it; return once that is exec'd, a minute at most.

        stdin, stdout, stderr: descriptors; None is /dev/null. env: added to the program's own. cwd, user: None = the
        program's. terminal: it gets one instead of the descriptors.
        Raises CommandNotRun (126, 127), SetupFailed, InvalidSpec, NotSupported (a file, without root).
        """

    def usage(self, read: Read = ...) -> Usage:
        """Return what this run has used.

        read: cgroups.Kept().read for whoever asks over and over (the panel's sampler).

        Of a Container after its end: what it had used then. Raises NotAllowed where its group is gone.
        """

    def connections(self) -> list[Connection]:
        """Return how it is connected while it runs, and what has gone over its networks; the first network's first."""

    def refused(self) -> list[Refused]:
        """Return what its egress policy did not let through, the most frequent first.

        Raises NotAllowed on no network.
        """

    def restrict(self, policy: str) -> None:
        """Set the egress policy of this run; connections that there are go on.

        Raises InvalidSpec, NotAllowed on no network.
        """

    def writable_layer(self) -> tuple[int, int]:
        """Return the bytes that are free in its writable layer, and in all.

        Raises NotAllowed unless it runs, and without root.
        """

    def calls(self) -> dict[str, tuple[str, ...]]:
        """Return the system calls of its last start, by step; none where another process started it."""

    def remove(self, *, force: bool = False) -> None:
        """Remove it and all that it has.

        force: kill it first if it runs, and wait for its end.

        Raises NotAllowed if it runs. Removing twice is not an error.
        """
