"""The caller and the kernel: root, capabilities, resource limits, subordinate ids."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

from cellhold.doctor.feature import Feature, MissingError
from cellhold.doctor.trial import trial
from cellhold.store import subids

_OLDEST = (5, 19)  # overlayfs takes idmapped lower layers since then
_CAP_SYS_RESOURCE = 24
_HOSTED = "run as root (sudo); without root, as in a hosted notebook, the notebooks explain what they would show"


def _kernel() -> str:
    release = os.uname().release
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < _OLDEST:
        raise MissingError(f"it is Linux {release}, older than {_OLDEST[0]}.{_OLDEST[1]}")
    return release


def _root() -> str:
    if os.geteuid() != 0:
        raise MissingError(f"it runs as uid {os.geteuid()}")
    if subids.is_confined():
        raise MissingError("root is confined here: it has no CAP_SYS_ADMIN, as in a container")
    if Path("/proc/self/uid_map").read_text(encoding="ascii").split() != ["0", "0", str((1 << 32) - 1)]:
        raise MissingError("root is confined here: it is root of a user namespace, as in a rootless container")
    return ""


def _effective() -> int:
    match = re.search(r"^CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
    return int(match[1], 16) if match else 0


def _raise_limits() -> str:
    if not _effective() >> _CAP_SYS_RESOURCE & 1:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        raise MissingError(f"no CAP_SYS_RESOURCE; larger ones are cut to nofile={files}, nproc={processes}")
    return ""


def _rootless() -> str:
    trial("rootless")()
    return f"{subids.delegation().ids.describe()}" if subids.is_rootless() else ""


def _subordinate_ids() -> str:
    found = subids.helpers()
    if found is None:
        raise MissingError("newuidmap and newgidmap are not installed")
    if not subids.is_rootless():
        return f"{found[0]}; each user needs a range in /etc/subuid and /etc/subgid"
    for path in (subids.SUBUID, subids.SUBGID):
        if not subids.granted(path, os.geteuid()):
            raise MissingError(f"{path} has no range for {subids.user_name(os.geteuid())}; the container's only user is its root")
    return ""


FEATURES = (
    Feature(
        name="kernel",
        can="be relied on for what containers need of a kernel",
        attempt=_kernel,
        needed=True,
        remedy="use Linux 5.19 or newer",
    ),
    Feature(name="root", can="act as root of this machine", attempt=_root, needed=not subids.is_rootless(), remedy=_HOSTED),
    Feature(
        name="rlimits",
        can="raise resource limits (ulimit) above the caller's",
        attempt=_raise_limits,
        remedy="start it from a process with higher limits and CAP_SYS_RESOURCE",
    ),
    Feature(
        name="rootless",
        can="run containers without root",
        attempt=_rootless,
        needed=subids.is_rootless(),
        remedy="set sysctl user.max_user_namespaces above 0, and where they are kernel.unprivileged_userns_clone=1 (Debian) and "
        "kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu)",
    ),
    Feature(
        name="subordinate-ids",
        can="give a container without root more than one user",
        attempt=_subordinate_ids,
        remedy=subids.REMEDY.format(user=subids.user_name(os.geteuid()) if subids.is_rootless() else "USER"),
    ),
)
