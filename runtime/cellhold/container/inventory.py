"""The containers that exist, seen from any process: list, find, signal.

A container belongs to the process that made it, which writes its record
(store/record.py) and holds a lock on its directory, and records and reports its end.
One that is kept belongs to nobody (detached.py): whoever looks first records an end
that nobody saw.
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


def list_containers(home: Home) -> list[Record]:
    """Return the containers that are kept or that a process has, newest first.

    Not what a crash left, nor what cannot be read. One that is being removed is not
    among them, whoever finishes that: its name is free.
    """
    present = (_present(directory) for directory in record.directories(home.containers))
    return sorted((one for one in present if one is not None and not one.removing), key=lambda one: -one.created)


def unreadable(home: Home) -> list[Unreadable]:
    """Return the kept containers whose record cannot be read, by id."""
    return [one for one in record.unreadable(home.containers) if record.is_kept(one.place) or record.is_held(one.place)]


def find(text: str, home: Home) -> Record:
    """Return the container of that name, or whose id begins so.

    Not what a crash left of one.

    Raises ContainerNotFound; Damaged, NotSupported (a later version's) for one that
    exists and cannot be read.
    """
    known = record.find(text, home.containers)
    present = _present(home.container(known.id))
    if present is None:
        raise ContainerNotFound(f"cannot find container {known.name!r}: it ended with the process that owned it")
    return present


def _present(directory: Path) -> Record | None:
    """Return the record of a container that exists.

    None for what a crash left, which the next sweep clears.
    """
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
    """Return the record of a container that a process has.

    If it could not be recorded whether it is paused, its group is asked.
    """
    if known.is_alive and known.kept and not os.access(directory, os.W_OK):
        known.state = State.PAUSED if group(known).is_frozen() else State.RUNNING
    return known


def group(known: Record) -> Cgroup:
    """Return the group of a container that runs.

    Of one that was made without, a stand-in that says what it cannot do.
    """
    try:
        return cgroups.existing(known.id)
    except NotAllowed:
        return Absent("it was made without one: none was delegated to its user")


def usage(known: Record, read: Read = files.read) -> Usage:
    """Return what its group has used.

    Raises NotAllowed if it has no group, or no group any more.
    """
    return cgroups.existing(known.id).usage(read)


def networks(home: Home) -> set[str]:
    """Return the names of the networks that containers are on when they run."""
    return {name for one in list_containers(home) for name in one.networks}


def writable_layer(pid: int, name: str) -> tuple[int, int]:
    """Return the free bytes and all bytes of a container's writable layer.

    pid: of its PID 1.

    Raises NotAllowed unless it runs, and without root.
    """
    try:
        layer = os.statvfs(f"/proc/{pid}/root")  # an overlay answers for its upper directory
    except PermissionError as error:
        raise NotAllowed(f"cannot look at the writable layer of container {name}: that requires root") from error
    except OSError as error:
        raise NotAllowed(f"cannot look at the writable layer of container {name}: it does not run") from error
    return layer.f_bavail * layer.f_frsize, layer.f_blocks * layer.f_frsize


class Process(NamedTuple):
    """A process of a container, as the host sees it.

    uid: on the host. seconds: of processor time. args: its command line.
    """

    pid: int
    parent: int
    uid: int
    seconds: float
    args: str


def processes(known: Record) -> list[Process]:
    """Return its present processes, by number.

    Raises NotAllowed unless it runs.
    """
    if not known.is_alive:
        raise NotAllowed(f"cannot look at the processes of container {known.name}: it does not run")
    found = []
    for pid in _below(known.pid or 0):
        with suppress(OSError, IndexError, ValueError):  # it has just ended
            found.append(_process(pid))
    return found


def _below(pid: int) -> list[int]:
    """Return all processes below PID 1, which is ours."""
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
    """The result of its healthcheck.

    status: "starting", "healthy" or "unhealthy". failures: in a row. began: the time of
    the last check, or 0.
    """

    status: str
    failures: int
    began: float
    last_status: int
    output: str


def health(known: Record, home: Home) -> Health | None:
    """Return its health; None if it has no healthcheck, or does not run."""
    if not known.is_alive or not known.kept or not (known.spec.get("health") or {}).get("args"):
        return None
    try:
        text = (home.container(known.id) / "health").read_text(encoding="utf-8", errors="replace")
        status, failures, began, last, output = text.split("\n", 4)
        return Health(status, int(failures), float(began), int(last), output)
    except (OSError, ValueError):
        return Health("starting", 0, 0.0, 0, "")


def send(known: Record, number: int) -> None:
    """Send a signal to its program; SIGKILL to all of its processes.

    Raises NotAllowed unless it runs.
    """
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
    """Send a signal, and SIGKILL after the grace period; return when PID 1 is gone.

    Raises NotAllowed unless it runs.
    """
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
    """Kill a container that belongs to a process, and wait until it is removed.

    By that process, or by us if the process is gone.

    Raises NotAllowed if the process keeps it.
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
                f"cannot remove container {known.name}: it belongs to a running process, and ends with it", hint="end that process"
            )
        time.sleep(_LOOK_SECONDS)


def await_end(known: Record, seconds: float | None) -> None:
    """Wait until PID 1 is gone, `seconds` at most."""
    with suppress(NotAllowed):
        pidfd = _open_pid1(known)
        try:
            _has_ended(pidfd, seconds)
        finally:
            os.close(pidfd)


def last_outcome(known: Record, home: Home) -> Outcome:
    """Return how a container ended that is removed by now, from the journal.

    Status 0 if the journal does not say.
    """
    ends = [event for event in journal.read(home.root) if event["id"] == known.id and event["action"] == "die"]
    with suppress(IndexError, KeyError, ValueError):
        return exit_status.parse_attributes(ends[-1]["attributes"], known.limits)
    return exit_status.UNRECORDED


def _open_pid1(known: Record) -> int:
    """Return a pidfd of its PID 1.

    Of that process, and not of one that has the same number since. Raises NotAllowed if
    it is gone.
    """
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
