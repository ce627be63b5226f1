"""The writable layer of a container.

create() is the one door: what the host can enforce decides which kind it is. No kind
uses project quotas: they would be ext4's or XFS' best way to a limit, and are not
tested on any host yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec, NotSupported
from cellhold.spec import units
from cellhold.spec.spec import STORAGES
from cellhold.storage.base import Storage
from cellhold.storage.delegated import DelegatedDirectory, DelegatedTmpfs
from cellhold.storage.directory import DirectoryStorage
from cellhold.storage.image_file import ImageFileStorage
from cellhold.storage.tmpfs import TmpfsStorage
from cellhold.store import subids

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Storage", "create"]


def create(  # noqa: PLR0913  # every one is the caller's decision
    directory: Path, *, overlays: int, owner: int, limit_bytes: int | None, kind: str, templates: Path
) -> Storage:
    """Make the writable layer in `directory`, or find the one made there before.

    It is found if the same call made it.

    overlays: how many pairs of upper and work directories. owner: their uid and gid.
    limit_bytes: what may be written, None = no limit (tmpfs: half of the host's
    memory). kind: "disk" or "tmpfs". templates: a private directory for empty file
    systems.

    Raises InvalidSpec (kind, or a limit too small), NotSupported (a limit that this
    host cannot enforce), OSError.
    """
    made: Storage
    if kind in STORAGES and subids.is_rootless():
        made = _delegated(directory, overlays=overlays, owner=owner, limit_bytes=limit_bytes, kind=kind)
    elif kind == "tmpfs":
        made = TmpfsStorage(directory=directory, overlays=overlays, owner=owner, limit_bytes=limit_bytes)
    elif kind != "disk":
        raise InvalidSpec(f"cannot use storage={kind}: not a kind of storage", hint="storage=disk or storage=tmpfs")
    elif limit_bytes is None:
        made = DirectoryStorage(directory=directory, overlays=overlays, owner=owner)
    else:
        made = ImageFileStorage(directory=directory, overlays=overlays, owner=owner, limit_bytes=limit_bytes, templates=templates)
    made.create()
    return made


def _delegated(directory: Path, *, overlays: int, owner: int, limit_bytes: int | None, kind: str) -> Storage:
    """Return the layer for a user who is not root.

    A limit on disk needs a file system that only root can mount.
    """
    if kind == "tmpfs":
        return DelegatedTmpfs(directory=directory, overlays=overlays, owner=owner, limit_bytes=limit_bytes)
    if limit_bytes is not None:
        raise NotSupported(
            f"cannot limit the disk to {units.size(limit_bytes)}: without root no disk image can be mounted",
            hint="storage=tmpfs (--storage tmpfs) keeps the layer in memory and holds that limit; or run as root",
        )
    return DelegatedDirectory(directory=directory, overlays=overlays, owner=owner)
