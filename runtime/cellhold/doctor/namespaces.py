"""The eight kinds of namespace (namespaces(7)), each really made."""

from __future__ import annotations

from cellhold.doctor.feature import Feature
from cellhold.doctor.trial import trial

_GIVES = {
    "user": "ids of its own, so that its root is nobody on the host",
    "pid": "process ids of its own",
    "mount": "mounts of its own",
    "net": "network interfaces of its own",
    "uts": "a host name of its own",
    "ipc": "System V objects and message queues of its own",
    "cgroup": "a view of the control groups of its own",
    "time": "clocks of its own since boot",
}
_REMEDY = {
    "user": "set sysctl user.max_user_namespaces above 0; on Ubuntu also kernel.apparmor_restrict_unprivileged_userns=0",
    "time": "use a kernel with CONFIG_TIME_NS (Linux 5.6 or newer)",
}
_USUAL_REMEDY = "run as root, and not inside another container (or in one started with docker run --privileged)"

FEATURES = tuple(
    Feature(
        name=f"{kind}-namespace",
        can=f"give a container {gives}",
        attempt=trial("namespace", kind),
        needed=kind != "time",
        remedy=_REMEDY.get(kind, _USUAL_REMEDY),
    )
    for kind, gives in _GIVES.items()
)
