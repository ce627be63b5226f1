"""Clear what a crash left: containers without a runner, half-finished work.

One that is kept (store/record.py) is recorded as ended. One whose record cannot be read
stays as it is.

Called once by every process before its first container, by the launcher when its caller
has died, by commands that remove or count things, and by tests.

The process that runs a container holds a lock (flock) on its directory, which the
kernel releases when the last holder dies. So a directory that can be locked is
nobody's: its processes are killed, then its groups, files and ids are removed, the
directory last. That order lets the next sweep finish one that is itself interrupted.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold import cgroups, network
from cellhold.container import exit_status
from cellhold.errors import CellholdError, ContainerNotFound, Damaged, NotAllowed
from cellhold.rootfs import volumes
from cellhold.spec.lifecycle import State
from cellhold.spec.outcome import Why
from cellhold.spec.usage import Usage
from cellhold.storage import template
from cellhold.store import delete, durable, ids, journal, leavings, locks, record, scratch, subids, tree
from cellhold.store.home import COUNTING, Home, open_home

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.container.exit_status import End
    from cellhold.spec.outcome import Outcome
    from cellhold.store.record import Record

ENDED, SOCKET = "ended", "socket"  # files that a monitor has in the container's directory (init/monitor.py, monitor.py)
UNDER_WAY = (State.RUNNING, State.PAUSED, State.RESTARTING)

_swept: set[Path] = set()


def sweep_once(home: Home) -> None:
    """Run sweep() the first time that this process uses the store."""
    if home.root not in _swept:
        _swept.add(home.root)
        sweep(home)


def sweep(home: Home | None = None) -> list[str]:
    """Clear every container that nobody runs, and scratch; return the containers' ids.

    What cannot be cleared is left for the next sweep.
    """
    home = home or open_home()
    swept = [entry.name for entry in home.containers.iterdir() if clear(entry)]
    for part in (network.reclaim, volumes.clear, _reclaim_ids, _clear_counting, _clear_scratch):
        with suppress(OSError, CellholdError):
            part(home)
    return swept


def _clear_counting(home: Home) -> None:
    """Clear the locks of processes that were killed while they held them."""
    for path in home.root.glob(f"{COUNTING}*"):
        with suppress(OSError), locks.held(path, lambda path=path: os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW), wait=False):  # type: ignore[misc]
            path.unlink()


def tidy(home: Home) -> int:
    """Run sweep(), clear other unfinished work; return the bytes of disk freed."""
    places = [home.containers, home.volumes, home.networks, home.images, home.root / scratch.NAME]
    before = sum(map(_half_bytes, places))
    sweep(home)
    with suppress(OSError):
        locks.clear_abandoned(home.root / "kernels")
    with suppress(OSError):
        template.clear(home.templates)
    with suppress(OSError), home.locked():
        durable.clear(home.images)
    return max(before - sum(map(_half_bytes, places)), 0)


def _clear_scratch(home: Home) -> None:
    locks.clear_abandoned(home.root / scratch.NAME)


def _half_bytes(above: Path) -> int:
    """Return the bytes of what may be nobody's, or is half made or half removed.

    What cannot be counted is left out.
    """
    total = 0
    with suppress(OSError):
        for entry in above.iterdir():
            if durable.is_half(entry) or above.name == scratch.NAME or (entry / record.OWN).exists():
                with suppress(OSError):
                    total += tree.used_bytes(entry)
    return total


def _reclaim_ids(home: Home) -> None:
    if not subids.is_rootless():
        there = {entry.name for entry in record.directories(home.containers)}
        ids.reclaim(home.ids, lambda owner: home.container(owner).exists(), containers=there)


def clear(directory: Path) -> bool:
    """Clear one container if nobody holds it; return whether it was cleared.

    What cannot be cleared is left for the next sweep.
    """
    if not (record.is_container_id(directory) or durable.is_half(directory)):
        return False
    try:
        lock = locks.try_directory(directory)
    except OSError:
        return False
    try:
        if durable.is_half(directory):
            delete.remove(directory)
            return False
        known = _settled(directory)
        if known is not None and not known.removing:
            known.removing = True  # so that nobody takes us, who hold it, for its owner
            with suppress(OSError):  # a full disk: it goes all the same
                known.write(directory)
        cgroups.remove_leftover(directory.name)
        if known is not None:
            with suppress(OSError):
                leavings.take(known, directory, directory.parent.parent)
        delete.remove(directory / "storage")  # first: as long as its record is there, it says what the rest is
        durable.remove(directory)
        if known is not None:
            _forget(known, Home(directory.parent.parent))
    except (OSError, CellholdError):
        return False
    finally:
        os.close(lock)
    return True


def _settled(directory: Path) -> Record | None:
    """Return the record of a container that is to be cleared; None without one.

    Raises CellholdError if the container stays.
    """
    try:
        known = record.read(directory)
    except ContainerNotFound:
        return None
    except Damaged:
        if not record.is_kept(directory):
            return None
        cgroups.remove_leftover(directory.name)  # its monitor is gone, so its processes go; its files stay
        raise
    if known.kept and not known.removing:
        known = record_exit(directory)
        if not (known.auto_remove and known.state == State.STOPPED):
            raise NotAllowed(f"cannot clear container {known.name}: it is kept")
        journal.append(directory.parent.parent, "destroy", known)
    return known


def _forget(known: Record, home: Home) -> None:
    """Release what a removed container had elsewhere in the store.

    Its ids are released with all that are nobody's (ids.reclaim).
    """
    network.release(known.id, home)
    volumes.remove_anonymous(known, home)


def record_exit(directory: Path, *, is_due: Callable[[Record], bool] = lambda _known: False, end: End | None = None) -> Record:
    """Record how a kept container ended, if it has and nobody did; return its record.

    The caller holds its lock. is_due: whether the caller, who holds the lock until
    then, will start it again. end: what the caller knows of the end. What the container
    has written is on the disk before the record says that it has ended.

    Raises OSError, ContainerNotFound, and CellholdError if one of its processes does
    not go away.
    """
    known = record.read(directory)
    if known.state not in UNDER_WAY:
        return known
    used = Usage()
    with suppress(NotAllowed):  # there is no group
        used = cgroups.existing(known.id).usage()
    cgroups.remove_leftover(known.id)
    if not known.auto_remove:
        _write_out(directory, known)
    with record.changing(directory) as known:
        ended = mark_ended(known, directory, used=used, end=end)
        if is_due(known):
            known.state = State.RESTARTING
    root = directory.parent.parent
    if ended is not None:
        journal.append(root, "die", known, **exit_status.attributes(ended))
        if ended.why is Why.MEMORY:
            journal.append(root, "oom", known)
    network.release(known.id, Home(root))
    for name in (ENDED, SOCKET):
        with suppress(OSError):
            (directory / name).unlink()
    return known


def mark_ended(known: Record, directory: Path, *, used: Usage | None = None, end: End | None = None) -> Outcome | None:
    """Set in the record that the container has ended, and how.

    Returns the outcome, or None if it did not run. used: by its group, if that existed.
    end: what the caller knows; else what its monitor has written down.
    """
    ended = None
    if known.pid is not None:
        known.finished = time.time()
        ended = exit_status.outcome(
            end or _read_end(directory),
            ordered=known.stopping,
            seconds=known.finished - (known.started or known.finished),
            used=used or Usage(),
            limits=known.limits,
        )
        exit_status.write(known, ended)
    known.state, known.pid = State.STOPPED, None
    return ended


def _write_out(directory: Path, known: Record) -> None:
    """Make what the container has written survive a power cut.

    In its layer and its volumes. Raises OSError (a disk that breaks).
    """
    places = [directory, *(directory.parent.parent / "volumes" / name for name in known.volumes)]
    devices = {}
    for place in places:
        with suppress(FileNotFoundError):
            devices[place.stat().st_dev] = place
    for place in devices.values():
        durable.sync_filesystem(place)


def _read_end(directory: Path) -> End | None:
    """Return the end that its monitor wrote; None if that was killed."""
    with suppress(OSError, ValueError):
        if (end := exit_status.parse((directory / ENDED).read_text(encoding="ascii").split())) is not None:
            return end
    return _of_keeper(directory.name)


def _of_keeper(container_id: str) -> End | None:
    """Return the end that its keeper knows; None if there is no keeper.

    The keeper (restart_policy.py) waits for a disk that can be written to. It carries
    the end in its arguments, as no file can be written. Nobody in a container can pose
    as one: it has a process number in one namespace only.
    """
    for place in Path("/proc").iterdir():
        with suppress(OSError):
            if place.name.isdecimal() and place.stat().st_uid == os.geteuid():
                *_program, code, status, number, late, _end = (b"",) * 5 + tuple((place / "cmdline").read_bytes().split(b"\0"))
                if f"import main; main({container_id!r}, ".encode() in code and _is_of_host(place):
                    return exit_status.parse([word.decode() for word in (status, number, late)])
    return None


def _is_of_host(process: Path) -> bool:
    """Return whether a process is in our own PID namespace, and in none below.

    See proc_pid_status(5), NSpid.
    """
    rows = (line.split() for line in (process / "status").read_text(encoding="ascii", errors="replace").splitlines())
    return any(row[0] == "NSpid:" and len(row) == 2 for row in rows if row)  # noqa: PLR2004  # the word, and one number
