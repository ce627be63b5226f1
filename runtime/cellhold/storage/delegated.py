"""The writable layers of somebody who can mount nothing: prepared here, mounted by the launcher in its user namespace.

As `request` it says what the launcher has to open; the descriptor that open() gives is only a directory.
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
        """To be bound."""
        return {"path": os.fspath(self.directory), "options": {}, "pairs": self.overlays}

    def open(self) -> int:
        """The directory itself, so that two things work as with a mount: to hold it, and to empty its work directories."""
        return os.open(self.directory, _DIRECTORY)

    def remove(self) -> None:
        """Remove it, files of subordinate ids as well."""
        delete.remove(self.directory)


@dataclass(frozen=True, kw_only=True)
class DelegatedTmpfs(TmpfsStorage):
    """A tmpfs of the launcher's making."""

    def request(self) -> Writable:
        """To be made."""
        return {"path": None, "options": self.options(), "pairs": self.overlays}

    def open(self) -> int:
        """There is nothing to hold before it is made; the container's own directory stands for it."""
        return os.open(self.directory.parent, _DIRECTORY)
