"""The reply to `usage_request` (jupyter-resource-usage), from the cgroup.

ipykernel would count processes, and show the host's memory and processors for the
container's.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError

if TYPE_CHECKING:
    from cellhold_kernel.engine.cell_kernel import CellKernel


class UsageMeter:
    """Computes processor use in per cent, from one reading to the next."""

    def __init__(self) -> None:
        self._last = ("", 0.0, 0.0)  # container, its processor seconds, the moment

    def read(self, kernel: CellKernel) -> dict[str, Any]:
        """Return the content of a reply: ipykernel's fields, and three more.

        They are `pids`, `pids_limit` and `memory_limit` (bytes). kernel_cpu: per cent
        of one processor, since the last reading.
        """
        limits = kernel.spec.limits
        content: dict[str, Any] = {
            "hostname": kernel.spec.hostname or kernel.sandbox.id,
            "pid": 1,
            "cpu_count": limits.cpus or os.cpu_count(),
        }
        with suppress(CellholdError, OSError):  # it is just going away
            usage = kernel.sandbox.usage()
            if usage.memory_bytes is not None:
                content["kernel_memory"] = usage.memory_bytes - (usage.memory_cache_bytes or 0)
                content["host_virtual_memory"] = _memory(content["kernel_memory"], limits.memory_bytes)
            if usage.cpu_seconds is not None:
                content["kernel_cpu"] = content["host_cpu_percent"] = self._per_cent(kernel.sandbox.id, usage.cpu_seconds)
            content["pids"] = usage.pids
        return {**content, "pids_limit": limits.pids, "memory_limit": limits.memory_bytes}

    def _per_cent(self, container: str, seconds: float) -> float:
        now = time.monotonic()
        (its, before, then), self._last = self._last, (container, seconds, now)
        return round(100 * (seconds - before) / (now - then), 1) if its == container and now > then else 0.0


def _memory(used: int, limit: int | None) -> dict[str, float]:
    """Return what psutil.virtual_memory() would, the container's limit as the total."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    total = min(limit, total) if limit else total
    return {"total": total, "available": max(total - used, 0), "used": used, "percent": round(100 * used / total, 1)}
