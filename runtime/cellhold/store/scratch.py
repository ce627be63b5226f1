"""A place for things under way: an archive that is being loaded, a layer whose name is not known yet.

HOME/scratch/XXXXXXXXXXXX/      0700, locked by whoever made it; without a lock it is a dead one's, and cleared by the next
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cellhold.store import removal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """An empty directory of the store at `root`, removed in the end with all that is in it."""
    above = root / "scratch"
    above.mkdir(mode=0o700, exist_ok=True)
    _clear(above)
    path, lock = _locked(above)
    try:
        yield path
    finally:
        try:
            removal.remove(path)
        finally:
            os.close(lock)


def _locked(above: Path) -> tuple[Path, int]:
    """A new directory, locked before another one can take it for an abandoned one."""
    while True:
        path = above / os.urandom(6).hex()
        path.mkdir(mode=0o700)
        with suppress(FileNotFoundError):
            lock = os.open(path, _DIRECTORY)
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.stat().st_ino == os.fstat(lock).st_ino:
                    return path, lock
            os.close(lock)


def _clear(above: Path) -> None:
    for path in above.iterdir():
        with suppress(OSError):
            lock = os.open(path, _DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                removal.remove(path)
            finally:
                os.close(lock)
