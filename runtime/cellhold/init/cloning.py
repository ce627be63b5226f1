"""The clone that becomes PID 1, made as the user who is to own its user namespace.

What the kernel counts per user (inotify instances, queued signals, bytes in message
queues) it counts in a user namespace and, up to the initial one, for the owner of each:
the effective user of its maker (ucounts; user_namespaces(7)). If the launcher owned all
of them, one container could use up what the host's root, and every other container,
have. The owner is therefore an id of the container's own. Nobody outside may be that
user: it would have all capabilities inside (capabilities(7)).
"""

from __future__ import annotations

import os

from cellhold.linux import process


def clone(namespaces: int, *, owner: int, into: int) -> tuple[int, int]:
    """clone3(2) with CLONE_NEW* flags, the user namespace owned by `owner`.

    Returns (pid, pidfd), in the clone (0, -1).

    owner: an id of our own user namespace; the clone keeps it as its effective user
    until it takes another. into: the v2 group's descriptor, or -1. Our capabilities
    stay in effect: leaving root drops them (capabilities(7)), and where making user
    namespaces, or the group, is reserved for root, they decide. Raises OSError.
    """
    ours = os.geteuid()
    if owner == ours:
        return process.clone3(namespaces, cgroup_fd=into)
    capabilities = process.capget()
    pid = -1
    try:
        become(owner)
        process.capset(capabilities)
        pid, pidfd = process.clone3(namespaces, cgroup_fd=into)
    finally:
        if pid != 0:
            become(ours)  # as whom we may: the real user is still that one
    return pid, pidfd


def become(user: int) -> None:
    """Change the effective user, and stay dumpable.

    Otherwise our files in /proc, and the clone's maps, belong to the host's root
    (proc_pid(5)).
    """
    os.seteuid(user)
    process.prctl(process.PR_SET_DUMPABLE, 1)
