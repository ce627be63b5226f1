"""A directory that holds a root file system, used as an image (`--rootfs DIR`); it is never written to."""

from __future__ import annotations

from pathlib import Path

from cellhold.errors import ImageNotFound
from cellhold.image.model import Image, Stack


def image(path: str) -> Image:
    """The directory at `path` as an image of one layer; raises ImageNotFound."""
    directory = Path(path).absolute()
    if not directory.is_dir():
        raise ImageNotFound(
            f"cannot use image={path}: no such directory", hint="name a directory that holds a root file system (bin, etc, usr ...)"
        )
    if directory.resolve() == Path("/"):
        raise ImageNotFound(
            f"cannot use image={path}: the whole machine is not an image", hint="image=host shows the parts that are safe to show"
        )
    return Image(name=str(directory), stacks=(Stack(target="/", layers=(directory.resolve(),)),))
