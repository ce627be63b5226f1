"""The lock on a container's directory.

For the process that starts, removes or repairs a container that no process owns. It
tells who has the container: its monitor while it runs (init/monitor.py), else the
process that is working on it. The kernel releases it with its last holder (flock(2)),
so that a lock that can be acquired is nobody's.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold.errors import ContainerNotFound, NotAllowed
from cellhold.store import locks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOK_SECONDS = 0.01
PATIENCE_SECONDS = 10.0  # for whoever is just starting, recording or looking at it


def try_acquire(directory: Path) -> int | None:
    """Acquire the lock, a descriptor that the caller closes.

    None if another process has it.

    Raises ContainerNotFound if the directory is gone.
    """
    with suppress(BlockingIOError):
        try:
            return locks.try_directory(directory)
        except FileNotFoundError:
            raise ContainerNotFound(f"cannot find container {directory.name}: it has just been removed") from None
    return None


def acquire(directory: Path, verb: str, *, look: Callable[[], str], seconds: float = PATIENCE_SECONDS) -> int:
    """Wait until the lock is free, `seconds` at most; acquire it.

    Returns a descriptor that the caller closes. look: called again and again meanwhile;
    returns the container's name, and may hurry or raise. verb: of the error.

    Raises NotAllowed when the time is up, ContainerNotFound if the container is
    removed.
    """
    until = time.monotonic() + seconds
    while (lock := try_acquire(directory)) is None:
        name = look()
        if time.monotonic() > until:
            raise NotAllowed(f"cannot {verb} container {name}: another process has it", hint="try again")
        time.sleep(LOOK_SECONDS)
    return lock
