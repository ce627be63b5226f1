"""Clear what a crash left: containers whose runner is gone.

Called once by every process before its first container, by the launcher when its caller has died, and by hand in tests.

Whoever runs a container holds a lock (flock) on its directory, which the kernel releases when the last holder dies. So a
directory that can be locked is nobody's: its processes are killed, then its groups, files and ids go, the directory last. That
order lets a sweep that is itself cut off be finished by the next one.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from cellhold import cgroups
from cellhold.errors import CellholdError
from cellhold.store import ids, removal
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.store.home import Home

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
        cgroups.remove_leftover(directory.name)
        removal.remove(directory)
    except (OSError, CellholdError):
        return False
    finally:
        os.close(lock)
    return True
