"""Container: created, started, paused, unpaused, stopped, removed; and why it ended.

Used by the CLI, the kernel and anybody else's Python. A container belongs to the process that made it: when that process ends,
however it ends, the container does too, and what it had is cleared.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from cellhold import image, network, seccomp
from cellhold.cgroups import Usage, files
from cellhold.container import inventory, trace
from cellhold.container import start as starting
from cellhold.container.launcher import deadline, launch
from cellhold.container.recovery import sweep_once
from cellhold.container.resources import Holdings, check_update
from cellhold.errors import CommandNotRun, InvalidSpec, NotAllowed, SetupFailed
from cellhold.image.model import Image
from cellhold.linux.kmsg import oom_victims
from cellhold.rootfs import exposure, overlay, sources, volumes
from cellhold.rootfs.plan import plan
from cellhold.spec import fields, tracing
from cellhold.spec.lifecycle import Action, State, after
from cellhold.spec.outcome import Outcome, Why
from cellhold.spec.spec import HOST
from cellhold.store import journal, spec_codec
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from cellhold.cgroups.files import Read
    from cellhold.container.exec import Entered
    from cellhold.container.launcher import Channel
    from cellhold.container.monitor import Attached
    from cellhold.init.health import Check
    from cellhold.init.plan import Plan
    from cellhold.network import Connection, NetworkKind
    from cellhold.network.egress import Refused
    from cellhold.spec.limits import Limits
    from cellhold.spec.spec import Health, Spec
    from cellhold.store.home import Home
    from cellhold.store.record import Record

_LOST_STATUS = 128 + signal.SIGKILL
_NOT_MADE_STATUS = 125  # as docker has it
_HELD_SECONDS = 10.0  # that killing a container without a program takes at most


class Container:
    """One container. Make it with Container.create(); use it as a context manager to have it removed in the end.

    id: twelve hexadecimal digits. name: the spec's, else the id. pid: of its PID 1, on the host, while it runs. timings: every step
    so far (cellhold.spec.tracing.Step). outcome: how the last run ended.
    """

    def __init__(self, spec: Spec, home: Home, found: Image) -> None:
        """Make the container that create() has looked up the image for."""
        self.spec = spec
        self.image = found
        self.state = State.CREATED
        self.outcome: Outcome | None = None
        self.timings: list[tracing.Step] = []
        self.pid: int | None = None
        self._home = home
        self._holdings = Holdings(spec, found, home, tell=self._tell)
        self._prepare()

    @classmethod
    def create(cls, spec: Spec, *, home: Home | None = None, found: Image | None = None) -> Self:
        """Make a container that has everything but a process: directory, ids, group with limits, writable layer.

        found: the image, where it has no name to look it up by (a step of a build).

        Raises InvalidSpec, ImageNotFound, NotSupported for a limit that this host cannot enforce, or SetupFailed where the store cannot
        be written to; then nothing is left behind.
        """
        home = home or open_home()
        with home.written(), home.used():
            sweep_once(home)
            start = time.monotonic()
            found = found or image.of(spec, home)
            step = tracing.Step(
                "image.find", f"{found.name}: {', '.join(stack.target for stack in found.stacks)}", start, time.monotonic() - start
            )
            spec = sources.open_sources(found.completed(spec))
            starting.check(spec)
            network.check(spec, home)
            spec = volumes.claimed(spec, home)
            made = cls(spec, home, found)
            made.timings.insert(0, step)
            made._tell_others("create")
            return made

    @classmethod
    def reopened(cls, known: Record, lock: int, home: Home) -> Self:
        """A container that is kept and does not run, to start it. lock: on its directory; this object's from now on.

        Raises SetupFailed, NotSupported (a limit that this host cannot enforce any more).
        """
        self = cls.__new__(cls)
        try:
            self.spec = sources.open_sources(spec_codec.spec(known.spec))
            self.image = Image(name=known.image, stacks=image.stacks_of(known, home), env={})
        except BaseException:
            os.close(lock)
            raise
        self.state, self.outcome, self.timings, self.pid = State(known.state), None, [], None
        if self.state is State.RESTARTING:  # it is us who start it again
            self.state = State.STOPPED
        self._home = home
        self._holdings = Holdings.reopened(known, lock, self.spec, home, tell=self._tell)
        self._prepare()
        return self

    def _prepare(self) -> None:
        self.spec = replace(self.spec, limits=self._holdings.limits)
        self.id = self._holdings.id
        self.name = self._holdings.record.name
        self.hostname = self.spec.hostname or (os.uname().nodename if self.spec.network == HOST else self.id)
        self._channel: Channel | None = None
        self._killed = self._timed_out = False
        self._receiving = threading.RLock()
        self._started = self._running = 0.0
        self._last_usage: Usage | None = None
        self._done: Plan | None = None  # of the last start
        self._shown = self.spec  # with the volumes opened: a plan names their descriptors by number
        self._network = self._open_network(self.spec.network)
        self._before = Usage()  # what earlier runs had used: the group goes on counting

    @contextmanager
    def held(self) -> Iterator[socket.socket]:
        """Put it together without its program, for others to look into (entering.py), by the channel that this gives. Its record stays."""
        self._holdings.storage.prepare_restart()
        nothing = self._open_network(network.NONE)
        todo = self._plan(nothing)
        todo["args"] = []
        try:
            self._attempt(todo, (None, None, None), nothing)
        except SetupFailed as error:
            todo["overlay_program"] = overlay.instead(error, todo["writable"])
            self._attempt(todo, (None, None, None), nothing)
        assert self._channel is not None  # noqa: S101  # for mypy: it has just started
        try:
            yield self._channel.socket
        finally:
            self._holdings.cgroup.kill()
            while (message := self._channel.receive(_HELD_SECONDS)) is not None and message[0] not in ("ended", "lost"):
                pass
            self._close_channel()

    def keep(self, *, auto_remove: bool = False) -> None:
        """Let the container outlive this process and its end, until somebody removes it (auto_remove: until its end), as `docker create`.

        It is to be started by start_kept(); close() lets go of it.
        """
        self.spec = replace(self.spec, env={**self.image.env, **self.spec.env})  # the image may be another one by then
        with self._home.written():
            self._holdings.keep(self.spec, auto_remove=auto_remove)

    def close(self) -> None:
        """Let go of a container that is kept and was not started."""
        self._close_channel()
        self._holdings.remove()
        self._let_go()

    def start(
        self,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        more: Sequence[int] = (),
        keep: ExitStack | None = None,
    ) -> None:
        """Start the program, and return once it is exec'd.

        stdin, stdout, stderr: descriptors; None is /dev/null. more: descriptors that become its 3, 4 and so on. keep: until this is
        closed the writable layer can be looked at, also when the program has ended; close it before remove().
        Raises SetupFailed with the step that failed, CommandNotRun (126, 127), or NotAllowed.
        """
        stdio = (stdin, stdout, stderr, *more)
        self._start(lambda todo: self._attempt(todo, stdio, self._network, keep=keep), stdio)

    def start_kept(self, *, attach: bool = False, once: bool = False) -> Attached | None:
        """Start the program of a container that is kept, and let go of it: this object is good for nothing any more.

        attach: give what monitoring.attach() does, from the first byte on. once: its standard input ends with the attached one's.
        Raises what start() does; then the container is as it was before.
        """
        from cellhold.container import monitor as monitoring  # noqa: PLC0415  # a notebook's container has no use for it

        with ExitStack() as closing:
            attached: list[Attached] = []

            def attempt(todo: Plan) -> starting.Started:
                monitor = closing.enter_context(
                    monitoring.Monitor(
                        self.id,
                        self._home,
                        lock=self._holdings.lock,
                        stdin=self.spec.stdin,
                        terminal=self.spec.terminal,
                        check=_check(self.spec.health),
                    )
                )
                self._monitor = monitor
                if attach:
                    attached[:] = [monitoring.attach(self._holdings.directory, once=once)]
                return self._attempt(todo, monitor.stdio, self._network, by=monitor.control)

            self._start(attempt)
            assert self._channel is not None  # noqa: S101  # for mypy: it has just started
            if attached and self._channel.terminal >= 0:
                attached = [monitoring.Attached(attached[0].socket, os.dup(self._channel.terminal))]
            self._monitor.let_go()
            self._close_channel()
            self._holdings.let_go()
            self._let_go()
        return attached[0] if attached else None

    def _start(self, attempt: Callable[[Plan], starting.Started], stdio: Sequence[int | None] = ()) -> None:
        state = after(self.state, Action.START, container=self.name)
        if not self.spec.args:
            raise InvalidSpec(f"cannot start container {self.name}: no command given, and the image names none")
        if self.state is State.STOPPED or self._holdings.record.kept:  # one that is kept may have been held, or half started
            self._holdings.storage.prepare_restart()
            self._before = self._holdings.cgroup.usage()
        self._killed = self._timed_out = False
        self.outcome = self._last_usage = None
        self._started = time.monotonic()
        try:
            self._network.prepare(self.spec)
            with self._home.written():
                todo = self._plan(self._network, stdio)
            try:
                started = attempt(todo)
            except SetupFailed as error:
                todo["overlay_program"] = overlay.instead(error, todo["writable"])
                started = attempt(todo)
        except BaseException as error:
            self.state = State.STOPPED
            status = error.status if isinstance(error, CommandNotRun) else _NOT_MADE_STATUS
            self.outcome = Outcome(status=status, signal=None, why=Why.EXITED, seconds=time.monotonic() - self._started)
            self._network.detach()
            self._write_record()
            raise
        words = trace.describe_steps(todo)
        for name, begin, seconds in started.timings:
            self._tell(tracing.Step(name, words.get(name, ""), begin, seconds, "host" if name.startswith("launch.") else "container"))
        self._done = todo
        self.pid, self.state, self._running = started.pid, state, time.monotonic()
        self._write_record()
        self._tell_others("start")

    def _attempt(
        self,
        todo: Plan,
        stdio: Sequence[int | None],
        through: NetworkKind,
        *,
        keep: ExitStack | None = None,
        by: socket.socket | None = None,
    ) -> starting.Started:
        with through.descriptors() as handed:
            self._channel = self._launch(todo, keep, (*stdio, *handed), by)
            try:
                refused = through.attach()
                try:
                    return starting.await_start(
                        self._channel, self._holdings.cgroup, self.name, " ".join(todo["args"][:1]), oom_kills_before=self._before.oom_kills
                    )
                except SetupFailed as error:
                    raise refused or error from error
            except BaseException:
                self._close_channel()
                raise

    def _open_network(self, word: str) -> NetworkKind:
        return network.open(word, self._home, container=self.id, name=self.name, report=self._tell)

    def _plan(self, through: NetworkKind, stdio: Sequence[int | None] = ()) -> Plan:
        start = time.monotonic()
        writable = self._holdings.storage.request()
        exposes_host = exposure.exposes_host(self.spec, stdio)
        capabilities = exposure.capabilities(self.spec, exposes_host=exposes_host)
        program = seccomp.cached_program(capabilities, self._home.seccomp, set_ids=not exposes_host)
        words = f"docker's default profile{', no set-user-id files' if exposes_host else ''}: {len(program) // 8} instructions"
        self._tell(tracing.Step("seccomp.compile", words, start, time.monotonic() - start))
        self._shown = volumes.placed(self.spec, self._home)
        return plan(
            replace(self._shown, capabilities=capabilities),
            self.image,
            hostname=self.hostname,
            init_layer=self._home.init_layer(),
            ids=self._holdings.ids,
            writable=writable,
            mounted=starting.mount_points(),
            volatile=not self._holdings.is_lasting,
            overlay_program=overlay.program(writable),
            views=self._holdings.cgroup.views(),
            seccomp=program,
            namespaces=starting.namespaces(),
            rlimits=starting.rlimits(self.spec.limits.rlimits),
            maxima=starting.maxima(),
            **through.plan_fields(),
        )

    def _launch(self, todo: Plan, keep: ExitStack | None, wanted: Sequence[int | None], by: socket.socket | None) -> Channel:
        with ExitStack() as closing:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            closing.callback(os.close, null)
            stdio = tuple(null if fd is None else fd for fd in wanted)
            writable = self._holdings.storage.open()
            closing.callback(os.close, writable)
            if keep is not None:
                keep.callback(os.close, os.dup(writable))
            join = self._holdings.cgroup.join()
            for fd in (*join.tasks, *((join.into,) if join.into >= 0 else ())):
                closing.callback(os.close, fd)
            return launch(todo, lock=self._holdings.lock, stdio=stdio, storage=writable, join=join, by=by)

    def fileno(self) -> int:
        """A descriptor to poll: readable when poll() may have news. Raises NotAllowed unless it runs."""
        if self._channel is None:
            raise NotAllowed(f"cannot watch container {self.name}: it does not run")
        return self._channel.socket.fileno()

    def poll(self) -> Outcome | None:
        """How it ended, or None as long as it runs."""
        with suppress(TimeoutError):
            return self.wait(timeout=0)
        return None

    def wait(self, timeout: float | None = None) -> Outcome:
        """Wait until the program has ended. timeout: seconds.

        Raises TimeoutError, or NotAllowed if it was never started.
        """
        end = deadline(timeout)
        if not self._receiving.acquire(timeout=-1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)):
            raise TimeoutError(f"container {self.name} still runs")  # as far as the thread that waits for it knows
        try:
            while self.outcome is None:
                if self._channel is None:
                    raise NotAllowed(f"cannot wait for container {self.name}: it does not run")
                message = self._channel.receive(None if end is None else end - time.monotonic())
                if message is None:
                    if end is None or time.monotonic() < end:
                        continue
                    raise TimeoutError(f"container {self.name} still runs")
                if message[0] == "timeout":
                    self._timed_out = True
                    if self.state is State.PAUSED:
                        self._holdings.cgroup.thaw()  # a process frozen by cgroup v1 does not even die
                elif message[0] == "ended":
                    self._end(status=message[1], number=message[2])
                elif message[0] == "lost":
                    self._holdings.cgroup.kill()
                    self._end(status=_LOST_STATUS, number=signal.SIGKILL, lost=True)
            return self.outcome
        finally:
            self._receiving.release()

    def _end(self, *, status: int, number: int, lost: bool = False) -> None:
        usage = self._holdings.cgroup.usage()
        self._close_channel()
        why = Why.LOST if lost else Why.TIME if self._timed_out else Why.KILLED if self._killed else Why.EXITED
        oom_kills = usage.oom_kills - self._before.oom_kills
        if why is Why.EXITED and oom_kills and number == signal.SIGKILL:
            why = Why.MEMORY
        limits = self.spec.limits
        self._last_usage = usage
        self.outcome = Outcome(
            status=status,
            signal=number or None,
            why=why,
            seconds=time.monotonic() - self._started,
            oom_kills=oom_kills,
            oom_victims=self.oom_victims(oom_kills),
            memory_limit_bytes=limits.memory_bytes,
            memory_peak_bytes=usage.memory_peak_bytes,
            cpu_seconds=(usage.cpu_seconds or 0.0) - (self._before.cpu_seconds or 0.0),
            time_limit_seconds=limits.seconds,
        )
        self._network.detach()
        self._tell(tracing.Step("program.wait", self.outcome.sentence(), self._running, time.monotonic() - self._running))
        self.state = after(self.state, Action.END, container=self.name)
        self.pid = None
        self._note()
        self._tell_others("die", exitCode=status)
        if why is Why.MEMORY:
            self._tell_others("oom")
        volumes.write_out(self.spec, self._home)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the program (SIGKILL: to everything in the container). Raises NotAllowed unless it runs."""
        after(self.state, Action.KILL, container=self.name)
        self._killed = self._killed or number in (signal.SIGKILL, signal.SIGTERM)
        if (channel := self._channel) is not None:
            channel.signal(number)
        if self.state is State.PAUSED and number == signal.SIGKILL:
            self._holdings.cgroup.kill()
            self._holdings.cgroup.thaw()

    def terminal(self) -> int:
        """Our end of its terminal, a descriptor that stays the container's. Raises NotAllowed unless it runs and has one."""
        if self._channel is None or self._channel.terminal < 0:
            raise NotAllowed(f"cannot look at the terminal of container {self.name}: it does not run, or has none")
        return self._channel.terminal

    def signal_fd(self) -> int:
        """A pidfd of its PID 1, the caller's own from now on, for a process of the caller's to signal it (linux/pidfd.py) while it runs.

        Raises NotAllowed unless it runs.
        """
        if self._channel is None or self._channel.pidfd < 0:
            raise NotAllowed(f"cannot signal container {self.name}: it does not run")
        return os.dup(self._channel.pidfd)

    def exchange(self) -> list[int]:
        """The directory of the spec's exchange (O_PATH), then reading ends of its pipes: descriptors that are the caller's own from now on.

        Hostile code can write there, to the pipes as well.
        Raises NotAllowed unless it runs and has one.
        """
        if self._channel is None or not self._channel.handed:
            raise NotAllowed(f"cannot look at the exchange of container {self.name}: it does not run, or has none")
        return list(map(os.dup, self._channel.handed))

    def stop(self, grace_seconds: float = 10.0) -> Outcome:
        """SIGTERM, and SIGKILL after the grace period; returns how it ended. Raises NotAllowed if it was never started."""
        after(self.state, Action.STOP, container=self.name)
        if ended := self.poll():  # by itself, before anybody stopped it
            return ended
        self.kill(signal.SIGTERM)
        if self.state is State.PAUSED:
            self.unpause()
        try:
            return self.wait(grace_seconds)
        except TimeoutError:
            self.kill(signal.SIGKILL)
            return self.wait()

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
    ) -> Entered:
        """Start one more process in it, and return once it is exec'd. stdin, stdout, stderr: descriptors; None is /dev/null.

        env: added to the program's own. cwd, user: None = the program's. terminal: it gets one instead of the descriptors.
        Raises NotAllowed unless it runs, CommandNotRun (126, 127), SetupFailed, InvalidSpec, NotSupported (a file, without root).
        """
        from cellhold.container import exec as entering  # noqa: PLC0415  # a notebook's container has no use for it

        if self.state is State.RUNNING:
            self.poll()
        entering.check(self.state, self.name)
        exposure.check_entering(self.spec, (stdin, stdout, stderr), self.name)
        asked = entering.request(args, env=env, cwd=cwd, user=user, terminal=terminal)
        assert self._channel is not None  # noqa: S101  # for mypy: it runs
        return entering.enter(self._channel.socket, asked, (stdin, stdout, stderr), name=self.name)

    def pause(self) -> None:
        """Freeze every process where it is. Raises NotAllowed unless it runs."""
        if self.state is State.RUNNING:
            self.poll()
        state = after(self.state, Action.PAUSE, container=self.name)
        self._holdings.cgroup.freeze()
        self.state = state
        self._note()

    def unpause(self) -> None:
        """Let it go on. Raises NotAllowed unless it is paused."""
        state = after(self.state, Action.UNPAUSE, container=self.name)
        self._holdings.cgroup.thaw()
        self.state = state
        self._note()

    def update(self, limits: Limits) -> None:
        """Set new limits while it runs.

        Raises InvalidSpec (memory below present use), NotAllowed (it was removed) or NotSupported (cellhold.spec.fields says
        which limits are fixed when it is made, or started).
        """
        if self.state is State.REMOVED:
            raise NotAllowed(f"cannot update container {self.name}: it was removed")
        started = self.state in (State.RUNNING, State.PAUSED)
        spec = replace(self.spec, limits=limits)
        check_update(self.spec.limits, limits, name=self.name, is_alive=started)
        self._holdings.cgroup.update(limits)
        self.spec = spec
        self._note()

    def calls(self) -> dict[str, tuple[str, ...]]:
        """The system calls behind the steps of its last start, by their names, as strace(1) would print them; none before the first."""
        from cellhold.container.syscalls import list_syscalls  # noqa: PLC0415  # imported when somebody asks, not at every start

        return {} if self._done is None else {**list_syscalls(self._done), **self._network.syscalls()}

    def usage(self, read: Read = files.read) -> Usage:
        """What it has used; after its end, what it had used then. read: cgroups.Kept().read for one who asks over and over."""
        return self._last_usage or self._holdings.cgroup.usage(read)

    def connections(self) -> list[Connection]:
        """How it is connected while it runs, and what has gone over its networks; the first network's first."""
        return self._network.connections(self.pid)

    def refused(self) -> list[Refused]:
        """What it wanted and did not get by its egress policy, the most often first. Raises NotAllowed where it is on no network."""
        return self._network.refused()

    def restrict(self, policy: str) -> None:
        """Give it another egress policy; connections that there are go on. Raises InvalidSpec, NotAllowed where it is on no network."""
        self._network.restrict(policy)
        self.spec = replace(self.spec, egress=policy)

    def oom_victims(self, last: int) -> tuple[str, ...]:
        """The names of the last so many of its processes that were killed at the memory limit; fewer where the host does not tell."""
        return tuple(oom_victims(self.id)[-last:]) if last else ()

    def writable_layer(self) -> tuple[int, int]:
        """Bytes that its writable layer still takes, and bytes that it takes in all. Raises NotAllowed unless it runs.

        Without root nobody may look into PID 1, and it raises NotAllowed as well.
        """
        return inventory.writable_layer(self.pid or 0, self.name)

    def remove(self, *, force: bool = False) -> None:
        """Remove the container and all it had; force: kill it first if it runs. Removing twice is no error."""
        if self.state in (State.RUNNING, State.PAUSED) and self.poll() is None and force:
            self.kill(signal.SIGKILL)
            self.wait()
        state = after(self.state, Action.REMOVE, container=self.name)
        if self.state is State.REMOVED:
            return
        start = time.monotonic()
        self._close_channel()
        self._holdings.remove()
        self._let_go()
        volumes.remove_anonymous(self._holdings.record, self._home)
        self._tell_others("destroy")
        self._tell(tracing.Step("container.remove", "its group, writable layer, ids and directory", start, time.monotonic() - start))
        self.state = state

    def describe(self) -> dict[str, str]:
        """The container in words, for people."""
        return {
            "id": self.id,
            "name": self.name,
            "image": self.image.name,
            "state": str(self.state),
            "limits": fields.format_limits(self.spec.limits),
            "network": self.spec.network,
            "storage": self._holdings.storage.describe(),
            "ids": self._holdings.ids.describe(),
        }

    def __enter__(self) -> Self:
        """The container itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remove it, running or not."""
        self.remove(force=True)

    def _tell(self, step: tracing.Step) -> None:
        self.timings.append(step)
        tracing.emit(step)

    def _tell_others(self, action: str, **more: object) -> None:
        journal.tell(self._home.root, action, self._holdings.record, **more)

    def _let_go(self) -> None:
        """Have no descriptor of the host's any more; this object may be looked at for long."""
        self.spec = self._shown = sources.let_go(self.spec)
        self.image = replace(self.image, stacks=())

    def _close_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _note(self) -> None:
        """Write down what has been done, for other processes to see. A disk that is full, or read-only, does not undo it."""
        with suppress(SetupFailed):
            self._write_record()

    def _write_record(self) -> None:
        with self._home.written():
            self._holdings.write(self.state, self.pid, self.outcome, self.spec.limits)


def _check(health: Health | None) -> Check | None:
    """A healthcheck as the monitor has it."""
    if health is None or not health.args:
        return None
    return {
        "args": list(health.args),
        "interval": health.interval_seconds,
        "timeout": health.timeout_seconds,
        "start_period": health.start_seconds,
        "retries": health.retries,
    }
