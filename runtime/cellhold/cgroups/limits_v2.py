"""Limits as writes to cgroup v2 files (Documentation/admin-guide/cgroup-v2.rst).

v2 has no devices controller: which device nodes a container may open is told by a BPF program (devices.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.cgroups import block, processors, refusals
from cellhold.cgroups.writes import Write
from cellhold.spec.units import size

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from cellhold.spec.limits import IoLimit, Limits

PERIOD = 100_000  # microseconds, the kernel's default
_RATES = {"read_bps": "rbps", "write_bps": "wbps", "read_iops": "riops", "write_iops": "wiops"}


def plan(limits: Limits, controllers: Collection[str], read: Callable[[str], str | None], *, living: bool = False) -> list[Write]:
    """Every write, for the limits whose controller is in `controllers`; a table of devices comes last.

    read(file): what the group's file says now. living: whether it had limits before; a new group has none, so None needs no
    write there. Raises InvalidSpec and NotSupported for what the kernel would refuse or ignore.
    """
    writes: list[Write] = []
    if "cpuset" in controllers and (living or limits.cpuset is not None):
        writes.append(cpuset(limits, allowed=read("../cpuset.cpus.effective") or ""))
    if "memory" in controllers and (living or limits.memory_bytes is not None):
        writes += memory(limits, swap=read("memory.swap.max") is not None)
    if "memory" in controllers and limits.reservation_bytes is not None:
        text = size(limits.reservation_bytes)
        writes.append(Write("memory", "memory.low", str(limits.reservation_bytes), f"memory-reservation={text}", text))
    if "cpu" in controllers and (living or limits.cpus is not None):
        writes.append(cpu(limits))
    if "pids" in controllers and (living or limits.pids is not None):
        writes.append(pids(limits))
    if "io" in controllers and (living or limits.io):
        table = (read("io.max") or "") if living else ""
        writes += io(block.resolve(limits.io), present={line.split()[0] for line in table.splitlines()})
    return writes


def cpuset(limits: Limits, *, allowed: str) -> Write:
    """The processors; "" = all that the parent group has."""
    if limits.cpuset is None:
        return Write("cpuset", "cpuset.cpus", "", "cpuset=unlimited", "no limit")
    processors.check(limits.cpuset, allowed)
    return Write("cpuset", "cpuset.cpus", limits.cpuset, f"cpuset={limits.cpuset}")


def memory(limits: Limits, *, swap: bool) -> list[Write]:
    """memory.max, and memory.swap.max where it exists (`swap`): v2 counts swap apart from memory, docker's value is their sum.

    Raises NotSupported for an explicit memory-swap where swap is not counted.
    """
    if limits.memory_bytes is None:
        writes = [Write("memory", "memory.max", "max", "memory=unlimited")]
        return [*writes, Write("memory", "memory.swap.max", "max", "memory=unlimited")] if swap else writes
    text = f"memory={size(limits.memory_bytes)}"
    writes = [Write("memory", "memory.max", str(limits.memory_bytes), text, size(limits.memory_bytes))]
    if swap:
        extra = 0 if limits.memory_swap_bytes is None else limits.memory_swap_bytes - limits.memory_bytes
        value = "max" if limits.memory_swap_bytes == -1 else str(extra)
        writes.append(Write("memory", "memory.swap.max", value, text, "" if value in ("0", "max") else size(extra)))
    elif limits.memory_swap_bytes not in (None, -1):
        raise refusals.no_swap_accounting(limits)
    return writes


def cpu(limits: Limits) -> Write:
    """Quota and period in microseconds."""
    if limits.cpus is None:
        return Write("cpu", "cpu.max", f"max {PERIOD}", "cpus=unlimited")
    return Write("cpu", "cpu.max", f"{round(limits.cpus * PERIOD)} {PERIOD}", f"cpus={limits.cpus:g}", f"{limits.cpus:g} processors")


def pids(limits: Limits) -> Write:
    """Processes and threads."""
    value = "max" if limits.pids is None else str(limits.pids)
    return Write("pids", "pids.max", value, f"pids={value}")


def io(devices: Mapping[str, IoLimit], *, present: Collection[str] = ()) -> list[Write]:
    """A line a device. present: devices that have limits now; what the new limits do not name is taken off."""
    writes = []
    for number in sorted({*devices, *present}):
        limit = devices.get(number)
        rates = " ".join(f"{key}={getattr(limit, rate, None) or 'max'}" for rate, key in _RATES.items())
        writes.append(Write("io", "io.max", f"{number} {rates}", f"io on {limit.device if limit else number}"))
    return writes
