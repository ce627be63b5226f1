"""Images: what a container starts from. `find()` is the one door.

Today: `host` (this machine's own files) and directories. Images from registries and archives come next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import ImageNotFound
from cellhold.image import directory, host

if TYPE_CHECKING:
    from cellhold.image.model import Image
    from cellhold.store.home import Home


def find(name: str, home: Home) -> Image:
    """The image called `name`: "host", or the path of a directory (it starts with / or .).

    Raises ImageNotFound.
    """
    if name == "host":
        return host.image(home)
    if name.startswith(("/", ".")):
        return directory.image(name)
    raise ImageNotFound(
        f"cannot use image={name}: there is no image of that name",
        hint="image=host, or the path of a directory that holds a root file system",
    )
