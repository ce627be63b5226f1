"""The root's upper directory of another process's container, as it is now.

For diff, commit and export, from any process. A layer in memory (tmpfs) exists only in
its container's mount namespace, and cannot be reached from outside.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.errors import NotSupported
from cellhold.linux import loop
from cellhold.linux.mount import MOUNT_ATTR_RDONLY, new_filesystem
from cellhold.storage.image_file import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def upper(directory: Path, *, container: str, number: int = 0) -> Iterator[Path]:
    """Return the directory with what the container has written.

    directory: its storage's; number: of the overlay, 0 is the root's.

    Raises NotSupported, with the container's name.
    """
    place = f"{number}/upper"
    if (directory / place).is_dir():
        yield directory / place
        return
    device = loop.device_of(directory / IMAGE)
    if device is None:
        raise NotSupported(
            f"cannot read what container {container} has written: its layer is in memory, or it does not run",
            hint="storage=disk (the default) can be read while the container runs",
        )
    mount = new_filesystem("ext4", {}, attributes=MOUNT_ATTR_RDONLY, source=device)  # mounted once more
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{mount}/{place}")  # for a process that we start
    finally:
        os.close(mount)
