"""The writable layers of a user who cannot mount: the launcher mounts them.

They are prepared here and mounted in the launcher's user namespace. `request` says what
the launcher has to open; the descriptor that open() returns is only a directory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.storage.directory import DirectoryStorage
from cellhold.storage.tmpfs import TmpfsStorage
from cellhold.store import delete

if TYPE_CHECKING:
    from cellhold.init.plan import Writable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class DelegatedDirectory(DirectoryStorage):
    """A plain directory of the user's."""

    def request(self) -> Writable:
        """Ask for a bind mount."""
        return {"path": os.fspath(self.directory), "options": {}, "pairs": self.overlays}

    def open(self) -> int:
        """Open the directory itself.

        So it can be held, and its work directories emptied, as with a mount.
        """
        return os.open(self.directory, _DIRECTORY)

    def remove(self) -> None:
        """Remove it, including files of subordinate ids."""
        delete.remove(self.directory)


@dataclass(frozen=True, kw_only=True)
class DelegatedTmpfs(TmpfsStorage):
    """A tmpfs that the launcher makes."""

    def request(self) -> Writable:
        """Ask for a new tmpfs."""
        return {"path": None, "options": self.options(), "pairs": self.overlays}

    def open(self) -> int:
        """Open the container's own directory, as the tmpfs does not exist yet."""
        return os.open(self.directory.parent, _DIRECTORY)
