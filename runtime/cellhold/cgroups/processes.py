"""The processes in groups, and waiting until they stop, die or leave.

They do so some time after the call that asked for it.
"""

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
    """Poll a condition; return False when `seconds` have gone by.

    Every 0.1 ms at first and every 20 ms in the end.
    """
    deadline = time.monotonic() + seconds
    pause = 0.0001
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
    return True


def subtree(directory: str) -> list[str]:
    """Return the directories of a group and of all groups below it, leaves first."""
    found = [inner for name in files.children(directory) for inner in subtree(f"{directory}/{name}")]
    return [*found, directory]


def members(directories: Iterable[str]) -> set[int]:
    """Return the ids of all processes in groups and the groups below them.

    A process outside the reader's pid namespace is listed as 0. It is left out: kill(0)
    would signal the caller's own group.
    """
    texts = (files.read(f"{inner}/cgroup.procs") for directory in directories for inner in subtree(directory))
    return {int(pid) for text in texts if text for pid in text.split()} - {0}


def signal_all(directories: Iterable[str]) -> bool:
    """Send SIGKILL to every member; return whether there was any."""
    found = members(directories)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def kill_all(directories: Iterable[str]) -> None:
    """Send SIGKILL to members until there are none, for up to PATIENCE seconds.

    One round is not enough for a group that runs: a child is listed only some time
    after its parent's last check for signals, so a fork bomb can have one that nobody
    has seen yet.
    """
    directories = tuple(directories)
    wait_until(lambda: not signal_all(directories), seconds=PATIENCE)


def move_all(sources: Iterable[str], target: str) -> None:
    """Move every member of `sources`, and what they fork meanwhile, into `target`."""
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
    """Move every process directly in a group into `leaf`, made if it is missing.

    Processes of the groups below it stay.
    """
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
    """Remove groups and those below them; missing ones are not an error.

    Raises NotAllowed, after removing what it can, if a process is still in one after
    `patience` seconds (None: PATIENCE).
    """
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    stuck = [at for at in directories if not wait_until(partial(_removed, at), seconds=deadline - time.monotonic())]
    if stuck:
        pids = ", ".join(map(str, sorted(members(stuck)))) or "unknown"
        raise NotAllowed(f"cannot remove cgroup {stuck[0]}: processes are still in it (pid {pids})", hint="kill the container first")


def undo(remove: Callable[[], None], error: BaseException) -> None:
    """Remove what could not be completed because of `error`.

    If that fails too, its failure is added to `error` and does not replace it.
    """
    try:
        remove()
    except (OSError, CellholdError) as second:
        error.add_note(f"and: {second}")


def _removed(directory: str) -> bool:
    """Try to remove a group; return whether it is gone."""
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
