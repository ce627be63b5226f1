"""The containers that there are, seen from any process: who lives, what each uses, and a signal to it.

A container belongs to the process that made it, which writes its record (store/record.py) and holds a lock on its directory: its end
is noticed, and told, by whom it belongs to. One that is kept is nobody's (detached.py): whoever looks first writes down an end that
nobody saw.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from cellhold import cgroups
from cellhold.cgroups import files
from cellhold.cgroups.absent import Absent
from cellhold.container import exit_status
from cellhold.container.recovery import UNDER_WAY, clear, mark_ended
from cellhold.errors import CellholdError, ContainerNotFound, NotAllowed
from cellhold.linux.pidfd import pidfd_send_signal
from cellhold.spec.lifecycle import State
from cellhold.store import journal, record

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.cgroups.base import Cgroup
    from cellhold.cgroups.files import Read
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.usage import Usage
    from cellhold.store.home import Home
    from cellhold.store.record import Record
    from cellhold.store.table import Unreadable


_LOOK_SECONDS = 0.01
_PATIENCE_SECONDS = 10.0  # for a process to remove what it had, and for what another one had to go


def listed(home: Home) -> list[Record]:
    """Those that somebody has, or that are kept, the newest first; not what a crash left, nor what cannot be read.

    One that is being removed is not among them, whoever finishes that: its name is free.
    """
    present = (_present(directory) for directory in record.directories(home.containers))
    return sorted((one for one in present if one is not None and not one.removing), key=lambda one: -one.created)


def unreadable(home: Home) -> list[Unreadable]:
    """Those that are kept and of which nothing can be read, by id."""
    return [one for one in record.unreadable(home.containers) if record.is_kept(one.place) or record.is_held(one.place)]


def find(text: str, home: Home) -> Record:
    """The container of that name, or whose id begins so; not what a crash left of one.

    Raises ContainerNotFound; Damaged, NotSupported (a later version's) for one that is there and cannot be read.
    """
    known = record.find(text, home.containers)
    present = _present(home.container(known.id))
    if present is None:
        raise ContainerNotFound(f"cannot find container {known.name!r}: the process that had it is gone, and it with it")
    return present


def _present(directory: Path) -> Record | None:
    """The record of one that is there; None of what a crash left, which is cleared by the next that is made."""
    known = record.peek(directory)
    if known is None or record.is_leftover(known, directory):
        return None
    if not known.kept or known.state not in UNDER_WAY or record.is_held(directory):
        return _as_it_is(known, directory)
    with suppress(CellholdError, OSError):
        clear(directory)
    settled = record.peek(directory)
    if settled is not None and settled.state in UNDER_WAY and not record.is_held(directory):  # a full disk: it cannot be written down now
        mark_ended(settled, directory)
    return settled


def _as_it_is(known: Record, directory: Path) -> Record:
    """The record of one that somebody has; where it could not be written down whether it is paused, its group is asked."""
    if known.is_alive and known.kept and not os.access(directory, os.W_OK):
        known.state = State.PAUSED if group(known).is_frozen() else State.RUNNING
    return known


def group(known: Record) -> Cgroup:
    """The group of one that runs; one that was made without stands for it, and says what it cannot do."""
    try:
        return cgroups.existing(known.id)
    except NotAllowed:
        return Absent("it was made without: none was delegated to its user")


def usage(known: Record, read: Read = files.read) -> Usage:
    """What its group has used. Raises NotAllowed where it has none, or none any more."""
    return cgroups.existing(known.id).usage(read)


def networks(home: Home) -> set[str]:
    """The names of those that a container is to be on when it runs."""
    return {name for one in listed(home) for name in one.networks}


def writable_layer(pid: int, name: str) -> tuple[int, int]:
    """Bytes that the writable layer of the container with that PID 1 still takes, and in all.

    Raises NotAllowed unless it runs, and without root.
    """
    try:
        layer = os.statvfs(f"/proc/{pid}/root")  # an overlay answers for its upper directory
    except PermissionError as error:
        raise NotAllowed(f"cannot look at the writable layer of container {name}: that takes root") from error
    except OSError as error:
        raise NotAllowed(f"cannot look at the writable layer of container {name}: it does not run") from error
    return layer.f_bavail * layer.f_frsize, layer.f_blocks * layer.f_frsize


class Process(NamedTuple):
    """One of a container's, as the host sees it. uid: on the host; seconds: of processor time; args: its command line."""

    pid: int
    parent: int
    uid: int
    seconds: float
    args: str


def processes(known: Record) -> list[Process]:
    """Those that it has now, by number. Raises NotAllowed unless it runs."""
    if not known.is_alive:
        raise NotAllowed(f"cannot look at the processes of container {known.name}: it does not run")
    found = []
    for pid in _below(known.pid or 0):
        with suppress(OSError, IndexError, ValueError):  # it has just ended
            found.append(_process(pid))
    return found


def _below(pid: int) -> list[int]:
    """All processes below PID 1, which is ours."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError, IndexError, ValueError):
                children.setdefault(_process(int(name)).parent, []).append(int(name))
    found, left = [], [pid]
    while left:
        below = sorted(children.get(left.pop(), ()))
        found += below
        left += below
    return sorted(found)


def _process(pid: int) -> Process:
    place = f"/proc/{pid}"
    with open(f"{place}/stat", "rb") as file:
        comm, _, rest = file.read().partition(b" (")[2].rpartition(b") ")
    fields = rest.split()
    with open(f"{place}/cmdline", "rb") as file:
        args = file.read().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    ticks = int(fields[11]) + int(fields[12])
    return Process(
        pid, int(fields[1]), os.stat(place).st_uid, ticks / os.sysconf("SC_CLK_TCK"), args or f"[{comm.decode(errors='replace')}]"
    )


class Health(NamedTuple):
    """What its healthcheck has told. status: "starting", "healthy" or "unhealthy"; failures: in a row; began: the last check, or 0."""

    status: str
    failures: int
    began: float
    last_status: int
    output: str


def health(known: Record, home: Home) -> Health | None:
    """How it is, by its healthcheck; None where it has none, or does not run."""
    if not known.is_alive or not known.kept or not (known.spec.get("health") or {}).get("args"):
        return None
    try:
        text = (home.container(known.id) / "health").read_text(encoding="utf-8", errors="replace")
        status, failures, began, last, output = text.split("\n", 4)
        return Health(status, int(failures), float(began), int(last), output)
    except (OSError, ValueError):
        return Health("starting", 0, 0.0, 0, "")


def send(known: Record, number: int) -> None:
    """Send a signal to its program; SIGKILL to all of its processes. Raises NotAllowed unless it runs."""
    if not known.is_alive:
        raise NotAllowed(f"cannot kill container {known.name}: it does not run")
    if number == signal.SIGKILL:
        with suppress(NotAllowed):  # it has no group: PID 1 takes the others with it
            group = cgroups.existing(known.id)
            group.kill()
            group.thaw()
            return
    pidfd = _open_pid1(known)
    try:
        pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)


def stop(known: Record, grace_seconds: float, *, number: int = signal.SIGTERM) -> None:
    """A signal, and SIGKILL after so many seconds; returns when PID 1 is gone. Raises NotAllowed unless it runs."""
    if not known.is_alive:
        raise NotAllowed(f"cannot stop container {known.name}: it does not run")
    pidfd = _open_pid1(known)
    try:
        pidfd_send_signal(pidfd, number)
        if known.state == "paused":
            cgroups.existing(known.id).thaw()
        if not _has_ended(pidfd, grace_seconds):
            send(known, signal.SIGKILL)
            _has_ended(pidfd, None)
    finally:
        os.close(pidfd)


def remove_own(known: Record, home: Home) -> None:
    """Kill one that is a process's own, and see that it goes: with that process's help, or without it where that is gone.

    Raises NotAllowed where the process keeps it.
    """
    directory = home.container(known.id)
    until = time.monotonic() + _PATIENCE_SECONDS
    while directory.exists():
        present = record.peek(directory)
        if present is not None and present.is_alive and not present.kept:
            with suppress(NotAllowed):  # it has just ended
                send(present, signal.SIGKILL)
        if clear(directory):
            return
        if time.monotonic() > until:
            raise NotAllowed(
                f"cannot remove container {known.name}: it belongs to a process that runs, and ends with it", hint="end that process"
            )
        time.sleep(_LOOK_SECONDS)


def await_end(known: Record, seconds: float | None) -> None:
    """Wait until PID 1 is gone, so many seconds at most; not where it is gone already."""
    with suppress(NotAllowed):
        pidfd = _open_pid1(known)
        try:
            _has_ended(pidfd, seconds)
        finally:
            os.close(pidfd)


def last_outcome(known: Record, home: Home) -> Outcome:
    """How one that is removed by now has ended, as the journal has it; status 0 where that does not say."""
    ends = [event for event in journal.read(home.root) if event["id"] == known.id and event["action"] == "die"]
    with suppress(IndexError, KeyError, ValueError):
        return exit_status.parse_attributes(ends[-1]["attributes"], known.limits)
    return exit_status.UNRECORDED


def _open_pid1(known: Record) -> int:
    """A pidfd of its PID 1: of that process, and none that has got its number since. Raises NotAllowed where it is gone."""
    gone = NotAllowed(f"cannot reach container {known.name}: it has just ended")
    try:
        pidfd = os.pidfd_open(known.pid or 0)
    except OSError as error:
        raise gone from error
    if known.born is None or record.birth(known.pid or 0) != known.born:
        os.close(pidfd)
        raise gone
    return pidfd


def _has_ended(pidfd: int, seconds: float | None) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
