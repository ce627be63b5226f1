"""A place for things under way: an archive that is being loaded, a layer whose name is not known yet.

HOME/scratch/XXXXXXXXXXXX/      0700, locked by whoever made it; without a lock it is a dead one's, and cleared by the next
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cellhold.store import delete, locks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


NAME = "scratch"


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """An empty directory of the store at `root`, removed in the end with all that is in it."""
    above = root / NAME
    above.mkdir(mode=0o700, exist_ok=True)
    locks.clear_abandoned(above)
    path, lock = locks.own_directory(above)
    try:
        yield path
    finally:
        try:
            delete.remove(path)
        finally:
            os.close(lock)
