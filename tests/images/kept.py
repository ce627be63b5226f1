"""What takes long to make and is always the same, made once for all test sessions: `directory(name, recipe, make)`.

    ~/.cache/cellhold/test/            or CELLHOLD_TEST_CACHE
        NAME-KEY/                      all that `make` put there, complete; KEY is made of the recipe's text
        NAME-KEY.lock                  held by whoever makes it; the others wait
        NAME-KEY.making/               not complete; cleared away by the next one that holds the lock

To have it anew, with newer Debian packages, say, remove the directory.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def place() -> Path:
    """Where it is kept."""
    given = os.environ.get("CELLHOLD_TEST_CACHE")
    return Path(given or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "cellhold/test"))


def recipe(*files: str, also: str = "") -> str:
    """The text of some source files: what they make is made anew when they change, or `also`, or the machine's processor does."""
    return "\n".join([platform.machine(), also, *(Path(file).read_text(encoding="utf-8") for file in files)])


def directory(name: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """The directory `name` of this `recipe`; where there is none yet, `make(empty directory)` makes it.

    Two sessions that want the same make it once. What `make` raises goes through, and nothing is kept.
    """
    kept = place() / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if not kept.exists():
        with _locked(kept):
            if not kept.exists():
                _make(kept, make)
    return kept


@contextmanager
def _locked(kept: Path) -> Iterator[None]:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{kept}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(kept: Path, make: Callable[[Path], None]) -> None:
    making = Path(f"{kept}.making")
    shutil.rmtree(making, ignore_errors=True)  # of a session that was killed
    making.mkdir()
    try:
        make(making)
        making.rename(kept)  # last: its presence says that all of it is there
    finally:
        shutil.rmtree(making, ignore_errors=True)
