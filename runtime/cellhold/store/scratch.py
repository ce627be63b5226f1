"""A place for work in progress: an archive being loaded, a layer not yet named.

HOME/scratch/XXXXXXXXXXXX/      0700, locked by its maker; an unlocked one is abandoned,
                                and cleared by the next process
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
    """Yield an empty directory of the store at `root`; remove it in the end."""
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
