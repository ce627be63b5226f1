"""A directory that holds a root file system, used as an image (`--rootfs DIR`); it is never written to."""

from __future__ import annotations

import os
from pathlib import Path

from cellhold.errors import ImageNotFound
from cellhold.image.model import Image, Stack


def image(path: str) -> Image:
    """The directory at `path` as an image of one layer; raises ImageNotFound."""
    directory = Path(path).absolute()
    if not os.path.isdir(directory):  # Path.is_dir() raises where a parent may not be looked into
        raise ImageNotFound(
            f"cannot use image={path}: no such directory", hint="name a directory that holds a root file system (bin, etc, usr ...)"
        )
    if not os.access(directory, os.R_OK | os.X_OK):
        raise ImageNotFound(
            f"cannot use image={path}: you may not look into that directory", hint=f"chmod a+rx {directory}, or run as its owner"
        )
    if directory.resolve() == Path("/"):
        raise ImageNotFound(
            f"cannot use image={path}: the whole machine is not an image", hint="image=host shows the parts that are safe to show"
        )
    return Image(name=str(directory), stacks=(Stack(target="/", layers=(directory.resolve(),)),))
