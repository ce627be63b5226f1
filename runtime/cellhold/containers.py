"""The containers that there are, seen from any process: who lives, what each uses, and a signal to it.

A container belongs to the process that made it, which writes its record (store/record.py) and holds a lock on its directory. Nothing here
changes either: an end is noticed, and told, by whom it belongs to.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold import cgroups
from cellhold.errors import ContainerNotFound, NotAllowed
from cellhold.linux.pidfd import pidfd_send_signal
from cellhold.store import record

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.cgroups.base import Usage
    from cellhold.store.home import Home
    from cellhold.store.record import Record

_ALIVE = ("running", "paused")


def listed(home: Home) -> list[Record]:
    """Those that somebody has, the newest first; what a crash left is not among them."""
    found = (record.read(directory) for directory in home.containers.iterdir() if is_held(directory))
    return sorted((known for known in found if known is not None), key=lambda known: -known.created)


def find(text: str, home: Home) -> Record:
    """The container of that name, or whose id begins so; not what a crash left of one. Raises ContainerNotFound."""
    known = record.find(text, home.containers)
    if not is_held(home.container(known.id)):
        raise ContainerNotFound(f"cannot find container {known.name!r}: the process that had it is gone, and it with it")
    return known


def is_held(directory: Path) -> bool:
    """Whether a living process has the container in that directory."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def is_alive(known: Record) -> bool:
    """Whether its program runs, or is paused, by the record."""
    return known.state in _ALIVE and known.pid is not None


def usage(known: Record) -> Usage:
    """What its group has used. Raises NotAllowed where it has none, or none any more."""
    return cgroups.existing(known.id).usage()


def send(known: Record, number: int) -> None:
    """Send a signal to its program; SIGKILL to all of its processes. Raises NotAllowed unless it runs."""
    if not is_alive(known):
        raise NotAllowed(f"cannot kill container {known.name}: it does not run")
    if number == signal.SIGKILL:
        with suppress(NotAllowed):  # it has no group: PID 1 takes the others with it
            group = cgroups.existing(known.id)
            group.kill()
            group.thaw()
            return
    pidfd = _opened(known)
    try:
        pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)


def stop(known: Record, grace_seconds: float) -> None:
    """SIGTERM, and SIGKILL after so many seconds; returns when PID 1 is gone. Raises NotAllowed unless it runs."""
    if not is_alive(known):
        raise NotAllowed(f"cannot stop container {known.name}: it does not run")
    pidfd = _opened(known)
    try:
        pidfd_send_signal(pidfd, signal.SIGTERM)
        if known.state == "paused":
            cgroups.existing(known.id).thaw()
        if not _has_ended(pidfd, grace_seconds):
            send(known, signal.SIGKILL)
            _has_ended(pidfd, None)
    finally:
        os.close(pidfd)


def _opened(known: Record) -> int:
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
