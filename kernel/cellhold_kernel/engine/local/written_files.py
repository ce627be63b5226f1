"""What a container of this host writes into the notebook's folder.

Where its upper directory and its record are.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, NotAllowed
from cellhold.storage.image_file import IMAGE, ImageFileStorage
from cellhold.store import leavings
from cellhold.store.home import open_home
from cellhold_kernel.files import record
from cellhold_kernel.files.folder import HostFolder
from cellhold_kernel.files.hand_out import HandOut, Moment
from cellhold_kernel.settings.workspace import TARGET

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold_kernel.engine.base import Preparation
    from cellhold_kernel.engine.local.container import LocalContainer

GOES_OUT = "new"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_files(container: LocalContainer, preparation: Preparation, *, is_resumed: bool) -> HandOut | None:
    """Open what a container that was just started writes into the folder.

    is_resumed: it ran before. Returns None where the folder is not mounted or is
    mounted itself, and where the layer cannot be seen from outside (a tmpfs, without
    root).
    """
    mount = next((one for one in preparation.granted.spec.mounts if one.target == TARGET), None)
    if mount is None or mount.kind != "overlay" or mount.opened is None:
        return None
    with suppress(NotAllowed):
        upper = container.upper(TARGET)
        directory = open_home().root / record.DIRECTORY
        record.clear_passing(directory)
        name = preparation.granted.spec.owner + ("" if preparation.comes_again else record.PASSING)
        folder = HostFolder(mount.opened, protected=preparation.protected)
        hidden = [os.fsencode(path) for path in mount.hidden]
        if mount.outlives and not is_resumed:
            _take_leavings(folder, directory, preparation.granted.spec.owner, hidden)
        return HandOut(
            upper,
            folder,
            record.Record(directory / name),
            origin=os.urandom(6).hex(),  # of this run: another one may find its upper directory empty
            hidden=hidden,
            is_resumed=is_resumed,
            is_inside=preparation.granted.folder != GOES_OUT,
        )
    return None


def _take_leavings(folder: HostFolder, directory: Path, owner: str, hidden: list[bytes]) -> None:
    """Hand out what containers of the notebook hold whose host kernel was killed.

    What cannot be, stays for the next time.
    """
    for storage, number in leavings.find(directory.parent, owner):
        with suppress(OSError, CellholdError), ExitStack() as closing:
            upper = _open_upper(storage, number, closing)
            made = HandOut(upper, folder, record.Record(directory / owner), origin=os.urandom(6).hex(), hidden=hidden)
            closing.callback(made.close)
            made.run(Moment.AGAIN)
            closing.close()
            leavings.remove(storage)
    leavings.clear(directory.parent)


def _open_upper(storage: Path, number: int, closing: ExitStack) -> int:
    layer = os.open(storage, _DIRECTORY)
    closing.callback(os.close, layer)
    if (storage / IMAGE).exists():
        layer = ImageFileStorage(directory=storage, overlays=0, owner=0, limit_bytes=0, templates=storage).open()
        closing.callback(os.close, layer)
    return os.open(f"{number}/upper", _DIRECTORY, dir_fd=layer)
