"""A tmpfs: gone with the container, its pages count against the container's memory limit."""

from __future__ import annotations

import os
from dataclasses import dataclass

from cellhold.linux.mount import MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, new_filesystem
from cellhold.rootfs import tmpfs
from cellhold.spec import units
from cellhold.storage.base import Storage, make_pairs


@dataclass(frozen=True, kw_only=True)
class TmpfsStorage(Storage):
    """limit_bytes: None = half of the host's memory."""

    limit_bytes: int | None

    def create(self) -> None:
        """Nothing is kept on disk."""

    def settle(self) -> None:
        """Nothing of it does."""

    def options(self) -> dict[str, str | None]:
        """The options of mount(8)."""
        size = self.limit_bytes or tmpfs.host_bytes() // 2
        return {"mode": "755", **tmpfs.options(size, bytes_per_file=tmpfs.BYTES_PER_FILE_OF_LAYER)}

    def open(self) -> int:
        """Mount a new, empty one each time."""
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
        """Only a process that has it open could tell."""

    def prepare_restart(self) -> None:
        """The next one is new."""
