"""Container: create, start, pause, unpause, stop and remove a container.

Used by the CLI, the kernel and other Python programs. A container belongs to the
process that made it: when that process ends, for whatever reason, the container ends
too, and its resources are removed. How it is started is in start.py, one run in run.py,
what it has on the host in resources.py, and why it ended in exit_status.py.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from cellhold import image, network
from cellhold.container import exit_status, start
from cellhold.container.executable import Entrance, Executable
from cellhold.container.launcher import deadline
from cellhold.container.recovery import sweep_once
from cellhold.container.resources import Resources
from cellhold.container.run import Run
from cellhold.container.view import ContainerView
from cellhold.errors import CommandNotRun, InvalidSpec
from cellhold.rootfs import sources, volumes
from cellhold.spec import fields, tracing
from cellhold.spec.lifecycle import Action, State, after
from cellhold.spec.outcome import Why
from cellhold.spec.usage import Usage
from cellhold.store import leavings
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack
    from types import TracebackType

    from cellhold.container.start import Launcher
    from cellhold.image.model import Image
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.spec import Spec
    from cellhold.store.home import Home

GRACE_SECONDS = 10.0  # docker's, between the stop signal and SIGKILL


class Container(ContainerView, Executable):
    """A container that ends with this process.

    Make it with Container.create(); as a context manager it is removed at the end of
    the block.

    id: twelve hexadecimal digits. name: the spec's, else the id. pid: of its PID 1, on
    the host, while it runs. timings: the steps so far (cellhold.spec.tracing.Step).
    outcome: how the last run ended. See handle.py for what it has in common with
    Detached.
    """

    @classmethod
    def create(cls, spec: Spec, *, home: Home | None = None, found: Image | None = None) -> Self:
        """Make a container that has everything but a process.

        That is a directory, ids, a cgroup with limits, and a writable layer.

        found: the image, if it has no name to look it up by (a step of a build).

        Raises InvalidSpec, ImageNotFound, NotSupported for a limit that this host
        cannot enforce, or SetupFailed if the store cannot be written to; then nothing
        is left behind.
        """
        home = home or open_home()
        with home.written(), home.used():
            sweep_once(home)
            begin = time.monotonic()
            chosen = found or image.for_spec(spec, home)
            words = f"{chosen.name}: {', '.join(stack.target for stack in chosen.stacks)}"
            step = tracing.Step("image.find", words, begin, time.monotonic() - begin)
            spec = sources.open_sources(chosen.completed(spec))
            start.check(spec)
            network.check(spec, home)
            spec = volumes.create_missing(spec, home)
            made = cls(spec, home, chosen, lambda report: Resources(spec, chosen, home, report=report))
            made.timings.insert(0, step)
            made._tell_others("create")
            return made

    def start(
        self,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        more: Sequence[int] = (),
        keep: ExitStack | None = None,
    ) -> None:
        """Start the program; return once it is exec'd.

        stdin, stdout, stderr: descriptors; None is /dev/null. more: descriptors that
        become its 3, 4 and so on. keep: until this is closed the writable layer stays
        accessible, also after the program has ended; close it before remove().

        Raises SetupFailed with the step that failed, CommandNotRun (126, 127), or
        NotAllowed.
        """
        self._start(start.OwnLauncher(stdin, stdout, stderr, *more), keep=keep)

    def _start(self, launcher: Launcher, *, keep: ExitStack | None = None) -> Run:
        state = after(self.state, Action.START, container=self.name)
        if not self.spec.args:
            raise InvalidSpec(f"cannot start container {self.name}: no command given, and the image names none")
        before = Usage()
        if self.state is State.STOPPED or self._resources.record.kept:  # one that is kept may have been assembled, or half started
            self._resources.storage.prepare_restart()
            before = self._resources.cgroup.usage()
        self.outcome = self._last_usage = None
        began = time.monotonic()
        try:
            self._network.prepare(self.spec)
            with self._home.written():
                attempt = self._attempt(launcher, self._network, before)
            started = attempt.run(keep=keep)
            self._layer = attempt.layer
        except BaseException as error:
            self.state = State.STOPPED
            status = error.status if isinstance(error, CommandNotRun) else exit_status.NOT_STARTED_STATUS
            self.outcome = exit_status.not_started(status, seconds=time.monotonic() - began)
            self._network.detach()
            self._write_record()
            raise
        for step in started.steps():
            self._report(step)
        self._run, self._plan = Run(started, name=self.name, began=began, before=before), started.plan
        self.pid, self.state = started.pid, state
        targets = [overlay["target"] for overlay in started.plan["overlays"]]
        for entry in self.spec.mounts:
            if entry.outlives and entry.target in targets and self._resources.record.spec:
                self._resources.record.spec[leavings.UPPER] = targets.index(entry.target)
        self._write_record()
        self._tell_others("start")
        return self._run

    def poll(self) -> Outcome | None:
        """Return how it ended; None while it runs, and before its first start.

        Does not block.
        """
        if self.outcome is None and self._run is None:
            return None
        with suppress(TimeoutError):
            return self.wait(timeout=0)
        return None

    def wait(self, timeout: float | None = None) -> Outcome:
        """Wait until the program has ended; return how it ended.

        timeout: seconds.

        Raises TimeoutError, or NotAllowed if it was never started.
        """
        until = deadline(timeout)
        if not self._receiving.acquire(timeout=-1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)):
            raise TimeoutError(f"container {self.name} still runs")  # as far as the thread that waits for it knows
        try:
            if self.outcome is None:
                run = self._running("wait for")
                self.outcome = self._finish(run, run.await_end(until, on_timeout=self._thaw_paused))
            return self.outcome
        finally:
            self._receiving.release()

    def _thaw_paused(self) -> None:
        if self.state is State.PAUSED:
            self._resources.cgroup.thaw()  # a process frozen by cgroup v1 does not even die

    def _finish(self, run: Run, end: exit_status.End | None) -> Outcome:
        if end is None:
            self._resources.cgroup.kill()
        self._last_usage = self._resources.cgroup.usage()
        self._close_run()
        self.outcome = run.outcome(end, self._last_usage, limits=fields.amounts(self.spec.limits), oom_victims=self.oom_victims)
        self._network.detach()
        self._report(tracing.Step("program.wait", self.outcome.sentence(), run.executed, time.monotonic() - run.executed))
        self.state = after(self.state, Action.END, container=self.name)
        self.pid = None
        self._try_write_record()
        self._tell_others("die", **exit_status.attributes(self.outcome))
        if self.outcome.why is Why.MEMORY:
            self._tell_others("oom")
        volumes.write_out(self.spec, self._home)
        return self.outcome

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the program; SIGKILL kills every process of the container.

        Raises NotAllowed unless it runs.
        """
        after(self.state, Action.KILL, container=self.name)
        if (run := self._run) is not None:
            run.signal(number)
        if self.state is State.PAUSED and number == signal.SIGKILL:
            self._resources.cgroup.kill()
            self._resources.cgroup.thaw()

    def stop(self, grace_seconds: float | None = None) -> Outcome:
        """Send the stop signal, and SIGKILL after the grace period; return how it ended.

        grace_seconds: None = the spec's, else 10. Raises NotAllowed if it was never
        started.
        """
        after(self.state, Action.STOP, container=self.name)
        if ended := self.poll():  # by itself, before anybody stopped it
            return ended
        grace = next(one for one in (grace_seconds, self.spec.stop_seconds, GRACE_SECONDS) if one is not None)
        self._running("stop").is_ordered = True
        self.kill(self.spec.stop_signal or signal.SIGTERM)
        if self.state is State.PAUSED:
            self.unpause()
        try:
            return self.wait(grace)
        except TimeoutError:
            self.kill(signal.SIGKILL)
            return self.wait()

    @contextmanager
    def _entrance(self) -> Iterator[Entrance]:
        from cellhold.container.exec import check_running  # noqa: PLC0415  # few containers need it

        if self.state is State.RUNNING:
            self.poll()
        check_running(self.state, self.name)
        yield Entrance(self.name, self.spec, self._running("exec in").channel.socket)

    def pause(self) -> None:
        """Freeze every process of the container."""
        if self.state is State.RUNNING:
            self.poll()
        state = after(self.state, Action.PAUSE, container=self.name)
        self._resources.cgroup.freeze()
        self.state = state
        self._try_write_record()

    def unpause(self) -> None:
        """Thaw the container's processes."""
        state = after(self.state, Action.UNPAUSE, container=self.name)
        self._resources.cgroup.thaw()
        self.state = state
        self._try_write_record()

    def remove(self, *, force: bool = False) -> None:
        """Remove the container and everything it has.

        force: kill it first if it runs. Raises NotAllowed if it runs. Removing it twice
        is not an error.
        """
        if self.state in (State.RUNNING, State.PAUSED) and self.poll() is None and force:
            self.kill(signal.SIGKILL)
            self.wait()
        state = after(self.state, Action.REMOVE, container=self.name)
        if self.state is State.REMOVED:
            return
        begin = time.monotonic()
        self._release()
        volumes.remove_anonymous(self._resources.record, self._home)
        self._tell_others("destroy")
        self._report(tracing.Step("container.remove", "its group, writable layer, ids and directory", begin, time.monotonic() - begin))
        self.state = state

    def __enter__(self) -> Self:
        """Return the container itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remove the container, whether it runs or not."""
        self.remove(force=True)
