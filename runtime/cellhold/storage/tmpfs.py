"""A tmpfs: it ends with the container; its pages count against the memory limit."""

from __future__ import annotations

import os
from dataclasses import dataclass

from cellhold.linux.mount import MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, new_filesystem
from cellhold.rootfs import tmpfs
from cellhold.spec import units
from cellhold.storage.base import Storage, make_pairs


@dataclass(frozen=True, kw_only=True)
class TmpfsStorage(Storage):
    """A writable layer in memory. limit_bytes: None = half of the host's memory."""

    limit_bytes: int | None

    def create(self) -> None:
        """Do nothing: nothing is kept on disk."""

    def settle(self) -> None:
        """Do nothing: a tmpfs does not survive a power cut."""

    def options(self) -> dict[str, str | None]:
        """Return the options of mount(8)."""
        size = self.limit_bytes or tmpfs.host_bytes() // 2
        return {"mode": "755", **tmpfs.options(size, bytes_per_file=tmpfs.BYTES_PER_FILE_OF_LAYER)}

    def open(self) -> int:
        """Mount a new, empty tmpfs each time."""
        mount = new_filesystem("tmpfs", self.options(), attributes=MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME)
        try:
            make_pairs(mount, overlays=self.overlays, owner=self.owner)
        except BaseException:
            os.close(mount)
            raise
        return mount

    def describe(self) -> str:
        """Say its size."""
        return "a tmpfs, at most half of the host's memory" if self.limit_bytes is None else f"a tmpfs of {units.size(self.limit_bytes)}"

    def used_bytes(self) -> None:
        """Return None: only a process that has it open can know."""

    def prepare_restart(self) -> None:
        """Do nothing: the next tmpfs is new."""
