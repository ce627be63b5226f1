"""What comes after a container that is kept has ended: written down, removed or started again, as was said when it was made.

Run by the keeper (init/monitor.py), which becomes this program; it holds the lock on the container's directory all along. Docker's rules:
a policy does not hold for what somebody has stopped; the wait before each start is twice as long as the one before, a minute at most, and
short again after a run of ten seconds.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold.container.recovery import End, settle
from cellhold.errors import CellholdError
from cellhold.spec.lifecycle import State
from cellhold.spec.spec import RESTART
from cellhold.store import record
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from cellhold.store.home import Home
    from cellhold.store.record import Record

_FIRST_SECONDS, _LONGEST_SECONDS = 0.1, 60.0
_STABLE_SECONDS = 10.0
_LOOK_SECONDS = 0.1  # whether somebody has stopped it while it waits


def main(container_id: str, lock: int) -> None:
    """See to the container of that id; the lock is ours. How it ended the monitor has told in our arguments."""
    home = open_home()
    directory = home.container(container_id)
    with suppress(CellholdError, OSError):  # what cannot be done now the next command does (recovery.py)
        known = settle(directory, is_due=is_due, end=_end(sys.argv[1:]))
        while known.state == State.RESTARTING:
            known = _again(known, lock, home)
        if known.state == State.STOPPED and known.auto_remove:
            from cellhold.container import detached  # noqa: PLC0415  # most ends only have to be written down

            detached.clear(known, home)


def _end(words: list[str]) -> End | None:
    """Status, signal and whether its time was up; None of a monitor that was killed."""
    try:
        status, number, late = map(int, words)
    except ValueError:
        return None
    return End(status, number, bool(late))


def _again(known: Record, lock: int, home: Home) -> Record:
    """Wait as long as the policy has it, and start it, unless somebody has stopped it meanwhile; gives its record."""
    from cellhold.container.container import Container  # noqa: PLC0415  # as above

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
        Container.reopened(now, os.dup(lock), home).start_kept()
    except (CellholdError, OSError):  # it counts as a run that failed at once
        with record.changing(directory) as now:
            now.started = now.finished = time.time()
            now.state = State.STOPPED
            now.state = State.RESTARTING if is_due(now) else State.STOPPED
    return record.read(directory)


def is_due(known: Record) -> bool:
    """Whether its policy says that it is to be started again."""
    policy = str(known.spec.get("restart", "no"))
    if known.state != State.STOPPED or known.stopping or policy == "no":
        return False
    times = RESTART.fullmatch(policy)
    if policy.startswith("on-failure"):
        return bool(known.status) and (times is None or times[1] is None or known.restarts < int(times[1]))
    return True
