"""Bytes that wait on the disk instead of in memory: a file without a name.

The file is gone when the last descriptor is closed. It is read by way of a mapping, so
that zmq can send it as it sends memory. Mapped pages count as this process's until they
are given back (`Spools.release`); the kernel can take them back by itself, too: they
are the file's.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PIECE = 1 << 20  # bytes
_RELEASE_SECONDS = 0.005  # in which zmq sends a few MiB


class Spool:
    """One such file; `close` it, or `map` it and it goes with the mapping."""

    def __init__(self, directory: Path) -> None:
        """Make it in `directory`. Raises OSError."""
        self.size = 0
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115  # `close` closes it

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add to it. Raises OSError (ENOSPC), after which it is of no use."""
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        self.size += len(data)

    def read(self) -> Iterator[bytes]:
        """All of it, in pieces."""
        at = 0
        while piece := os.pread(self._file.fileno(), _PIECE, at):
            at += len(piece)
            yield piece

    def map(self) -> mmap.mmap:
        """All of it as memory, not to be written to; it has to have a byte at least."""
        with self._file as file:
            return mmap.mmap(file.fileno(), self.size, prot=mmap.PROT_READ)

    def close(self) -> None:
        """Close the file. Closing it twice is not an error."""
        self._file.close()


class Spools:
    """Those of one process that are mapped."""

    def __init__(self) -> None:
        """None yet."""
        self._mapped: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()

    def map(self, spool: Spool) -> memoryview:
        """Its bytes. The file is gone when nobody refers to them any more."""
        mapped = spool.map()
        self._mapped.add(mapped)
        return memoryview(mapped)

    def release(self) -> float | None:
        """Give back the pages that were read; return the seconds until that is due again.

        Returns None where nothing is mapped.
        """
        for mapped in self._mapped:
            mapped.madvise(mmap.MADV_DONTNEED)
        return _RELEASE_SECONDS if self._mapped else None
