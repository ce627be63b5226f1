"""After a kept container has ended: record it, then remove or restart it.

Run by the keeper (init/monitor.py), which becomes this program; it holds the lock on
the container's directory all along. Docker's rules: a policy does not apply to what
somebody has stopped; the wait before each start is twice as long as the one before, a
minute at most, and short again after a run of ten seconds.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold.container import exit_status, removal
from cellhold.container.recovery import UNDER_WAY, record_exit
from cellhold.errors import CellholdError, ContainerNotFound, NotAllowed
from cellhold.spec.lifecycle import State
from cellhold.spec.spec import RESTART
from cellhold.store import locks, record
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.store.home import Home
    from cellhold.store.record import Record

_FIRST_SECONDS, _LONGEST_SECONDS = 0.1, 60.0
_STABLE_SECONDS = 10.0
_DISK_SECONDS = 2.0  # between two tries to write down an end
_GONE_SECONDS = 600.0  # for a disk to be repaired in
_LOOK_SECONDS = 0.1  # whether somebody has stopped it while it waits


def main(container_id: str, lock: int) -> None:
    """Finish a container's exit: record it, then remove or restart it.

    lock: on its directory, ours. The monitor passed how it ended in our arguments.
    """
    home = open_home()
    with suppress(CellholdError, OSError):  # what cannot be done now the next command does (recovery.py)
        known, lock = _written_down(home.container(container_id), lock)
        while known.state == State.RESTARTING:
            known = _again(known, lock, home)
        if known.state == State.STOPPED and known.auto_remove:
            removal.remove(known, home)


def _written_down(directory: Path, lock: int) -> tuple[Record, int]:
    """Record the exit; return the record, and the lock on the directory.

    If the disk cannot be written to, the lock is released until it can be, and others
    read the end from our arguments (recovery.py): nobody else knows it.

    Raises CellholdError if another process has recorded it, or the container is gone.
    """
    end, before = exit_status.parse(sys.argv[1:]), record.read(directory)
    while True:
        try:
            return record_exit(directory, is_due=is_due, end=end), lock
        except OSError:
            _let_go(lock)
        lock = _taken_again(directory)
        known = record.read(directory)
        if known.started != before.started or known.state not in UNDER_WAY:
            raise NotAllowed(f"cannot record how container {before.id} ended: another process has")


def _let_go(lock: int) -> None:
    """Hold nothing on a disk that may have to be unmounted to be repaired."""
    os.close(lock)
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 2)
    os.close(null)


def _taken_again(directory: Path) -> int:
    """Acquire the lock again, a moment later.

    Raises ContainerNotFound if the container is gone, or its whole store for ten
    minutes.
    """
    until = time.monotonic() + _GONE_SECONDS
    while True:
        time.sleep(_DISK_SECONDS)
        try:
            return locks.try_directory(directory)
        except BlockingIOError:
            continue
        except OSError:
            if directory.parent.exists() or time.monotonic() > until:
                raise ContainerNotFound(f"cannot find container {directory.name}: it has been removed") from None


def _again(known: Record, lock: int, home: Home) -> Record:
    """Wait as long as the policy says, and start the container; return its record.

    Unless somebody has stopped it meanwhile.
    """
    from cellhold.container.kept import KeptContainer  # noqa: PLC0415  # most ends only have to be written down

    directory = home.container(known.id)
    ran = (known.finished or 0.0) - (known.started or 0.0)
    with record.changing(directory) as now:
        now.restarts = 1 if ran > _STABLE_SECONDS else now.restarts + 1
    until = time.monotonic() + min(_FIRST_SECONDS * 2 ** min(now.restarts - 1, 20), _LONGEST_SECONDS)
    while time.monotonic() < until and not record.read(directory).stopping:
        time.sleep(_LOOK_SECONDS)
    with record.changing(directory) as now:
        if now.stopping:
            now.state = State.STOPPED
            return now
    try:
        KeptContainer.reopen(now, os.dup(lock), home).start_kept()
    except (CellholdError, OSError):  # it counts as a run that failed at once
        with record.changing(directory) as now:
            now.started = now.finished = time.time()
            now.state = State.STOPPED
            now.state = State.RESTARTING if is_due(now) else State.STOPPED
    return record.read(directory)


def is_due(known: Record) -> bool:
    """Return whether the restart policy says to start it again."""
    policy = str(known.spec.get("restart", "no"))
    if known.state != State.STOPPED or known.stopping or policy == "no":
        return False
    times = RESTART.fullmatch(policy)
    if policy.startswith("on-failure"):
        return bool(known.status) and (times is None or times[1] is None or known.restarts < int(times[1]))
    return True
