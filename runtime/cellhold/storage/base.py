"""The interface of every kind of writable layer: one directory pair per overlay.

0/upper  0/work      the root file system's changes, and overlayfs' scratch space
1/upper  1/work      those of a second overlay (the `host` image has one per mount)
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.store import durable, tree

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.init.plan import Writable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class Storage(ABC):
    """A container's writable layer: create, open and close repeatedly, remove.

    directory: the layer's own, below the container's; made by create(). overlays: how
    many pairs. owner: uid and gid of their directories, which is what root in the
    container is outside.
    """

    directory: Path
    overlays: int
    owner: int

    @abstractmethod
    def create(self) -> None:
        """Make what is kept on disk; keep what exists already.

        Raises NotSupported, InvalidSpec, OSError.
        """

    @abstractmethod
    def open(self) -> int:
        """Return the pairs as a detached mount: its descriptor, close-on-exec.

        Closing the last one (or the last mount of it) ends it. Raises NotSupported,
        NotAllowed (an image that is open elsewhere), OSError.
        """

    def request(self) -> Writable | None:
        """Return what the launcher has to open in place of open()'s descriptor.

        None: that descriptor is a mount.
        """
        return None

    @abstractmethod
    def describe(self) -> str:
        """Describe it for people: "a sparse ext4 image of 64 MiB"."""

    @abstractmethod
    def used_bytes(self) -> int | None:
        """Return the bytes of the host's disk that it takes.

        None if only a process that has it open can know (statvfs(3) there).
        """

    def settle(self) -> None:
        """Make what create() has made survive a power cut. Raises OSError."""
        durable.sync(self.directory)

    def remove(self) -> None:
        """Remove it and all in it. Raises OSError.

        May be called again, and after create() failed.
        """
        tree.remove(self.directory)

    def prepare_restart(self) -> None:
        """Empty the work directories, between a stop and the next open().

        An overlay mounted `volatile` marks its work directory (incompat/volatile) and
        cannot be mounted on it again: the mark means "data may be missing after a crash
        of the machine", which does not apply to a restart without a crash
        (overlayfs.rst).
        """
        mount = self.open()
        try:
            for number in range(self.overlays):
                work = os.open(f"{number}/work", _DIRECTORY, dir_fd=mount)
                try:
                    tree.empty(work)
                finally:
                    os.close(work)
        finally:
            os.close(mount)


def make_pairs(root: int, *, overlays: int, owner: int) -> None:
    """Make the pairs below the opened directory `root`; keep those that exist.

    No umask changes their modes.
    """
    for number in range(overlays):
        for path in (f"{number}", f"{number}/upper", f"{number}/work"):
            with suppress(FileExistsError):
                os.mkdir(path, 0o755, dir_fd=root)
                fd = os.open(path, _DIRECTORY, dir_fd=root)
                try:
                    if owner != os.geteuid():  # a user's own group may have any number
                        os.fchown(fd, owner, owner)
                    os.fchmod(fd, 0o755)
                finally:
                    os.close(fd)
