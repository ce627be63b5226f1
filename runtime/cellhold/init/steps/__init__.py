"""What a container is made of: the steps of the launcher and of PID 1, in order.

launch.py     the launcher: clone PID 1, map its ids, open what it gets of the host
root.py       PID 1: the layers become its root; what all of its steps work on
mounts.py     PID 1: file systems, cgroups, files, volumes, and what is hidden
isolation.py  PID 1: groups, ids, namespaces, network, capabilities, the seccomp filter
program.py    PID 1's child: session, user, directory, limits, exec
step.py       what a step is

The steps of PID 1 run in the child of clone3, as root of the new user namespace and
with no privilege on the host. Every module costs each launcher 0.1 to 0.2 ms of its
start, so there are few.
"""

from __future__ import annotations

from cellhold.init.steps import isolation, launch, mounts, program, root

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from cellhold.init.steps.launch import Launch
    from cellhold.init.steps.root import ContainerSetup
    from cellhold.init.steps.step import Step

LAUNCHER_STEPS: tuple[Step[Launch], ...] = (
    launch.CLONE,
    launch.MAP_IDS,
    launch.OPEN_TREES,
)
PID1_STEPS: tuple[Step[ContainerSetup], ...] = (
    isolation.OFFER_NETWORK,
    isolation.JOIN_CGROUPS,
    isolation.BECOME_ROOT,
    isolation.UNSHARE_CGROUP,
    isolation.SET_HOSTNAME,
    root.STAGE,
    root.MOUNT_OVERLAYS,
    mounts.MOUNT_FILESYSTEMS,
    mounts.MOUNT_CGROUPS,
    mounts.BIND_FILES,
    mounts.MOUNT_VOLUMES,
    root.PIVOT,
    isolation.TAKE_SHARES,
    isolation.SET_UP_LOOPBACK,
    mounts.HIDE_PATHS,
    mounts.LOCK_MOUNTS,
    isolation.AWAIT_NETWORK,
    isolation.DROP_PRIVILEGES,
    isolation.FILTER_SYSCALLS,
)
ALL_STEPS: tuple[Step[Any], ...] = (*LAUNCHER_STEPS, *PID1_STEPS, program.EXEC)  # in the order of time
