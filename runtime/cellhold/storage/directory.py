"""A plain directory: the fastest kind, without a limit of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cellhold.linux.mount import AT_FDCWD, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, mount_setattr, open_tree
from cellhold.storage.base import Storage, make_pairs
from cellhold.store import tree


@dataclass(frozen=True, kw_only=True)
class DirectoryStorage(Storage):
    """The pairs lie in `directory` itself."""

    def create(self) -> None:
        """Make the directory (0711) and the pairs.

        PID 1, which is nobody on the host, passes through it; no one else can, as its
        parents are 0700.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        root = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(root, 0o711)
            make_pairs(root, overlays=self.overlays, owner=self.owner)
        finally:
            os.close(root)

    def open(self) -> int:
        """Return a detached bind mount of the directory."""
        mount = open_tree(AT_FDCWD, os.fspath(self.directory))
        try:
            mount_setattr(mount, attr_set=MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
        except BaseException:
            os.close(mount)
            raise
        return mount

    def describe(self) -> str:
        """Say which file system it is on."""
        return f"a directory on {_filesystem(self.directory)}, no size limit"

    def used_bytes(self) -> int:
        """Count every file: a fraction of a second for 100 000 of them."""
        return tree.used_bytes(self.directory)


def _filesystem(path: Path) -> str:
    """Return the type of the file system that `path` is on: "ext4"."""
    try:
        return _type_of(path.stat().st_dev)
    except FileNotFoundError:
        return "disk"


@cache
def _type_of(device: int) -> str:
    """Return the type of a mounted device (proc_pid_mountinfo(5)).

    Cached: the table can be long.
    """
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        if left.split()[2] == wanted:
            return right.split()[0]
    return "disk"  # btrfs: a subvolume's device number is in no list
