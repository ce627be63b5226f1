"""Where Cellhold's groups lie: at the top for root, else in the delegated group.

    root                /sys/fs/cgroup/cellhold/ab12
    uid 1000, started   /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/
      in job.scope        job.scope/cellhold/ab12
    what was directly   /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/
      in job.scope        job.scope/cellhold-callers

The leaf for the callers is made when the first limit asks for a controller (v2.py). A
process that starts in it later belongs one level up.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from cellhold.store import subids

PARENT = "cellhold"
LEAF = "cellhold-callers"
OWN = Path("/proc/self/cgroup")
UID_MAP = Path("/proc/self/uid_map")


def parent(*, own: Path = OWN) -> str:
    """Return the group in which containers' groups are made, as a path below a mount.

    own: this process's cgroups(7) file.
    """
    return PARENT if _is_root() else f"{delegated(own.read_text(encoding='utf-8'))}/{PARENT}".lstrip("/")


@cache
def _is_root() -> bool:
    """Return whether this is root of the machine.

    An ordinary user is root, too, in the user namespace that its containers are made
    in.
    """
    return not subids.is_rootless() and UID_MAP.read_text(encoding="ascii").split() == ["0", "0", str((1 << 32) - 1)]


def delegated(text: str) -> str:
    """Return the v2 group in the text of /proc/PID/cgroup.

    The leaf that Cellhold made in it is left out; "" is the top, or no v2.
    """
    found = next((line[3:] for line in text.splitlines() if line.startswith("0::")), "")
    return found.removesuffix(f"/{LEAF}").strip("/")
