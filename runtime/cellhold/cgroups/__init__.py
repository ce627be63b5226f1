"""Control groups: a container's limits, its usage, and a handle on its processes.

create() is the one place that knows of cgroup versions; the rest of Cellhold has a
`Cgroup` (base.py). Groups lie in `cellhold/<name>` (places.py); the `cellhold`
directory itself stays, which saves the next container making it. Entering a group is
not done here: `join()` hands out what the new process needs for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cellhold.cgroups import files, places
from cellhold.cgroups.base import Cgroup, Join, View
from cellhold.cgroups.files import Kept
from cellhold.cgroups.hierarchies import MOUNTINFO, ROOT, detect
from cellhold.cgroups.hybrid import Hybrid
from cellhold.cgroups.v1 import V1
from cellhold.cgroups.v2 import V2
from cellhold.errors import InvalidSpec, NotAllowed, NotSupported

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.cgroups.devices import Device
    from cellhold.cgroups.hierarchies import Hierarchies
    from cellhold.spec.limits import Limits

__all__ = ["Cgroup", "Join", "Kept", "View", "available", "create", "existing", "leftovers", "remove_leftover"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)


def create(  # noqa: PLR0913  # where the groups lie is given by tests alone
    name: str,
    limits: Limits,
    *,
    devices: tuple[Device, ...] = (),
    root: Path = ROOT,
    parent: str | None = None,
    mountinfo: Path = MOUNTINFO,
) -> Cgroup:
    """Make the group `parent/name` with its limits set and no process in it.

    It is made in whatever cgroup versions this host has.

    devices: that it may use beside the harmless ones. parent: below the mounts; None:
    where this user's groups lie. Raises NotSupported (no cgroups, no permission to make
    any, or a limit that this host cannot enforce), InvalidSpec (a value that it cannot
    enforce) and SetupFailed (the name is taken); nothing is left then.
    """
    path = _path(name, parent)
    found = detect(root, mountinfo)
    if found.unified and found.v1:
        return Hybrid.create(path, limits, found, devices)
    if found.unified:
        return V2.create(path, limits, found.unified, name=found.unified_name, more=devices)
    if found.v1:
        return V1.create(path, limits, found.v1, devices)
    raise NotSupported(f"cannot make cgroup {path}: no cgroup is mounted on {root}", hint="mount -t cgroup2 cgroup2 /sys/fs/cgroup")


def existing(name: str, *, root: Path = ROOT, parent: str | None = None, mountinfo: Path = MOUNTINFO) -> Cgroup:
    """Open the group that another process made. Raises NotAllowed if there is none.

    For a command that pauses, updates, kills or removes a running container.
    """
    path = _path(name, parent)
    if name not in leftovers(root=root, parent=parent, mountinfo=mountinfo):
        raise NotAllowed(f"cannot open cgroup {path}: it is gone")
    found = detect(root, mountinfo)
    if found.unified and found.v1:
        return Hybrid.open(path, found)
    return V2.open(path, found.unified, name=found.unified_name) if found.unified else V1.open(path, found.v1)


def leftovers(*, root: Path = ROOT, parent: str | None = None, mountinfo: Path = MOUNTINFO) -> tuple[str, ...]:
    """Return the names of all groups in `parent`, in any hierarchy.

    Which of them are alive is for the caller to know.
    """
    parent = places.parent() if parent is None else parent
    return tuple(sorted({name for mount in _mounts(detect(root, mountinfo)) for name in files.children(f"{mount}/{parent}")}))


def remove_leftover(name: str, *, root: Path = ROOT, parent: str | None = None, mountinfo: Path = MOUNTINFO) -> None:
    """Kill all processes in a group, frozen or not, and remove it.

    A group that is gone already is not an error. Raises NotAllowed if a process
    survives SIGKILL for some seconds (it waits for a disk, for example).
    """
    try:
        group = existing(name, root=root, parent=parent, mountinfo=mountinfo)
    except NotAllowed:
        return
    group.kill()
    group.thaw()
    group.remove()


def available(*, root: Path = ROOT, mountinfo: Path = MOUNTINFO) -> dict[str, str]:
    """Return controller -> "v1" or "v2", for doctor and the tests.

    v1's blkio is "io"; "freezer" is part of v2 itself (Linux 5.2). In the hybrid layout
    only those v2 controllers count that the root passes on already: Cellhold does not
    change that there. An ordinary user has the controllers of the delegated group.
    """
    found = detect(root, mountinfo)
    offered = ""
    if found.unified:
        top = f"{found.unified}/{places.parent().rpartition('/')[0]}"
        offered = files.read(f"{top}/{'cgroup.subtree_control' if found.v1 else 'cgroup.controllers'}") or ""
    v2 = [*offered.split(), *(["freezer"] if found.unified else [])]
    return {**dict.fromkeys(v2, "v2"), **dict.fromkeys(found.v1, "v1")}


def _path(name: str, parent: str | None) -> str:
    """Return the group's path below a mount.

    The name is checked, because it may come from a user.
    """
    if not _NAME.fullmatch(name):
        raise InvalidSpec(f"cannot use cgroup name {name!r}: letters, digits, '_', '.' and '-', beginning with a letter or digit")
    return f"{(places.parent() if parent is None else parent).strip('/')}/{name}".lstrip("/")


def _mounts(found: Hierarchies) -> set[str]:
    """Return every cgroup mount."""
    return {hierarchy.mount for hierarchy in found.v1.values()} | ({found.unified} if found.unified else set())
