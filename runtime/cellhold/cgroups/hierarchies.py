"""Where this host has its cgroups, read from /proc/self/mountinfo.

See proc_pid_mountinfo(5).

    v1       /sys/fs/cgroup/memory, /sys/fs/cgroup/cpu,cpuacct ...
             one tree per controller or group of controllers
    v2       /sys/fs/cgroup
             one tree
    hybrid   /sys/fs/cgroup/memory ..., /sys/fs/cgroup/unified
             both; each controller is in one of them only

Controllers go by their v2 names: v1's blkio is "io".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path("/sys/fs/cgroup")
MOUNTINFO = Path("/proc/self/mountinfo")
_V1 = frozenset(
    "blkio cpu cpuacct cpuset debug devices freezer hugetlb memory misc net_cls net_prio perf_event pids rdma".split()  # a line of names
)
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, kw_only=True)
class Hierarchy:
    """One v1 mount: its directory, that directory's name, and its controllers.

    The name is below the root; the controllers are a mount option ("cpu,cpuacct").
    """

    mount: str
    name: str
    option: str


@dataclass(frozen=True, kw_only=True)
class Hierarchies:
    """All cgroup mounts of this host.

    v1: controller -> its mount. unified: the v2 mount, and its name below the root (""
    at the root itself); None = no v2.
    """

    v1: Mapping[str, Hierarchy] = field(default_factory=dict)
    unified: str | None = None
    unified_name: str = ""

    @property
    def layout(self) -> str:
        """One of "v1", "v2", "hybrid", "" (none).

        It is hybrid also if the v2 tree has no controller: systemd alone may use it.
        """
        if self.v1 and self.unified is not None:
            return "hybrid"
        return "v1" if self.v1 else "v2" if self.unified is not None else ""


@lru_cache(maxsize=8)
def detect(root: Path, mountinfo: Path) -> Hierarchies:
    """Return what is mounted below `root`; cached.

    Nobody remounts cgroups under a running system, and mountinfo can be long.
    """
    return parse(mountinfo.read_text(), root=str(root))


def parse(text: str, *, root: str) -> Hierarchies:
    """Return the hierarchies below `root` in the text of a mountinfo file.

    If two lie on one directory, the later hides the earlier.
    """
    found: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        place, _, kind = line.partition(" - ")
        fstype, _, options = kind.split(" ", 2)
        mount = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), place.split(" ")[4])
        if fstype in ("cgroup", "cgroup2") and (mount == root or mount.startswith(f"{root}/")):
            found[mount] = fstype, options
    v1: dict[str, Hierarchy] = {}
    unified = None
    for mount, (fstype, options) in found.items():
        if fstype == "cgroup2":
            unified = mount if unified is None or len(mount) < len(unified) else unified
            continue
        controllers = [option for option in options.split(",") if option in _V1]
        hierarchy = Hierarchy(mount=mount, name=mount[len(root) + 1 :], option=",".join(controllers))
        for controller in controllers:
            v1.setdefault("io" if controller == "blkio" else controller, hierarchy)
    return Hierarchies(v1=v1, unified=unified, unified_name="" if unified is None else unified[len(root) + 1 :])
