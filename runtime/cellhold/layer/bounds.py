"""Bounds on what a layer may hold.

The defaults let every sane image pass; they stop bombs, not big images.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellhold.layer.worker.job import Bounded


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bounds on one layer.

    unpacked_bytes: of the tar stream, holes of sparse files counted as if they were
        full.
    entries: directories that the tar only implies are counted as well.
    ratio: unpacked to compressed bytes, checked once more than ratio_floor_bytes are
        unpacked.
    depth: directories in a path.
    name_bytes: of a whole path.
    header_bytes: of one extended header, attributes (xattrs) included.
    window_bytes: the memory that zstd may request.
    """  # a list of fields, not a summary and its details

    unpacked_bytes: int = 64 << 30
    entries: int = 2_000_000
    ratio: int = 200
    ratio_floor_bytes: int = 1 << 30
    depth: int = 255
    name_bytes: int = 4096
    header_bytes: int = 1 << 20
    window_bytes: int = 128 << 20

    def to_job(self) -> Bounded:
        """Return the bounds as the confined child receives them."""
        return asdict(self)  # type: ignore[return-value]  # the same fields
