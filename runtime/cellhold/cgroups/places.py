"""Where Cellhold's groups lie: at the top for root, in the group that was delegated to an ordinary user.

    /sys/fs/cgroup/cellhold/ab12                                                            root
    /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/job.scope/cellhold/ab12     uid 1000, started in job.scope
    /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/job.scope/cellhold-callers  what was right in job.scope

The leaf for the callers is made when the first limit asks for a controller (v2.py). Who starts in it later belongs one level up.
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
    """The group that containers' groups are made in, as a path below a mount; own: this process's cgroups(7) file."""
    return PARENT if _is_root() else f"{delegated(own.read_text(encoding='utf-8'))}/{PARENT}".lstrip("/")


@cache
def _is_root() -> bool:
    """Whether this is root of the machine: an ordinary user is root, too, in the user namespace that its containers are made in."""
    return not subids.is_rootless() and UID_MAP.read_text(encoding="ascii").split() == ["0", "0", str((1 << 32) - 1)]


def delegated(text: str) -> str:
    """The v2 group in the text of /proc/PID/cgroup, without the leaf that Cellhold made in it; "" is the top, or no v2."""
    found = next((line[3:] for line in text.splitlines() if line.startswith("0::")), "")
    return found.removesuffix(f"/{LEAF}").strip("/")
