"""Small disks, and full ones."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from boxes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """Yield a file system of 16 MiB."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", place], check=True)
    try:
        yield place
    finally:  # a network's name server ends a moment after its bridge
        assert eventually(lambda: subprocess.run(["umount", place], check=False, capture_output=True).returncode == 0)


def fill(store: Path, *, free_kib: int = 0) -> Path:
    """Fill the disk up to that; gives the file to remove to have it empty again."""
    filler = store / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(filler, filler.stat().st_size - free_kib * 1024)
    return filler
