"""Open a directory that the policy lists, from the root down, name by name.

A link on the way is the administrator's, and is followed; but not where a notebook can
write: in the notebook's own folder, and in what the policy lists as writable. There a
cell may have put the link in place of what was listed.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from cellhold.linux import hostpath
from cellhold.linux.hostpath import HostPath
from cellhold_kernel.settings.ancestry import upwards

if TYPE_CHECKING:
    from collections.abc import Collection

    from cellhold.linux.hostpath import Identity

_MOST_LINKS = 40  # as the kernel (path_resolution(7))
_ENTRY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def opened(path: str, writable: Collection[Identity]) -> HostPath:
    """Open what is at an absolute path. Raises OSError.

    writable: the directories below which no link is followed.
    """
    here, left, links = hostpath.opened("/"), _names(path), 0
    while left:
        name = left.pop()
        entry = HostPath(os.open(name, _ENTRY, dir_fd=here.fileno()), path)
        if not stat.S_ISLNK(entry.status.st_mode):
            here = entry
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if any(above.identity in writable for above in upwards(here)):
            raise OSError(errno.ELOOP, "a symbolic link is on the way")
        target = os.readlink("", dir_fd=entry.fileno())
        here = hostpath.opened("/") if target.startswith("/") else here
        left += _names(target)
    return here


def _names(path: str) -> list[str]:
    """Return the components of a path, last first."""
    return [name for name in path.split("/")[::-1] if name]
