"""Limits as writes to cgroup v2 files (Documentation/admin-guide/cgroup-v2.rst).

v2 has no devices controller: a BPF program decides which device nodes a container may
open (devices.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from cellhold.cgroups import block, processors, refusals
from cellhold.cgroups.writes import Write
from cellhold.spec.limits import SHARES_DEFAULT
from cellhold.spec.units import size

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from cellhold.spec.limits import IoLimit, Limits

WEIGHT_MINIMUM, WEIGHT_MAXIMUM = 1, 10_000  # of cpu.weight
PERIOD = 100_000  # microseconds, the kernel's default
_RATES = {"read_bps": "rbps", "write_bps": "wbps", "read_iops": "riops", "write_iops": "wiops"}


class Group(NamedTuple):
    """What a part of the plan may look at.

    read(file): what the group's file says now. is_living: whether it had limits before;
    a new group has none, so None needs no write there.
    """

    read: Callable[[str], str | None]
    is_living: bool = False


def plan(limits: Limits, controllers: Collection[str], group: Group) -> list[Write]:
    """Plan every write, for the limits whose controller is in `controllers`.

    A table of devices comes last.

    Raises InvalidSpec and NotSupported for what the kernel would refuse or ignore.
    """
    return [write for controller, part in PARTS if controller in controllers for write in part(limits, group)]


def _cpuset(limits: Limits, group: Group) -> list[Write]:
    """Plan the processors; "" = all that the parent group has."""
    if limits.cpuset is None:
        return [Write("cpuset", "cpuset.cpus", "", "cpuset=unlimited", "no limit")] if group.is_living else []
    processors.check(limits.cpuset, group.read("../cpuset.cpus.effective") or "")
    return [Write("cpuset", "cpuset.cpus", limits.cpuset, f"cpuset={limits.cpuset}")]


def _memory(limits: Limits, group: Group) -> list[Write]:
    if limits.memory_bytes is None and not group.is_living:
        return []
    return memory(limits, swap=group.read("memory.swap.max") is not None)


def _reservation(limits: Limits, _group: Group) -> list[Write]:
    if limits.reservation_bytes is None:
        return []
    text = size(limits.reservation_bytes)
    return [Write("memory", "memory.low", str(limits.reservation_bytes), f"memory-reservation={text}", text)]


def memory(limits: Limits, *, swap: bool) -> list[Write]:
    """Plan memory.max, and memory.swap.max if it exists (`swap`).

    v2 counts swap apart from memory, Docker's value is their sum. Raises NotSupported
    for an explicit memory-swap if swap is not counted.
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


def _cpu(limits: Limits, group: Group) -> list[Write]:
    """Plan quota and period, in microseconds."""
    if limits.cpus is None:
        return [Write("cpu", "cpu.max", f"max {PERIOD}", "cpus=unlimited")] if group.is_living else []
    quota = f"{round(limits.cpus * PERIOD)} {PERIOD}"
    return [Write("cpu", "cpu.max", quota, f"cpus={limits.cpus:g}", f"{limits.cpus:g} processors")]


def _shares(limits: Limits, group: Group) -> list[Write]:
    """Plan the weight of its processor time; v1's shares as runc converts them."""
    if limits.cpu_shares is None and not group.is_living:
        return []
    shares = limits.cpu_shares or SHARES_DEFAULT
    weight = str(weight_of_shares(shares))
    return [Write("cpu", "cpu.weight", weight, f"cpu-shares={shares}", f"{shares} shares")]


def weight_of_shares(shares: int) -> int:
    """Return cpu.weight (1 to 10000) for cpu.shares (2 to 262144).

    A quadratic curve through both ends and through the defaults, 1024 and 100, in
    logarithms (opencontainers/cgroups: ConvertCPUSharesToCgroupV2Value).
    """
    power = math.log2(shares)
    exponent = (power * power + 125 * power) / 612 - 7 / 34
    return min(max(math.ceil(10**exponent), WEIGHT_MINIMUM), WEIGHT_MAXIMUM)


def _pids(limits: Limits, group: Group) -> list[Write]:
    """Plan the number of processes and threads."""
    if limits.pids is None and not group.is_living:
        return []
    value = "max" if limits.pids is None else str(limits.pids)
    return [Write("pids", "pids.max", value, f"pids={value}")]


def _io(limits: Limits, group: Group) -> list[Write]:
    if not (limits.io or group.is_living):
        return []
    table = (group.read("io.max") or "") if group.is_living else ""
    return io(block.resolve(limits.io), present={line.split()[0] for line in table.splitlines()})


def io(devices: Mapping[str, IoLimit], *, present: Collection[str] = ()) -> list[Write]:
    """Plan one write per device.

    present: devices that have limits now; those that the new limits do not name are
    removed.
    """
    writes = []
    for number in sorted({*devices, *present}):
        limit = devices.get(number)
        rates = " ".join(f"{key}={getattr(limit, rate, None) or 'max'}" for rate, key in _RATES.items())
        writes.append(Write("io", "io.max", f"{number} {rates}", f"io on {limit.device if limit else number}"))
    return writes


PARTS: tuple[tuple[str, Callable[[Limits, Group], list[Write]]], ...] = (  # in the order of the writes: tables of devices last
    ("cpuset", _cpuset),
    ("memory", _memory),
    ("memory", _reservation),
    ("cpu", _cpu),
    ("cpu", _shares),
    ("pids", _pids),
    ("io", _io),
)
