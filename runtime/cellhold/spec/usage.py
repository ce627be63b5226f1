"""What a container has used so far, as a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a container has used so far, in bytes and seconds; None = not counted here.

    memory_bytes: all that counts against the limit; memory_cache_bytes: the page
    cache's part of it, which the kernel can take back. memory_peak_bytes: the maximum
    of memory_bytes so far. throttled_seconds: time its runnable threads were held back
    by the cpu limit. oom_kills: processes that the kernel killed at the memory limit.
    pids_refused: forks refused at the pids limit. pressure: share of the last 10 s in
    which some task waited ("cpu", "memory", "io"), 0..1.
    """

    cpu_seconds: float | None = None
    throttled_seconds: float | None = None
    memory_bytes: int | None = None
    memory_cache_bytes: int | None = None
    memory_peak_bytes: int | None = None
    pids: int | None = None
    pids_refused: int | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    oom_kills: int = 0
    pressure: dict[str, float] | None = None
