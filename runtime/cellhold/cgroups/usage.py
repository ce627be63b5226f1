"""Which file of which version holds which figure.

`read` returns a file's text, None if the group has no such file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.cgroups import counters
from cellhold.spec.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def v1(read: Callable[[str, str], str | None]) -> Usage:
    """Read the usage from the hierarchies of v1: read(controller, file).

    Bytes of I/O are counted only if the group is in blkio.
    """
    memory = read("memory", "memory.stat")
    moved = counters.io_v1(read("io", "blkio.throttle.io_service_bytes_recursive"))
    return Usage(
        cpu_seconds=counters.scaled(counters.number(read("cpuacct", "cpuacct.usage")), 1e-9),
        throttled_seconds=counters.scaled(counters.keyed(read("cpu", "cpu.stat"), "throttled_time"), 1e-9),
        memory_bytes=counters.number(read("memory", "memory.usage_in_bytes")),
        memory_cache_bytes=_sum(memory, "total_inactive_file", "total_active_file"),
        memory_peak_bytes=counters.number(read("memory", "memory.max_usage_in_bytes")),
        pids=counters.number(read("pids", "pids.current")),
        pids_refused=counters.keyed(read("pids", "pids.events"), "max"),
        io_read_bytes=moved[0] if moved else None,
        io_write_bytes=moved[1] if moved else None,
        oom_kills=counters.keyed(read("memory", "memory.oom_control"), "oom_kill") or 0,
    )


def v2(read: Callable[[str], str | None], waits: Mapping[str, float]) -> Usage:
    """Read the usage from the one directory of v2: read(file).

    Processor time needs no controller. waits: the result of pressure().
    """
    cpu, memory = read("cpu.stat"), read("memory.stat")
    moved = counters.io_v2(read("io.stat"))
    return Usage(
        cpu_seconds=counters.scaled(counters.keyed(cpu, "usage_usec"), 1e-6),
        throttled_seconds=counters.scaled(counters.keyed(cpu, "throttled_usec"), 1e-6),
        memory_bytes=counters.number(read("memory.current")),
        memory_cache_bytes=_sum(memory, "inactive_file", "active_file"),
        memory_peak_bytes=counters.number(read("memory.peak")),
        pids=counters.number(read("pids.current")),
        pids_refused=counters.keyed(read("pids.events"), "max"),
        io_read_bytes=moved[0] if moved else None,
        io_write_bytes=moved[1] if moved else None,
        oom_kills=counters.keyed(read("memory.events"), "oom_kill") or 0,
        pressure=dict(waits) or None,
    )


def pressure(read: Callable[[str], str | None]) -> dict[str, float]:
    """Read the shares of the last 10 s in which some task waited.

    As far as this kernel counts them; no controller is needed.
    """
    shares = {what: counters.pressure(read(f"{what}.pressure")) for what in ("cpu", "memory", "io")}
    return {what: share for what, share in shares.items() if share is not None}


def _sum(text: str | None, *keys: str) -> int | None:
    numbers = [counters.keyed(text, key) for key in keys]
    return None if None in numbers else sum(filter(None, numbers))


def held_bytes(usage: Usage) -> int:
    """Return the memory that the kernel cannot simply take back."""
    return (usage.memory_bytes or 0) - (usage.memory_cache_bytes or 0)
