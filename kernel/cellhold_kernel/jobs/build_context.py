"""What a build sees of the notebook's folder."""

from __future__ import annotations

from typing import NamedTuple


class BuildContext(NamedTuple):
    """The files that a build may copy from.

    descriptor: of the folder, None for nothing of it. hidden: paths below it.
    """

    descriptor: int | None = None
    hidden: tuple[str, ...] = ()
