"""Limits as writes to cgroup v1 files (Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cellhold.cgroups import block, counters, devices, processors, refusals
from cellhold.cgroups.writes import Write
from cellhold.spec.limits import SHARES_DEFAULT
from cellhold.spec.units import size

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from cellhold.spec.limits import IoLimit, Limits

PERIOD = 100_000  # microseconds; the kernel's default, so it need not be written
THROTTLES = {
    "read_bps": "blkio.throttle.read_bps_device",
    "write_bps": "blkio.throttle.write_bps_device",
    "read_iops": "blkio.throttle.read_iops_device",
    "write_iops": "blkio.throttle.write_iops_device",
}


def _number(device: devices.Device) -> str:
    return f"{device.major}:{'*' if device.minor is None else device.minor}"


def _allowed(device: devices.Device) -> Write:
    return Write("devices", "devices.allow", f"{device.kind} {_number(device)} {device.access}m", "devices", device.name)


# devices.py's rule as text (m: make a node). Only for a new group: deny "a" asks for no
# children.
DEVICES = (
    Write("devices", "devices.deny", "a", "devices"),
    *(Write("devices", "devices.allow", f"{kind} *:* m", "devices", "mknod") for kind in "bc"),
    *map(_allowed, devices.ALLOWED),
)


class Group(NamedTuple):
    """What a part of the plan may look at.

    read(controller, file): what the group's file says now. is_living: whether it had
    limits before; a new group has none, so None needs no write there. more: devices of
    a new group beside those that all have.
    """

    read: Callable[[str, str], str | None]
    is_living: bool = False
    more: tuple[devices.Device, ...] = ()


def plan(limits: Limits, controllers: Collection[str], group: Group) -> list[Write]:
    """Plan every write, for the limits whose controller is in `controllers`.

    A table of devices comes last.

    Raises InvalidSpec and NotSupported for what the kernel would refuse or ignore.
    """
    return [write for controller, part in PARTS if controller in controllers for write in part(limits, group)]


def _cpuset(limits: Limits, group: Group) -> list[Write]:
    """Plan the processors; None = all that the parent has: v1 takes no empty list."""
    allowed = group.read("cpuset", "../cpuset.cpus") or ""
    if limits.cpuset is None:
        return [Write("cpuset", "cpuset.cpus", allowed, "cpuset=unlimited", "no limit")]
    processors.check(limits.cpuset, allowed)
    return [Write("cpuset", "cpuset.cpus", limits.cpuset, f"cpuset={limits.cpuset}")]


def memory_and_swap(limits: Limits) -> int:
    """Return memory.memsw.limit_in_bytes: memory plus swap in bytes; -1 = no limit."""
    if limits.memory_bytes is None:
        return -1
    return limits.memory_bytes if limits.memory_swap_bytes is None else limits.memory_swap_bytes


def _memory(limits: Limits, group: Group) -> list[Write]:
    if limits.memory_bytes is None and not group.is_living:
        return []
    present = group.read("memory", "memory.memsw.limit_in_bytes")
    return memory(limits, swap=present is not None, present_swap=counters.number(present) if group.is_living else None)


def _reservation(limits: Limits, _group: Group) -> list[Write]:
    if limits.reservation_bytes is None:
        return []
    text = size(limits.reservation_bytes)
    return [Write("memory", "memory.soft_limit_in_bytes", str(limits.reservation_bytes), f"memory-reservation={text}", text)]


def memory(limits: Limits, *, swap: bool, present_swap: int | None = None) -> list[Write]:
    """Plan the two memory limits in an order that the kernel accepts.

    Memory may at no time be above memory plus swap (EINVAL).

    swap: whether memory.memsw.* exists. present_swap: its bytes now; None for a new
    group, which has no limit. Raises NotSupported for an explicit memory-swap if swap
    is not counted.
    """
    total = memory_and_swap(limits)
    bound = -1 if limits.memory_bytes is None else limits.memory_bytes
    text = "memory=unlimited" if bound < 0 else f"memory={size(bound)}"
    writes = [Write("memory", "memory.limit_in_bytes", str(bound), text, "no limit" if bound < 0 else size(bound))]
    if not swap:
        if limits.memory_swap_bytes not in (None, -1):
            raise refusals.no_swap_accounting(limits)
        return writes
    both = Write("memory", "memory.memsw.limit_in_bytes", str(total), text, "no limit" if total < 0 else f"{size(total)} with swap")
    raising = present_swap is not None and (total < 0 or total > present_swap)
    return [both, *writes] if raising else [*writes, both]


def _cpu(limits: Limits, group: Group) -> list[Write]:
    """Plan the quota per PERIOD that the group may run; -1 = no limit."""
    if limits.cpus is None:
        return [Write("cpu", "cpu.cfs_quota_us", "-1", "cpus=unlimited", "no limit")] if group.is_living else []
    quota = str(round(limits.cpus * PERIOD))
    return [Write("cpu", "cpu.cfs_quota_us", quota, f"cpus={limits.cpus:g}", f"{limits.cpus:g} processors")]


def _shares(limits: Limits, group: Group) -> list[Write]:
    """Plan the weight of its processor time."""
    if limits.cpu_shares is None and not group.is_living:
        return []
    shares = str(limits.cpu_shares or SHARES_DEFAULT)
    return [Write("cpu", "cpu.shares", shares, f"cpu-shares={shares}")]


def _pids(limits: Limits, group: Group) -> list[Write]:
    """Plan the number of processes and threads."""
    if limits.pids is None and not group.is_living:
        return []
    value = "max" if limits.pids is None else str(limits.pids)
    return [Write("pids", "pids.max", value, f"pids={value}")]


def _devices(_limits: Limits, group: Group) -> list[Write]:
    return [] if group.is_living else [*DEVICES, *map(_allowed, group.more)]


def _io(limits: Limits, group: Group) -> list[Write]:
    tables = [group.read("io", file) or "" for file in THROTTLES.values()] if group.is_living else []
    return io(block.resolve(limits.io), present={line.split()[0] for table in tables for line in table.splitlines()})


def io(devices: Mapping[str, IoLimit], *, present: Collection[str] = ()) -> list[Write]:
    """Plan one write per device and rate.

    present: devices that have limits now, removed if the new limits do not name them (0
    = none).
    """
    writes = []
    for number in sorted({*devices, *present}):
        limit = devices.get(number)
        for rate, file in THROTTLES.items():
            value = getattr(limit, rate, None)
            if value is not None or number in present:
                writes.append(Write("io", file, f"{number} {value or 0}", f"io on {limit.device if limit else number}"))
    return writes


PARTS: tuple[tuple[str, Callable[[Limits, Group], list[Write]]], ...] = (  # in the order of the writes: tables of devices last
    ("cpuset", _cpuset),
    ("memory", _memory),
    ("memory", _reservation),
    ("cpu", _cpu),
    ("cpu", _shares),
    ("pids", _pids),
    ("devices", _devices),
    ("io", _io),
)
