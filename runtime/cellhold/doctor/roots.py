"""What a root file system needs: mount calls, /proc, overlays, shifted ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.doctor.feature import Feature, MissingError
from cellhold.doctor.trial import trial
from cellhold.init.fuse import DEVICE, PROGRAM
from cellhold.rootfs import overlay
from cellhold.store.home import default_root
from cellhold.store.subids import is_rootless

if TYPE_CHECKING:
    from pathlib import Path

_CONFINED = "run as root, and not inside another container (or in one started with docker run --privileged)"


def store() -> Path:
    """Return the directory that writable layers are made in, or its nearest parent.

    What is tried there is removed again.
    """
    place = default_root().absolute()
    while not place.is_dir():
        place = place.parent
    return place


def _overlay() -> str:
    place = str(store())
    try:
        trial("overlay", place)()
    except MissingError as refused:
        if not is_rootless():
            raise
        try:
            _fuse_overlay()
        except MissingError:
            raise refused from None
        return f"by {PROGRAM}, as the kernel refuses it in {place}: {refused}"
    return f"tried in {place}"


def _fuse_overlay() -> str:
    place = str(store())
    found = overlay.find()
    if found is None:
        raise MissingError(f"{PROGRAM} is not installed, or {DEVICE} may not be opened")
    trial("fuse_overlay", found, place)()
    return f"tried in {place}"


FEATURES = (
    Feature(
        name="mount-api",
        can="build a file tree by descriptors and make it the root",
        attempt=trial("mount_api"),
        needed=True,
        remedy=_CONFINED,
    ),
    Feature(name="proc-mount", can="give a container a /proc of its own", attempt=trial("proc"), needed=True, remedy=_CONFINED),
    Feature(
        name="overlayfs",
        can="put a writable layer over read-only ones",
        attempt=_overlay,
        needed=True,
        remedy="load the overlay module (modprobe overlay); set CELLHOLD_HOME to a directory on ext4, xfs, btrfs or tmpfs",
    ),
    Feature(
        name="fuse-overlayfs",
        can="do so without root where the kernel refuses an overlay",
        attempt=_fuse_overlay,
        remedy=f"apt install {PROGRAM}; it takes a /dev/fuse that everybody may open",
    ),
    Feature(
        name="idmapped-mounts",
        can="show an image's files with a container's own ids",
        attempt=trial("idmap", "/usr"),
        needed=not is_rootless(),  # who is not root has the image's files as they are
        remedy="keep images on a file system that can do it: ext4, xfs, btrfs, tmpfs (Linux 6.3)"
        if not is_rootless()
        else "none is needed: files of other owners belong to nobody inside",
    ),
)
