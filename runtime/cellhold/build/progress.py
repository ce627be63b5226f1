"""The progress of a build, shown in a terminal (cli/) and in a cell of a notebook."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Began:
    """A step begins.

    number: from 1.
    text: the instruction.
    stage: its name, or its number if there are several.
    """

    number: int
    total: int
    stage: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Wrote:
    """What a step's program has written, as it comes: bytes of anything."""

    number: int
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A step has succeeded.

    cached: nothing had to be done.
    layer_bytes: of its layer, compressed; None if it has none.
    """

    number: int
    cached: bool
    seconds: float
    layer_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Warned:
    """Something that whoever builds should know."""

    text: str


Event = Began | Wrote | Ended | Warned
Tell = Callable[[Event], object]


def nobody(_event: Event) -> None:
    """Discard the progress."""
