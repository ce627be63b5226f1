"""Detached containers, which outlive the process that made them.

Any process of their user can do with them what docker does. Each has a record
(store/record.py), which is the truth, and while it runs a monitor (init/monitor.py).
The lock on its directory is held by the monitor, or by the process that is just
starting or removing it (lock.py); the record is changed under a lock of its own.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from cellhold import network
from cellhold.container import exit_status, inventory, lock, monitor, names, removal
from cellhold.container.container import GRACE_SECONDS
from cellhold.container.detached_view import DetachedView
from cellhold.container.exec import check_running
from cellhold.container.executable import Entrance, Executable
from cellhold.container.kept import KeptContainer
from cellhold.container.recovery import UNDER_WAY, record_exit
from cellhold.container.resources import check_update
from cellhold.errors import CellholdError, ContainerNotFound, NotAllowed, SetupFailed
from cellhold.spec import fields
from cellhold.spec.lifecycle import Action, State, after
from cellhold.spec.names import check_name
from cellhold.store import journal, spec_codec
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from cellhold.container.monitor import Attached
    from cellhold.spec.limits import Limits
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.spec import Spec
    from cellhold.store.home import Home

_ORDERS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)  # after which its restart policy does not hold
_LONG_PATIENCE_SECONDS = 60.0  # longer than any start takes, so that removing by force wins


class Detached(DetachedView, Executable):
    """A container, addressed by its id; for what is not said here see Handle.

    Every call reads the state from disk, so that any number of these, in any processes,
    may be used at once.
    """

    @classmethod
    def create(cls, spec: Spec, *, auto_remove: bool = False, home: Home | None = None) -> Self:
        """Make a container, as `docker create` does.

        auto_remove: remove it when it ends.

        Raises what Container.create() does, and InvalidSpec if another container has
        the name.
        """
        home = home or open_home()
        with names.reserve(spec.name, home):
            container = KeptContainer.create(spec, home=home)
            try:
                container.keep(auto_remove=auto_remove)
            except BaseException:
                container.remove()
                raise
            container.close()
        return cls(container.id, home)

    @classmethod
    def find(cls, text: str, home: Home | None = None) -> Self:
        """Return the container of that name, or whose id begins so.

        Raises ContainerNotFound, or NotAllowed for one that belongs to another process.
        """
        home = home or open_home()
        record = inventory.find(text, home)
        if not record.kept:
            raise NotAllowed(
                f"cannot use container {record.name}: it belongs to the process that made it, and ends with it",
                hint="use it there; `cellhold stop`, `kill`, `inspect`, `stats`, `diff` and `commit` work from any process",
            )
        return cls(record.id, home)

    def start(self, *, attach: bool = False, once: bool = False) -> Attached | None:
        """Start the container; one that runs already is left as it is, as in Docker.

        attach, once: as of KeptContainer.start_kept().

        Raises SetupFailed, CommandNotRun, NotSupported, NotAllowed (it is paused).
        """
        until = time.monotonic() + lock.PATIENCE_SECONDS
        while (held := lock.try_acquire(self._directory)) is None:
            record = self.record
            if record.state == State.RUNNING:
                return None
            if record.state in (State.PAUSED, State.RESTARTING) or time.monotonic() > until:
                after(State(record.state), Action.START, container=record.name)
                raise NotAllowed(f"cannot start container {record.name}: another process is about to do so", hint="try again")
            time.sleep(lock.LOOK_SECONDS)
        try:
            with self._home.written():
                record_exit(self._directory)
            with self._changing() as record:
                if record.removing:
                    raise ContainerNotFound(f"cannot start container {record.name}: it is being removed")
                record.stopping, record.restarts = False, 0
            container = KeptContainer.reopen(record, os.dup(held), self._home)
            try:
                return container.start_kept(attach=attach, once=once)
            except BaseException:
                container.close()
                raise
        finally:
            os.close(held)

    def stop(self, grace_seconds: float | None = None) -> Outcome:
        """Send the stop signal, then SIGKILL; return how it ended."""
        record = self.record
        if State(record.state) in (State.STOPPED, State.CREATED):
            after(State(record.state), Action.STOP, container=record.name)
            return exit_status.read(record) or exit_status.UNRECORDED
        with self._noting() as record:
            record.stopping = True
        grace = next(one for one in (grace_seconds, record.spec.get("stop_seconds"), GRACE_SECONDS) if one is not None)
        while State(record.state) in UNDER_WAY:  # also one that was just being started again
            with suppress(NotAllowed):  # it has ended by itself meanwhile
                inventory.stop(record, grace, number=record.spec.get("stop_signal") or signal.SIGTERM)
            time.sleep(lock.LOOK_SECONDS)
            try:
                record = self.record
            except CellholdError:  # --rm
                return inventory.last_outcome(record, self._home)
        journal.append(self._home.root, "stop", record)
        return exit_status.read(record) or exit_status.UNRECORDED

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send its program a signal; SIGKILL kills every process."""
        record = self.record
        after(State(record.state), Action.KILL, container=record.name)
        if number in _ORDERS:
            with self._noting() as record:
                record.stopping = True
        inventory.send(record, number)
        journal.append(self._home.root, "kill", record, signal=number)

    def restart(self, grace_seconds: float | None = None) -> None:
        """Stop the container if it runs, and start it again."""
        if self.state in UNDER_WAY:
            self.stop(grace_seconds)
        self.start()

    def pause(self) -> None:
        """Freeze every process of the container."""
        self._freeze(Action.PAUSE)

    def unpause(self) -> None:
        """Thaw the container's processes."""
        self._freeze(Action.UNPAUSE)

    def _freeze(self, action: Action) -> None:
        present = inventory.find(self.id, self._home)  # which records its end, if it has ended
        with self._noting() as record:
            state = after(State(present.state if record.is_alive else record.state), action, container=record.name)
            group = inventory.group(record)
            if action is Action.PAUSE:
                group.freeze()
            else:
                group.thaw()
            record.state = state
        journal.append(self._home.root, str(action), record)

    def wait(self, timeout: float | None = None) -> Outcome:
        """Wait until the container does not run; return how it ended.

        timeout: seconds.

        Raises TimeoutError, NotAllowed if it was never started, ContainerNotFound if it
        is removed meanwhile.
        """
        record = self.record
        if record.state == State.CREATED:
            raise NotAllowed(f"cannot wait for container {record.name}: it does not run")
        until = None if timeout is None else time.monotonic() + timeout
        while record.state in UNDER_WAY:
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"container {record.name} still runs")
            inventory.await_end(record, None if until is None else max(until - time.monotonic(), 0))
            time.sleep(lock.LOOK_SECONDS)
            try:
                record = self.record
            except CellholdError:
                if record.auto_remove:
                    return inventory.last_outcome(record, self._home)
                raise
        return exit_status.read(record) or exit_status.UNRECORDED

    def rename(self, name: str) -> None:
        """Rename the container.

        Raises InvalidSpec if the name is invalid or taken.
        """
        check_name(name)
        with names.reserve(name, self._home, owner=self.id), self._changing() as record:
            before, record.name = record.name, name
            network.of(record, self._home).rename(name)
        journal.append(self._home.root, "rename", record, oldName=before)

    def update(self, limits: Limits | None = None, *, restart: str | None = None) -> None:
        """Set new limits, at once if it runs, and another restart policy."""
        inventory.find(self.id, self._home)
        with self._changing() as record:
            spec = spec_codec.from_json(record.spec)
            if limits is not None:
                check_update(spec.limits, limits, name=record.name, is_alive=record.is_alive)
                replace(spec, limits=limits)  # raises InvalidSpec for what it could never be started with
                if record.is_alive:
                    inventory.group(record).update(limits)
                record.spec["limits"] = spec_codec.limits_to_json(limits)
                record.limits = fields.amounts(limits)
            if restart is not None:
                record.spec["restart"] = restart
                spec_codec.from_json(record.spec)
        journal.append(self._home.root, "update", record)

    def remove(self, *, force: bool = False, with_volumes: bool = False) -> None:
        """Remove the container and everything it has.

        force: kill it first if it runs. with_volumes: its anonymous volumes, too.

        Raises NotAllowed if it runs; SetupFailed on a read-only disk, but then it has
        been stopped.
        """
        record = self.record
        if not force:
            after(State(record.state), Action.REMOVE, container=record.name)
        else:
            with self._noting() as now:  # whoever is about to start it does not, and its policy does not either
                now.stopping = now.removing = True
        try:
            held = self._acquire("remove", kill=force)
        except ContainerNotFound:  # --rm, or another one was faster
            return
        try:
            with suppress(ContainerNotFound):  # as above
                with suppress(SetupFailed), self._home.written():  # a full disk, which this helps: it goes all the same
                    record = record_exit(self._directory)
                removal.remove(record, self._home, with_volumes=with_volumes)
        finally:
            os.close(held)

    @contextmanager
    def _entrance(self) -> Iterator[Entrance]:
        record = self.record
        check_running(State(record.state), record.name)
        with monitor.connected(self._directory) as client:
            yield Entrance(record.name, self.spec, client)

    @contextmanager
    def assembled(self) -> Iterator[socket.socket]:
        """Yield the socket through which PID 1 is asked for a process of ours.

        Called by cp.py. A container that does not run is assembled for that, without
        its program. Raises NotAllowed (it is paused, or just being started).
        """
        record = self.record
        if record.state not in (State.CREATED, State.STOPPED):
            check_running(State(record.state), record.name, "copy from or to")
            with monitor.connected(self._directory) as client:
                yield client
            return
        held = self._acquire("copy from or to")
        try:
            container = KeptContainer.reopen(record_exit(self._directory), os.dup(held), self._home)
            try:
                with container.assembled() as pid1:
                    yield pid1
            finally:
                container.close()
        finally:
            os.close(held)

    def attach(self, *, once: bool = False) -> Attached:
        """Return its output from now on, and a way to write to its input.

        Raises NotAllowed unless it runs.
        """
        record = self.record
        check_running(State(record.state), record.name, "attach to")
        return monitor.attach(self._directory, once=once)
