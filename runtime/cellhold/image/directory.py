"""A directory that holds a root file system, used as an image (`--rootfs DIR`).

It is never written to.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cellhold.errors import ImageNotFound
from cellhold.image.model import Image, Stack
from cellhold.linux import hostpath

if TYPE_CHECKING:
    from cellhold.linux.hostpath import HostPath


def image(path: str, opened: HostPath | None = None) -> Image:
    """Return the directory at `path` as an image of one layer.

    opened: the directory, if the caller has opened and checked it already; `path` is
        only its name then.
    Raises ImageNotFound.
    """
    opened = opened or look_up(path)
    if not opened.is_directory:
        raise _missing(path)
    if not os.access(opened, os.R_OK | os.X_OK):
        raise ImageNotFound(
            f"cannot use image={path}: you may not look into that directory", hint=f"chmod a+rx {opened.name}, or run as its owner"
        )
    if os.path.samestat(opened.status, os.stat("/")):
        raise ImageNotFound(
            f"cannot use image={path}: the whole machine is not an image", hint="image=host shows the parts that are safe to show"
        )
    return Image(name=opened.name, stacks=(Stack(target="/", layers=(opened,)),))


def check(image: Image, identity: tuple[int, ...], *, container: str) -> None:
    """Raise ImageNotFound unless the directory has that device and inode."""
    (layer,) = image.stacks[0].layers
    status = os.stat(layer)
    if (status.st_dev, status.st_ino) != identity:
        raise ImageNotFound(
            f"cannot use image={image.name}: it is another directory than the one that container {container} was made of",
            hint="remove the container, and make another one",
        )


def look_up(path: str) -> HostPath:
    """Open what is at a path that its user may choose. Raises ImageNotFound."""
    try:
        return hostpath.opened(os.path.abspath(path))
    except OSError as error:
        raise _missing(path) from error


def _missing(path: str) -> ImageNotFound:
    return ImageNotFound(
        f"cannot use image={path}: no such directory", hint="name a directory that holds a root file system (bin, etc, usr ...)"
    )
