"""The progress of an image's layers.

Bars are drawn from it, in a terminal (cli/) and in a cell (cellhold_kernel).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellhold.spec.digest import Digest


class Doing(StrEnum):
    """What is being done with a blob, in docker's words."""

    WAITING = "Waiting"
    DOWNLOADING = "Downloading"
    UNPACKING = "Extracting"
    PUSHING = "Pushing"
    EXISTS = "Already exists"
    DONE = "Pull complete"
    PUSHED = "Pushed"
    MOUNTED = "Mounted"  # from another repository of the registry


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One blob: done_bytes of total_bytes, both of the blob as it is sent."""

    digest: Digest
    doing: Doing
    done_bytes: int
    total_bytes: int


Tell = Callable[[Progress], object]


def nobody(_progress: Progress) -> None:
    """Discard the progress."""
