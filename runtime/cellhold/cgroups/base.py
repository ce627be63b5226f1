"""The interface of every kind of cgroup.

`create()` in the package chooses one; nothing else asks which it is.

Called by container.py: create() before the program starts, `join` while it starts,
usage() and freeze() as long as it lives, remove() when every process is gone. The
out-of-memory count is read from usage() before remove(): it goes with the group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cellhold.cgroups import files

if TYPE_CHECKING:
    from cellhold.spec.limits import Limits
    from cellhold.spec.usage import Usage


@dataclass(frozen=True, kw_only=True)
class Join:
    """How a new process enters a group without waiting for an RCU grace period.

    Writing a pid to cgroup.procs would take 4-16 ms.

    tasks: v1 `tasks` files, open for writing: the process itself writes "0" to each
    (the opener's credentials count). into: a v2 directory's descriptor for
    clone3(CLONE_INTO_CGROUP), or -1. The receiver closes none of them: `close()` does.
    """

    tasks: tuple[int, ...] = ()
    into: int = -1


@dataclass(frozen=True, kw_only=True)
class View:
    """A cgroup file system to mount read-only below the container's /sys/fs/cgroup.

    directory: where below it; "" = at /sys/fs/cgroup itself.
    """

    fstype: str  # "cgroup" or "cgroup2"
    option: str  # v1: the controllers' mount option ("memory", "cpu,cpuacct"); v2: ""
    directory: str


class Cgroup(Protocol):
    """A group with its limits set and no process in it yet."""

    def join(self) -> Join:
        """Open what a process needs to enter; the caller closes the descriptors."""

    def views(self) -> tuple[View, ...]:
        """Return the file systems that show the container its own limits."""

    def update(self, limits: Limits) -> None:
        """Set new limits on the living group.

        Raises NotSupported (no controller) or InvalidSpec (memory below present use).
        """

    def usage(self, read: files.Read = files.read) -> Usage:
        """Read the counters.

        read: Kept().read for a caller that reads them repeatedly.
        """

    def freeze(self) -> None:
        """Stop every process of the group; return when all are stopped."""

    def thaw(self) -> None:
        """Let the processes continue."""

    def is_frozen(self) -> bool:
        """Return whether all processes are frozen."""

    def kill(self) -> None:
        """Send SIGKILL to every process of the group, including frozen ones."""

    def remove(self) -> None:
        """Remove the group; no process may be left in it.

        Removing it twice is not an error.
        """

    def describe(self) -> tuple[str, ...]:
        """Return the writes that made it, for `--trace`.

        For example "memory/cellhold/ab12/memory.limit_in_bytes = 67108864 (64 MiB)".
        """
