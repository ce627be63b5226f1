"""The processes in groups, and waiting for them: they stop, die and leave after the call that asked for it."""

from __future__ import annotations

import errno
import os
import signal
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from cellhold.cgroups import files
from cellhold.errors import CellholdError, NotAllowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PATIENCE = 20.0  # seconds for dead processes to leave; it takes them milliseconds, more under load or a small cpu limit
_ROUNDS = 1000


def wait_until(done: Callable[[], bool], *, seconds: float) -> bool:
    """Ask again and again, every 0.1 ms at first and 20 ms in the end; False when `seconds` have gone by."""
    deadline = time.monotonic() + seconds
    pause = 0.0001
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
    return True


def subtree(directory: str) -> list[str]:
    """The directories of a group and of all groups below it, leaves first."""
    found = [inner for name in files.children(directory) for inner in subtree(f"{directory}/{name}")]
    return [*found, directory]


def members(directories: Iterable[str]) -> set[int]:
    """Ids of all processes in groups and the groups below them.

    A process outside the reader's pid namespace is listed as 0. It is left out: kill(0) would signal the caller's own group.
    """
    texts = (files.read(f"{inner}/cgroup.procs") for directory in directories for inner in subtree(directory))
    return {int(pid) for text in texts if text for pid in text.split()} - {0}


def signal_all(directories: Iterable[str]) -> bool:
    """SIGKILL every member; whether there was any."""
    found = members(directories)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def kill_all(directories: Iterable[str]) -> None:
    """SIGKILL members until there are none, for up to PATIENCE seconds.

    One round is not enough for a group that runs: a child is listed only some time after its parent's last look for signals, so a
    fork bomb can have one that nobody has seen yet.
    """
    directories = tuple(directories)
    wait_until(lambda: not signal_all(directories), seconds=PATIENCE)


def move_all(sources: Iterable[str], target: str) -> None:
    """Move every member of `sources` into the group `target`, and what they fork meanwhile."""
    sources, gone = tuple(sources), set[int]()
    for _ in range(_ROUNDS):
        left = members(sources) - members((target,)) - gone
        if not left:
            return
        for pid in left:
            try:
                files.write(f"{target}/cgroup.procs", str(pid))
            except ProcessLookupError:
                gone.add(pid)


def vacate(directory: str, leaf: str) -> None:
    """Move every process right in a group, not those of the groups below it, into the group `leaf`, which is made if need be."""
    with suppress(FileExistsError):
        files.mkdir(leaf)
    for _ in range(_ROUNDS):
        found = {int(pid) for pid in (files.read(f"{directory}/cgroup.procs") or "").split()} - {0}
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError):
                files.write(f"{leaf}/cgroup.procs", str(pid))


def remove_all(directories: Iterable[str], *, patience: float | None = None) -> None:
    """Remove groups and what is below them; those that are gone already are no error.

    Raises NotAllowed, after removing what it can, when a process is still in one after `patience` seconds (None: PATIENCE).
    """
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    stuck = [at for at in directories if not wait_until(partial(_removed, at), seconds=deadline - time.monotonic())]
    if stuck:
        pids = ", ".join(map(str, sorted(members(stuck)))) or "unknown"
        raise NotAllowed(f"cannot remove cgroup {stuck[0]}: processes are still in it (pid {pids})", hint="kill the container first")


def undo(remove: Callable[[], None], error: BaseException) -> None:
    """Remove what could not be finished because of `error`; a failure of that is added to it, and does not replace it."""
    try:
        remove()
    except (OSError, CellholdError) as second:
        error.add_note(f"and: {second}")


def _removed(directory: str) -> bool:
    """Whether it is gone now."""
    try:
        files.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
        for name in files.children(directory):
            _removed(f"{directory}/{name}")
        return False
    return True
