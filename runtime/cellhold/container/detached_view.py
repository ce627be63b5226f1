"""A detached container's record, its lock, and what can be read of it.

detached.py adds the actions.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from html import escape
from typing import TYPE_CHECKING

from cellhold import network
from cellhold.cgroups import files
from cellhold.container import display, exit_status, inventory, lock, logs
from cellhold.errors import CellholdError, NotAllowed
from cellhold.spec.lifecycle import State
from cellhold.store import spec_codec
from cellhold.store.home import open_home
from cellhold.store.record import changing, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellhold.cgroups.files import Read
    from cellhold.network import Connection
    from cellhold.network.egress import Refused
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.spec import Spec
    from cellhold.spec.tracing import Step
    from cellhold.spec.usage import Usage
    from cellhold.store.home import Home
    from cellhold.store.record import Record

_LONG_PATIENCE_SECONDS = 60.0  # longer than any start takes, so that removing by force wins


class DetachedView:
    """A container, addressed by its id.

    Every call reads the state from disk; nothing of it is kept here.
    """

    def __init__(self, container_id: str, home: Home | None = None) -> None:
        """Address the container of that id; find() looks names up."""
        self.id = container_id
        self.timings: list[Step] = []
        self._home = home or open_home()

    @property
    def record(self) -> Record:
        """Its present record.

        Raises ContainerNotFound if it was removed.
        """
        return inventory.find(self.id, self._home)

    @property
    def name(self) -> str:
        """Its present name."""
        return self.record.name

    @property
    def state(self) -> State:
        """Its present state; REMOVED if it is gone."""
        try:
            return State(self.record.state)
        except CellholdError:
            return State.REMOVED

    @property
    def spec(self) -> Spec:
        """The spec that it was made from."""
        return spec_codec.from_json(self.record.spec)

    @property
    def outcome(self) -> Outcome | None:
        """How its last run ended; None while it runs, and before the first."""
        record = self.record
        return None if record.is_alive else exit_status.read(record)

    def poll(self) -> Outcome | None:
        """Return the outcome, as Container.poll()."""
        return self.outcome

    def usage(self, read: Read = files.read) -> Usage:
        """Return what its group has used in this run.

        read: as of Container.usage(). Raises NotAllowed unless it runs.
        """
        return inventory.usage(self.record, read)

    def connections(self) -> list[Connection]:
        """Return how it is connected, as Container.connections() does."""
        record = self.record
        return network.of(record, self._home).connections(record.pid)

    def refused(self) -> list[Refused]:
        """Return what its egress policy refused, as Container.refused() does."""
        return network.of(self.record, self._home).refused()

    def restrict(self, policy: str) -> None:
        """Set the egress policy of this run, as Container.restrict() does.

        The next run has the policy that the container was made with.
        """
        network.of(self.record, self._home).restrict(policy)

    def writable_layer(self) -> tuple[int, int]:
        """Return bytes free and in all, as Container.writable_layer() does."""
        record = self.record
        return inventory.writable_layer(record.pid or 0, record.name)

    def calls(self) -> dict[str, tuple[str, ...]]:
        """Return nothing: another process started it, and recorded no system calls."""
        return {}

    def logs(self) -> str:
        """Return what it has written so far, both streams; logs.lines() can do more."""
        return b"".join(line.text for line in logs.lines(self, home=self._home)).decode(errors="replace")

    def __repr__(self) -> str:
        """Format its name, image and states, the present one marked."""
        try:
            record = self.record
        except CellholdError:
            return f"container {self.id}: {display.lifecycle_text(State.REMOVED)}"
        ending = "" if record.is_alive or record.status is None else f", {record.why} with status {record.status}"
        return f"container {record.name} of {record.image}: {display.lifecycle_text(State(record.state))}{ending}"

    def _repr_html_(self) -> str:
        title = escape(repr(self).partition(":")[0])
        return f"<div>{title}</div>{display.lifecycle_html(self.state)}"

    def _acquire(self, verb: str, *, kill: bool = False) -> int:
        """Acquire the lock on its directory, as lock.acquire() does.

        kill: kill what runs meanwhile, and wait longer than any start takes.
        """

        def look() -> str:
            record = read(self._directory)
            if kill and record.is_alive:
                with suppress(NotAllowed):  # it has just ended
                    inventory.send(record, signal.SIGKILL)
            return record.name

        return lock.acquire(self._directory, verb, look=look, seconds=_LONG_PATIENCE_SECONDS if kill else lock.PATIENCE_SECONDS)

    @contextmanager
    def _changing(self) -> Iterator[Record]:
        """Change the record. Raises SetupFailed on a full disk."""
        with self._home.written(), changing(self._directory) as record:
            yield record

    @contextmanager
    def _noting(self) -> Iterator[Record]:
        """Change the record if possible.

        A disk that is full or read-only does not keep anybody from acting.
        """
        with changing(self._directory, anyway=True) as record:
            yield record

    @property
    def _directory(self) -> Path:
        return self._home.container(self.id)
