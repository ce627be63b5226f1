"""Why a limit is refused: a sentence with the refused value, and what to try."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, InvalidSpec, NotSupported, SetupFailed
from cellhold.spec.fields import FIELDS
from cellhold.spec.units import size

if TYPE_CHECKING:
    from collections.abc import Collection

    from cellhold.spec.limits import Limits

_REMEDIES = {
    "memory": "boot the host with cgroup_enable=memory",
    "cpu": "the host's kernel needs CONFIG_CFS_BANDWIDTH",
    "cpuset": "the host's kernel needs CONFIG_CPUSETS",
    "pids": "the host's kernel needs CONFIG_CGROUP_PIDS",
    "io": "the host's kernel needs CONFIG_BLK_DEV_THROTTLING",
}
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def requested(limits: Limits) -> dict[str, str]:
    """Return controller -> the first limit that needs it, as people write it.

    pids at its default is a courtesy, not a request.
    """
    wanted: dict[str, str] = {}
    for field in FIELDS:
        if field.controller and field.is_requested(limits):
            wanted.setdefault(field.controller, field.assignment(field.value(limits)))
    return wanted


def require(limits: Limits, have: Collection[str]) -> None:
    """Raise NotSupported for the first limit without a controller that we may use."""
    for controller, limit in requested(limits).items():
        if controller not in have:
            raise NotSupported(
                f"cannot enforce {limit}: the cgroup controller {controller!r} is not available",
                hint=f"leave that limit out; or: {_REMEDIES[controller]}, and on cgroup v2 have it passed on to Cellhold's parent group "
                f"(cgroup.subtree_control; systemd: Delegate={controller})",
            )


def check_processors(limits: Limits) -> None:
    """Raise InvalidSpec for more processors than the host has, as Docker does.

    No kernel could provide them.
    """
    have = os.cpu_count()
    if limits.cpus is not None and have is not None and limits.cpus > have:
        there = "there is only 1 processor" if have == 1 else f"there are only {have} processors"
        raise InvalidSpec(
            f"cannot use cpus={limits.cpus:g}: {there}", hint=f"cpus={have} is all that this host has, and does not limit anything"
        )


def no_swap_accounting(limits: Limits) -> NotSupported:
    """Return the error for memory-swap on a kernel that does not count swap."""
    return NotSupported(
        f"cannot enforce memory-swap={size(limits.memory_swap_bytes or 0)}: this kernel does not count swap by cgroup",
        hint="leave memory-swap out, or boot the host with swapaccount=1",
    )


def below_use(limit_bytes: int, used_bytes: int) -> InvalidSpec:
    """Return the error for a memory limit below what the kernel cannot take back."""
    return InvalidSpec(
        f"cannot use memory={size(limit_bytes)}: the container holds {size(used_bytes)} now, page cache not counted",
        hint=f"ask for more than {size(used_bytes)}, or free memory in the container first",
    )


def by_kernel(limit: str, file: str, value: str, error: OSError) -> CellholdError:
    """Return the error for a refused write to a limit's file."""
    if error.errno in _NOT_OURS:
        return not_ours(f"set {file} = {value}", error)
    return InvalidSpec(f"cannot use {limit}: the kernel refuses {file} = {value} ({os.strerror(error.errno or 0)})")


def not_made(path: str, error: OSError) -> CellholdError:
    """Return the error for a failed mkdir of a group."""
    if error.errno == errno.EEXIST:
        return SetupFailed(
            f"cannot make cgroup {path}: it is there already",
            step="cgroup.create",
            errno=errno.EEXIST,
            hint="a container of that name runs, or a crash left it: cellhold's next command sweeps those",
        )
    if error.errno in _NOT_OURS:
        return not_ours(f"make cgroup {path}", error)
    return SetupFailed(f"cannot make cgroup {path}: {error.strerror}", step="cgroup.create", errno=error.errno or 0)


def gone(path: str) -> CellholdError:
    """Return the error for a group that cannot be paused since all of it has ended."""
    return CellholdError(f"cannot pause {path}: it has just ended")


def not_ours(what: str, error: OSError) -> NotSupported:
    """Return the error for a cgroup tree that is not ours, or read-only."""
    return NotSupported(
        f"cannot {what}: {error.strerror}",
        hint="run as root, or on cgroup v2 in a group delegated to you (systemd-run --user --scope -p Delegate=yes ...)",
    )
