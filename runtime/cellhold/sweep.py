"""Clear what a crash left: containers whose runner is gone. One that is kept (store/record.py) is settled: written down as ended.

Called once by every process before its first container, by the launcher when its caller has died, and by hand in tests.

Whoever runs a container holds a lock (flock) on its directory, which the kernel releases when the last holder dies. So a
directory that can be locked is nobody's: its processes are killed, then its groups, files and ids go, the directory last. That
order lets a sweep that is itself cut off be finished by the next one.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold import cgroups, network, volumes
from cellhold.errors import CellholdError, NotAllowed
from cellhold.lifecycle import State
from cellhold.outcome import Why
from cellhold.store import ids, journal, record, removal
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cellhold.store.home import Home
    from cellhold.store.record import Record

ENDED, SOCKET = "ended", "socket"  # files that a monitor has in the container's directory (init/monitor.py, monitoring.py)
UNDER_WAY = (State.RUNNING, State.PAUSED, State.RESTARTING)

_swept: set[Path] = set()


def sweep_once(home: Home) -> None:
    """sweep(), the first time that this process uses the store."""
    if home.root not in _swept:
        _swept.add(home.root)
        sweep(home)


def sweep(home: Home | None = None) -> list[str]:
    """Clear every container that nobody runs; returns their ids."""
    home = home or open_home()
    swept = [entry.name for entry in home.containers.iterdir() if clear(entry)]
    network.reclaim(home)
    ids.reclaim(home.ids, lambda owner: home.container(owner).exists())
    return swept


def clear(directory: Path) -> bool:
    """Clear one container if nobody holds it; True if it was cleared. What cannot be cleared is left for the next sweep."""
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        known = record.read(directory)
        if known is not None and known.kept:
            settle(directory)
            return False
        if known is None and record.is_of_later_version(directory):
            return False
        cgroups.remove_leftover(directory.name)
        removal.remove(directory)
        if known is not None:
            if known.networks:
                network.release(known.id, open_home(directory.parent.parent))
            volumes.remove_anonymous(known, open_home(directory.parent.parent))
    except (OSError, CellholdError):
        return False
    finally:
        os.close(lock)
    return True


def settle(directory: Path, *, is_due: Callable[[Record], bool] = lambda _known: False) -> Record:
    """Write down how a container that is kept has ended, if it has and nobody did; gives its record. Whoever calls has its lock.

    is_due: whether it is to be started again by the caller, who holds the lock until then.
    Raises OSError, ContainerNotFound, and CellholdError where a process of it does not go away.
    """
    with record.changing(directory) as known:
        if known.state not in UNDER_WAY:
            return known
        oom_kills = 0
        with suppress(NotAllowed):  # there is no group
            oom_kills = cgroups.existing(known.id).usage().oom_kills
        cgroups.remove_leftover(known.id)
        if known.pid is not None:
            ended = _ended(directory)
            status, number, late = ended or (128 + signal.SIGKILL, signal.SIGKILL, 0)
            why = Why.LOST if ended is None else Why.TIME if late else Why.KILLED if known.stopping else Why.EXITED
            if why is Why.EXITED and oom_kills and number == signal.SIGKILL:
                why = Why.MEMORY
            known.status, known.why, known.oom_kills, known.finished = status, why, oom_kills, time.time()
            journal.tell(directory.parent.parent, "die", known, exitCode=status)
            if why is Why.MEMORY:
                journal.tell(directory.parent.parent, "oom", known)
        if known.networks:
            network.release(known.id, open_home(directory.parent.parent))
        known.state, known.pid = State.STOPPED, None
        if is_due(known):
            known.state = State.RESTARTING
        for name in (ENDED, SOCKET):
            (directory / name).unlink(missing_ok=True)
        return known


def _ended(directory: Path) -> tuple[int, int, int] | None:
    """Status, signal and whether its time was up, as its monitor has told; None where that was killed."""
    try:
        status, number, late = (directory / ENDED).read_text(encoding="ascii").split()
        return int(status), int(number), int(late)
    except (OSError, ValueError):
        return None
