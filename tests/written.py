"""What an overlay would have written, as a plain directory, and the hand-out of it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cellhold.linux import hostpath
from cellhold_kernel.files.folder import HostFolder
from cellhold_kernel.files.hand_out import BOUNDS, HandOut, Moment
from cellhold_kernel.files.record import Record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from cellhold_kernel.files.hand_out import Report
    from cellhold_kernel.files.plan import Bounds


class Box:
    """An upper directory, a folder and a record below one directory; each `handing` is a container's run."""

    def __init__(self, root: Path) -> None:
        self.upper, self.folder, self.store = root / "upper", root / "folder", root / "store"
        for directory in (self.upper, self.folder, self.store):
            directory.mkdir(exist_ok=True)

    @contextmanager
    def handing(  # noqa: PLR0913  # as HandOut has them
        self,
        *,
        origin: str = "one",
        protected: Collection[hostpath.Identity] = (),
        hidden: Collection[bytes] = (),
        is_inside: bool = False,
        is_resumed: bool = False,
        bounds: Bounds = BOUNDS,
    ) -> Iterator[HandOut]:
        folder = hostpath.opened(self.folder)
        made = HandOut(
            os.open(self.upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
            HostFolder(folder, protected=protected),
            Record(self.store / "files" / "notebook"),
            origin=origin,
            hidden=hidden,
            is_inside=is_inside,
            is_resumed=is_resumed,
            bounds=bounds,
        )
        try:
            yield made
        finally:
            made.close()
            folder.close()

    def remove_inside(self, path: str) -> None:
        """As an overlay notes that something of the folder was removed, where no device can be made."""
        place = self.upper / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.with_name(f".wh.{place.name}").touch()

    def outside(self) -> dict[str, bytes | None]:
        """What lies in the folder: a file's content, None for a directory."""
        found = sorted(self.folder.rglob("*"))
        return {str(path.relative_to(self.folder)): None if path.is_dir() else path.read_bytes() for path in found}


def cell(made: HandOut) -> Report:
    """What comes of the end of a cell."""
    report = made.begin(Moment.CELL)
    return made.finish() if report is None else report
