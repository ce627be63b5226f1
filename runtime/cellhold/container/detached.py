"""Detached containers: they outlive whoever made them, and anybody of their user can do with them what docker does.

Each has a record (store/record.py) that tells the truth, and while it runs a monitor (init/monitor.py). The lock on its directory is held
by the monitor, or by whoever is just starting or removing it; the record is changed under a lock of its own.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any, Self

from cellhold import cgroups, network
from cellhold.cgroups import files
from cellhold.container import display, inventory, logs, monitor
from cellhold.container import exec as entering
from cellhold.container.container import Container
from cellhold.container.recovery import UNDER_WAY, settle
from cellhold.container.resources import check_update
from cellhold.errors import CellholdError, ContainerNotFound, InvalidSpec, NotAllowed, SetupFailed
from cellhold.rootfs import exposure, volumes
from cellhold.spec import fields
from cellhold.spec.lifecycle import Action, State, after
from cellhold.spec.outcome import Outcome, Why
from cellhold.spec.spec import check_name
from cellhold.store import durable, ids, journal, locks, record, spec_codec, subids
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from cellhold.cgroups.base import Usage
    from cellhold.cgroups.files import Read
    from cellhold.container.exec import Entered
    from cellhold.container.monitor import Attached
    from cellhold.network import Connection
    from cellhold.network.egress import Refused
    from cellhold.spec.limits import Limits
    from cellhold.spec.spec import Spec
    from cellhold.spec.tracing import Step
    from cellhold.store.home import Home
    from cellhold.store.record import Record

GRACE_SECONDS = 10.0
_SIGNALED = 128
_LOOK_SECONDS = 0.01
_SWEEP_SECONDS = 0.5  # between a sweep's taking a leftover and its saying so in the record
_LONG_PATIENCE_SECONDS = 60.0  # longer than any start takes, so that removing by force wins
_PATIENCE_SECONDS = 10.0  # for somebody who is just starting, settling or looking at it


class Detached:
    """A container by its id: every call finds the truth on disk, so that any number of these, in any processes, may be used at once."""

    def __init__(self, container_id: str, home: Home | None = None) -> None:
        """The one of that id; find() looks for names."""
        self.id = container_id
        self.timings: list[Step] = []
        self._home = home or open_home()

    @classmethod
    def create(cls, spec: Spec, *, auto_remove: bool = False, home: Home | None = None) -> Self:
        """Make one, as `docker create`. auto_remove: it goes with its end.

        Raises what Container.create() does, and InvalidSpec for a name that another one has.
        """
        home = home or open_home()
        with named(spec.name, home):
            container = Container.create(spec, home=home)
            try:
                container.keep(auto_remove=auto_remove)
            except BaseException:
                container.remove()
                raise
            container.close()
        return cls(container.id, home)

    @classmethod
    def find(cls, text: str, home: Home | None = None) -> Self:
        """The one of that name, or whose id begins so. Raises ContainerNotFound, or NotAllowed for one that is another process's own."""
        home = home or open_home()
        known = inventory.find(text, home)
        if not known.kept:
            raise NotAllowed(
                f"cannot use container {known.name}: it belongs to the process that has it, and ends with it",
                hint="that process can; `cellhold stop`, `kill`, `inspect`, `stats`, `diff` and `commit` work from anywhere",
            )
        return cls(known.id, home)

    # ------------------------------------------------------------------------------------------------------------------- what it is

    @property
    def record(self) -> Record:
        """What is known of it now. Raises ContainerNotFound where it was removed."""
        return inventory.find(self.id, self._home)

    @property
    def name(self) -> str:
        """What it is called now."""
        return self.record.name

    @property
    def state(self) -> State:
        """Its state now; REMOVED where it is gone."""
        try:
            return State(self.record.state)
        except CellholdError:
            return State.REMOVED

    @property
    def spec(self) -> Spec:
        """What it was made by."""
        return spec_codec.spec(self.record.spec)

    def usage(self, read: Read = files.read) -> Usage:
        """What its group has used in this run; read: as Container's. Raises NotAllowed unless it runs."""
        return inventory.usage(self.record, read)

    def connections(self) -> list[Connection]:
        """As Container's."""
        record = self.record
        return network.of(record, self._home).connections(record.pid)

    def refused(self) -> list[Refused]:
        """As Container's."""
        return network.of(self.record, self._home).refused()

    def restrict(self, policy: str) -> None:
        """As Container's; its next run has the policy that it was made with again."""
        network.of(self.record, self._home).restrict(policy)

    def writable_layer(self) -> tuple[int, int]:
        """As Container's: bytes still free, and in all. Raises NotAllowed unless it runs, and without root."""
        known = self.record
        return inventory.writable_layer(known.pid or 0, known.name)

    @property
    def outcome(self) -> Outcome | None:
        """How its last run ended; None while it runs, and before the first."""
        known = self.record
        if known.is_alive or known.status is None or known.why is None:
            return None
        return Outcome(
            status=known.status,
            signal=known.status - _SIGNALED if known.status > _SIGNALED else None,
            why=Why(known.why),
            seconds=(known.finished or 0.0) - (known.started or 0.0),
            oom_kills=known.oom_kills,
            memory_limit_bytes=None if (most := known.limits.get("memory_bytes")) is None else int(most),
            time_limit_seconds=known.limits.get("seconds"),
        )

    def poll(self) -> Outcome | None:
        """The same, as Container's."""
        return self.outcome

    def calls(self) -> dict[str, tuple[str, ...]]:
        """As Container's: nothing is known of how another process has made it."""
        return {}

    def logs(self) -> str:
        """What it has written so far, both streams. For more see logs.lines()."""
        return b"".join(line.text for line in logs.lines(self, home=self._home)).decode(errors="replace")

    def __repr__(self) -> str:
        """Its name, image and states, the present one marked."""
        try:
            known = self.record
        except CellholdError:
            return f"container {self.id}: {display.lifecycle_text(State.REMOVED)}"
        return f"container {known.name} of {known.image}: {display.lifecycle_text(State(known.state))}{_ending(known)}"

    def _repr_html_(self) -> str:
        title = escape(repr(self).partition(":")[0])
        return f"<div>{title}</div>{display.lifecycle_html(self.state)}"

    # ------------------------------------------------------------------------------------------------------------------- the lifecycle

    def start(self, *, attach: bool = False, once: bool = False) -> Attached | None:
        """Start it; one that runs already is left as it is, as docker has it. attach, once: as Container.start_kept().

        Raises SetupFailed, CommandNotRun, NotSupported, NotAllowed (it is paused).
        """
        until = time.monotonic() + _PATIENCE_SECONDS
        while (lock := self._lock()) is None:
            known = self.record
            if known.state == State.RUNNING:
                return None
            if known.state in (State.PAUSED, State.RESTARTING) or time.monotonic() > until:
                after(State(known.state), Action.START, container=known.name)
                raise NotAllowed(f"cannot start container {known.name}: another process is about to", hint="try again")
            time.sleep(_LOOK_SECONDS)
        try:
            with self._home.written():
                settle(self._directory)
            with self._changing() as known:
                if known.removing:
                    raise ContainerNotFound(f"cannot start container {known.name}: it is being removed")
                known.stopping, known.restarts = False, 0
            container = Container.reopened(known, os.dup(lock), self._home)
            try:
                attached = container.start_kept(attach=attach, once=once)
            except BaseException:
                container.close()
                raise
        finally:
            os.close(lock)
        return attached

    def stop(self, grace_seconds: float | None = None) -> int:
        """Its stop signal, and SIGKILL after the grace period (None: as it was made with); its status. One that does not run is left so."""
        known = self.record
        if State(known.state) in (State.STOPPED, State.CREATED):
            after(State(known.state), Action.STOP, container=known.name)
            return known.status or 0
        with self._noting() as known:
            known.stopping = True
        grace = next(one for one in (grace_seconds, known.spec.get("stop_seconds"), GRACE_SECONDS) if one is not None)
        while State(known.state) in UNDER_WAY:  # also one that was just being started again
            with suppress(NotAllowed):  # it has ended by itself meanwhile
                inventory.stop(known, grace, number=known.spec.get("stop_signal") or signal.SIGTERM)
            time.sleep(_LOOK_SECONDS)
            try:
                known = self.record
            except CellholdError:  # --rm
                return inventory.last_status(known, self._home)
        journal.tell(self._home.root, "stop", known)
        return known.status or 0

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send its program a signal; SIGKILL ends all of its processes. Raises NotAllowed unless it runs."""
        known = self.record
        after(State(known.state), Action.KILL, container=known.name)
        if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            with self._noting() as known:
                known.stopping = True
        inventory.send(known, number)
        journal.tell(self._home.root, "kill", known, signal=number)

    def restart(self, grace_seconds: float | None = None) -> None:
        """Stop it if it runs, and start it again."""
        if self.state in UNDER_WAY:
            self.stop(grace_seconds)
        self.start()

    def pause(self) -> None:
        """Freeze every process where it is. Raises NotAllowed unless it runs."""
        self._freeze(Action.PAUSE)

    def unpause(self) -> None:
        """Let it go on. Raises NotAllowed unless it is paused."""
        self._freeze(Action.UNPAUSE)

    def _freeze(self, action: Action) -> None:
        present = inventory.find(self.id, self._home)  # which settles it, if it has ended
        with self._noting() as known:
            state = after(State(present.state if known.is_alive else known.state), action, container=known.name)
            group = inventory.group(known)
            if action is Action.PAUSE:
                group.freeze()
            else:
                group.thaw()
            known.state = state
        journal.tell(self._home.root, str(action), known)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it does not run; its status. timeout: seconds. Raises TimeoutError; ContainerNotFound if it is removed meanwhile."""
        known = self.record
        until = None if timeout is None else time.monotonic() + timeout
        while known.state in UNDER_WAY:
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"container {known.name} still runs")
            inventory.await_end(known, None if until is None else max(until - time.monotonic(), 0))
            time.sleep(_LOOK_SECONDS)
            try:
                known = self.record
            except CellholdError:
                if known.auto_remove:
                    return inventory.last_status(known, self._home)
                raise
        return known.status or 0

    def rename(self, name: str) -> None:
        """Call it something else. Raises InvalidSpec for a name that is none, or that another one has."""
        check_name(name)
        with named(name, self._home, not_of=self.id), self._changing() as known:
            before, known.name = known.name, name
            network.of(known, self._home).rename(name)
        journal.tell(self._home.root, "rename", known, oldName=before)

    def update(self, limits: Limits | None = None, *, restart: str | None = None) -> None:
        """New limits, at once where it runs, and another restart policy. Raises what Container.update() does."""
        inventory.find(self.id, self._home)
        with self._changing() as known:
            spec = spec_codec.spec(known.spec)
            if limits is not None:
                check_update(spec.limits, limits, name=known.name, is_alive=known.is_alive)
                replace(spec, limits=limits)  # raises InvalidSpec for what it could never be started with
                if known.is_alive:
                    inventory.group(known).update(limits)
                known.spec["limits"] = spec_codec.plain_limits(limits)
                known.limits = fields.amounts(limits)
            if restart is not None:
                known.spec["restart"] = restart
                spec_codec.spec(known.spec)
        journal.tell(self._home.root, "update", known)

    def remove(self, *, force: bool = False, with_volumes: bool = False) -> None:
        """Remove it and all that it has; force: kill it first if it runs; with_volumes: its anonymous volumes, too.

        Raises NotAllowed if it runs; SetupFailed on a disk that is read-only, but then it runs no more.
        """
        known = self.record
        if not force:
            after(State(known.state), Action.REMOVE, container=known.name)
        else:
            with self._noting() as now:  # who is about to start it does not, and its policy does not either
                now.stopping = now.removing = True
        try:
            lock = self._awaited_lock("remove", kill=force)
        except ContainerNotFound:  # --rm, or another one was faster
            return
        try:
            with suppress(ContainerNotFound):  # as above
                with suppress(SetupFailed), self._home.written():  # a full disk, which this helps: it goes all the same
                    known = settle(self._directory)
                clear(known, self._home, with_volumes=with_volumes)
        finally:
            os.close(lock)

    # ------------------------------------------------------------------------------------------------------------------- inside

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
        """Start one more process in it, as Container.exec(). Raises NotAllowed unless it runs, CommandNotRun, SetupFailed."""
        known = self.record
        entering.check(State(known.state), known.name)
        asked = entering.request(args, env=env, cwd=cwd, user=user, terminal=terminal)
        with monitor.connected(self._directory) as client:
            exposure.check_entering(self.spec, (stdin, stdout, stderr), known.name)
            return entering.enter(client, asked, (stdin, stdout, stderr), name=known.name)

    @contextmanager
    def opened(self) -> Iterator[Callable[[dict[str, Any], Sequence[int | None]], Entered]]:
        """For cp.py: a function that asks its PID 1, as exec.enter() does, for a process of ours.

        One that does not run is put together for that, without its program. Raises NotAllowed (it is paused, or just being started).
        """
        known = self.record
        if known.state not in (State.CREATED, State.STOPPED):
            entering.check(State(known.state), known.name, "copy from or to")
            with monitor.connected(self._directory) as client:
                yield lambda asked, stdio: entering.enter(client, asked, stdio, name=known.name)
            return
        lock = self._awaited_lock("copy from or to")
        try:
            container = Container.reopened(settle(self._directory), os.dup(lock), self._home)
            try:
                with container.held() as through:
                    yield lambda asked, stdio: entering.enter(through, asked, stdio, name=known.name)
            finally:
                container.close()
        finally:
            os.close(lock)

    def attach(self, *, once: bool = False) -> Attached:
        """See what it writes from now on, and write to it. Raises NotAllowed unless it runs."""
        known = self.record
        entering.check(State(known.state), known.name, "attach to")
        return monitor.attach(self._directory, once=once)

    def _awaited_lock(self, what: str, *, kill: bool = False) -> int:
        """The lock, once whoever has it is through: one that has just ended is being written down, or is looked at.

        kill: what runs meanwhile is killed, and who is just starting it is waited for.
        Raises NotAllowed after a while, ContainerNotFound where it is removed meanwhile.
        """
        until = time.monotonic() + (_LONG_PATIENCE_SECONDS if kill else _PATIENCE_SECONDS)
        while (lock := self._lock()) is None:
            known = record.read(self._directory)
            if kill and known.is_alive:
                with suppress(NotAllowed):  # it has just ended
                    inventory.send(known, signal.SIGKILL)
            if time.monotonic() > until:
                raise NotAllowed(f"cannot {what} container {known.name}: another process has it", hint="try again")
            time.sleep(_LOOK_SECONDS)
        return lock

    @contextmanager
    def _changing(self) -> Iterator[Record]:
        """Change the record. Raises SetupFailed on a full disk."""
        with self._home.written(), record.changing(self._directory) as known:
            yield known

    @contextmanager
    def _noting(self) -> Iterator[Record]:
        """Act, and change the record if that can be done: a disk that is full or read-only does not keep anybody from acting."""
        with record.changing(self._directory, anyway=True) as known:
            yield known

    @property
    def _directory(self) -> Path:
        return self._home.container(self.id)

    def _lock(self) -> int | None:
        """The lock on its directory, a descriptor; None where somebody has it."""
        try:
            fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd


def _ending(known: Record) -> str:
    """How its last run ended, in words."""
    return "" if known.is_alive or known.status is None else f", {known.why} with status {known.status}"


def clear(known: Record, home: Home, *, with_volumes: bool = True) -> None:
    """Remove what a container has that does not run; the caller has the lock on its directory. Raises OSError, SetupFailed.

    The directory is renamed first: if this is cut off later, what is left is a crash's leftover, and the next sweep goes on.
    """
    base = None if subids.is_rootless() else ids.claimed_by(home.ids, known.id)
    cgroups.remove_leftover(known.id)
    with home.written():
        durable.remove(home.container(known.id))
    journal.tell(home.root, "destroy", known)
    if base is not None:
        ids.release(home.ids, base)
    if with_volumes:
        volumes.remove_anonymous(known, home)


@contextmanager
def named(name: str | None, home: Home, *, not_of: str = "") -> Iterator[None]:
    """Keep others from taking the name meanwhile. Raises InvalidSpec where one has it."""
    if name is None:
        yield
        return
    path = home.root / "containers.lock"
    with locks.held(path, locks.file(path)):
        until = time.monotonic() + _SWEEP_SECONDS
        while other := _named(name, home, not_of):
            if other.kept or time.monotonic() > until:
                raise InvalidSpec(
                    f"cannot use name={name}: container {other.id} has it", hint=f"cellhold rm {name}, cellhold rename, or another name"
                )
            time.sleep(_LOOK_SECONDS)  # a sweep may just have begun with it
        yield


def _named(name: str, home: Home, not_of: str) -> Record | None:
    return next((other for other in inventory.listed(home) if name in (other.name, other.id) and other.id != not_of), None)
