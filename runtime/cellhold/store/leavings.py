"""Writable layers whose owner was killed before it had taken what is in them.

A mount says so (Mount.outlives), the container's record names its overlay, and whoever
clears the container moves its storage here instead of removing it.

    files/OWNER.left/ID-NUMBER/    a container's storage; NUMBER: of the overlay
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold.store import delete

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellhold.store.record import Record

UPPER = "upper"  # a member of a record's spec: the number of the overlay
_SUFFIX = ".left"
_KEPT_SECONDS = 30 * 86400.0


def take(known: Record, directory: Path, root: Path) -> None:
    """Keep the storage of a container that is cleared, if its owner is to have it.

    root: the store's. Raises OSError.
    """
    spec = known.spec or {}
    owner, number = spec.get("owner"), spec.get(UPPER)
    if isinstance(owner, str) and owner.isalnum() and isinstance(number, int) and (directory / "storage").is_dir():
        place = _directory(root, owner)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.rename(directory / "storage", place / f"{known.id}-{number}")


def find(root: Path, owner: str) -> Iterator[tuple[Path, int]]:
    """Yield what an owner has not taken yet, the oldest first.

    A storage, and the number of the overlay.
    """
    with suppress(OSError):
        for path in sorted(_directory(root, owner).iterdir(), key=lambda path: path.stat().st_mtime):
            number = path.name.rpartition("-")[2]
            if number.isdecimal():
                yield path, int(number)


def remove(path: Path) -> None:
    """Remove a storage that was taken. Raises OSError."""
    delete.remove(path)
    with suppress(OSError):
        path.parent.rmdir()


def clear(root: Path) -> None:
    """Remove what nobody has taken for a month."""
    with suppress(OSError):
        for place in (root / "files").glob(f"*{_SUFFIX}"):
            for path in place.iterdir():
                if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                    remove(path)


def _directory(root: Path, owner: str) -> Path:
    return root / "files" / f"{owner}{_SUFFIX}"
