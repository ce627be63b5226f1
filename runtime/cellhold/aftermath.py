"""What comes after a container that is kept has ended: written down, removed or started again, as was said when it was made.

Run by the keeper (init/monitor.py), which becomes this program; it holds the lock on the container's directory all along. Docker's rules:
a policy does not hold for what somebody has stopped; the wait before each start is twice as long as the one before, a minute at most, and
short again after a run of ten seconds.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold import detached
from cellhold.container import Container
from cellhold.errors import CellholdError
from cellhold.lifecycle import State
from cellhold.spec import RESTART
from cellhold.store import journal, record
from cellhold.store.home import open_home
from cellhold.sweep import settle

if TYPE_CHECKING:
    from cellhold.store.home import Home
    from cellhold.store.record import Record

_FIRST_SECONDS, _LONGEST_SECONDS = 0.1, 60.0
_STABLE_SECONDS = 10.0
_LOOK_SECONDS = 0.1  # whether somebody has stopped it while it waits


def main(container_id: str, lock: int) -> None:
    """See to the container of that id; the lock is ours."""
    home = open_home()
    directory = home.container(container_id)
    with suppress(CellholdError, OSError):  # what cannot be done now the next command does (sweep.py)
        known = settle(directory)
        while is_due(known):
            if not _waited(known, home):
                return
            try:
                Container.reopened(record.read(directory) or known, os.dup(lock), home).start_kept()
            except (CellholdError, OSError):  # it counts as a run that failed at once
                with record.changing(directory) as known:
                    known.restarts += 1
                    known.started = known.finished = time.time()
                continue
            journal.tell(home.root, "start", known)
            return
        if known.auto_remove:
            detached.clear(known, lock, home)


def is_due(known: Record) -> bool:
    """Whether its policy says that it is to be started again."""
    policy = str(known.spec.get("restart", "no"))
    if known.state != State.STOPPED or known.stopping or policy == "no":
        return False
    times = RESTART.fullmatch(policy)
    if policy.startswith("on-failure"):
        return bool(known.status) and (times is None or times[1] is None or known.restarts < int(times[1]))
    return True


def _waited(known: Record, home: Home) -> bool:
    """Wait as long as the policy has it; False if somebody has stopped it meanwhile."""
    directory = home.container(known.id)
    ran = (known.finished or 0.0) - (known.started or 0.0)
    with record.changing(directory) as changed:
        changed.restarts = 1 if ran > _STABLE_SECONDS else changed.restarts + 1
        changed.state = State.RESTARTING
        again = changed.restarts - 1
    until = time.monotonic() + min(_FIRST_SECONDS * 2 ** min(again, 20), _LONGEST_SECONDS)
    while time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
        if (record.read(directory) or known).stopping:
            break
    with record.changing(directory) as changed:
        changed.state = State.STOPPED
        return not changed.stopping
