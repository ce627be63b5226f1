"""The cell that runs, and the limits that it meets.

Its time and output are counted here; the rest is read from its container's counters. A
limit that ends the container is diagnosis.of_end's; these are the ones after which the
cell kernel goes on.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from cellhold.errors import CellholdError
from cellhold.spec import units
from cellhold.spec.units import doubled
from cellhold.spec.usage import Usage
from cellhold_kernel.engine.base import Topic
from cellhold_kernel.engine.diagnosis import GRACE_SECONDS, Diagnosis, names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold_kernel.engine.cell_kernel import CellKernel
    from cellhold_kernel.settings.settings import CellLimits, Guard

_MORE_SHARE = 0.05  # of the memory limit
_GUARD_SECONDS = 0.1  # between two looks at the memory of a cell
_FULL_LEAST, _FULL_MOST, _FULL_SHARE = 64 << 10, 1 << 20, 128  # a file that no longer fits leaves up to its last write's size free


class Due(NamedTuple):
    """What is to be done to the cell now: "warn", "interrupt", "pause" or "kill"."""

    what: str
    why: Diagnosis


class Counters(NamedTuple):
    """What a container has used and was refused, at some moment.

    full: how full its writable layer is, where nothing more goes in.
    """

    usage: Usage
    full: str | None

    @classmethod
    def read(cls, kernel: CellKernel) -> Counters:
        """Return them as they are now."""
        return cls(_usage(kernel), _full(kernel))


class RunningCell:
    """One cell, from its begin to its end.

    message_id: of its request. number: what stands beside it in the notebook. reached:
    the limit for which it was interrupted. result: its reply's status.

    seen: the counters when they were last looked at, before the cell: when we hear that
    it has begun it may have met a limit already.
    """

    def __init__(self, message_id: str, number: int, kernel: CellKernel, limits: CellLimits, seen: Counters) -> None:
        """limits: those that hold for the whole of it."""
        self.message_id = message_id
        self.number = number
        self.reached: Diagnosis | None = None  # the limit for which it was interrupted
        self.is_killed = False
        self.result = "ok"  # its reply's status
        self._kernel = kernel
        self._limits = limits
        self._output_bytes = 0
        self._began = time.monotonic()
        self._deadline = None if limits.seconds is None else self._began + limits.seconds
        self.seen = seen
        self._guard = limits.guard

    # ------------------------------------------------------------------------ kept here

    def left(self) -> float | None:
        """Seconds until something is due; None if nothing will be."""
        left = [] if self._deadline is None else [self._deadline - time.monotonic()]
        return min([*left, *([_GUARD_SECONDS] if self._guard is not None else [])], default=None)

    def due(self) -> Due | None:
        """Return what its limits ask for now.

        First an interrupt, then the end of the container if that does not help.
        """
        if self._guard is not None and (near := self._near(self._guard)) is not None:
            self._guard = None
            return near
        if self._deadline is None or time.monotonic() < self._deadline:
            return None
        if self.reached is not None:
            self._deadline, self.is_killed = None, True
            return Due("kill", self.reached)
        seconds = self._limits.seconds or 0.0
        sentence = f"cell {self.number} reached its time limit of {units.duration(seconds)}"
        return self._reach(Diagnosis("TimeLimitExceeded", sentence, f"%limits cell-time={seconds * 2:g}s raises the limit"))

    def _near(self, guard: Guard) -> Due | None:
        """Whether the cell comes near the memory limit.

        Where it was near before, only a cell that takes more: others may free some.
        """
        limit = self._kernel.spec.limits.memory_bytes
        used, before = _working(_usage(self._kernel)), _working(self.seen.usage)
        if limit is None or used < max(guard.share * limit, min(before + _MORE_SHARE * limit, limit)):
            return None
        done = {"warn": "", "interrupt": "; it was interrupted", "pause": "; the container is paused"}[guard.action]
        sentence = f"cell {self.number} uses {units.size(used)} of the memory limit of {units.size(limit)}{done}"
        goes_on = ", and %container unpause goes on" if guard.action == "pause" else ""
        return Due(guard.action, Diagnosis("MemoryGuard", sentence, f"%limits memory={doubled(limit)} raises the limit{goes_on}"))

    def count_output(self, count: int) -> Due | None:
        """Count bytes of output; return what to do if they exceed the limit.

        From then on its output `is_cut`.
        """
        self._output_bytes += count
        most = self._limits.output_bytes
        if most is None or self._output_bytes <= most or self.reached is not None:
            return None
        sentence = f"cell {self.number} reached its output limit of {units.size(most)}; the rest is left out"
        return self._reach(Diagnosis("OutputLimitExceeded", sentence, f"%limits output={doubled(most)} raises the limit"))

    @property
    def is_cut(self) -> bool:
        """Whether more of its output is left out."""
        return self._limits.output_bytes is not None and self._output_bytes > self._limits.output_bytes

    def _reach(self, why: Diagnosis) -> Due:
        self.reached = why
        self._deadline = time.monotonic() + GRACE_SECONDS
        return Due("interrupt", why)

    # ------------------------------------------------------------ kept by the container

    def limits_met(self) -> list[Diagnosis]:
        """Return the container's limits that the cell met and survived.

        They are those met since the counters were `seen`, which are read again.
        """
        before, self.seen = self.seen, Counters.read(self._kernel)
        now, limits = self.seen.usage, self._kernel.spec.limits
        met = []
        if (killed := now.oom_kills - before.usage.oom_kills) > 0:
            limit = units.size(limits.memory_bytes) if limits.memory_bytes else "the host"
            peak = f" (peak {units.size(now.memory_peak_bytes)})" if now.memory_peak_bytes else ""
            who = _processes(killed, names(_victims(self._kernel, killed)))
            sentence = f"cell {self.number}: {who} killed at the memory limit of {limit}{peak}; the kernel goes on"
            hint = f"%limits memory={doubled(limits.memory_bytes)} raises the limit" if limits.memory_bytes else "use less memory"
            met.append(Diagnosis("MemoryLimitReached", sentence, hint))
        if limits.pids and (refused := (now.pids_refused or 0) - (before.usage.pids_refused or 0)) > 0:
            sentence = f"cell {self.number}: a new process or thread was refused {_times(refused)} at the limit of {limits.pids} processes"
            met.append(Diagnosis("ProcessLimitReached", sentence, f"%limits pids={limits.pids * 2} raises the limit"))
        if self.seen.full is not None and before.full is None:
            hint = (
                f"delete files, or %container disk={doubled(limits.disk_bytes)}"
                if limits.disk_bytes
                else "delete files: the host's disk is full"
            )
            met.append(Diagnosis("DiskLimitReached", f"cell {self.number}: the container's writable layer is full: {self.seen.full}", hint))
        return met


def _usage(kernel: CellKernel) -> Usage:
    with suppress(CellholdError, OSError):  # it is just going away
        return kernel.sandbox.usage()
    return Usage()


def _working(usage: Usage) -> int:
    """Memory without page cache, which the kernel can take back."""
    return (usage.memory_bytes or 0) - (usage.memory_cache_bytes or 0)


def _victims(kernel: CellKernel, last: int) -> Sequence[str]:
    """Return the names of the processes that were last killed at the memory limit.

    They are empty where that is not known.
    """
    with suppress(CellholdError, OSError):
        return list(kernel.sandbox.inspect(Topic.OOM_VICTIMS)["names"])[-last:]
    return ()


def _full(kernel: CellKernel) -> str | None:
    """How full the writable layer is, where nothing more goes in; else None."""
    with suppress(CellholdError, OSError):
        disk = kernel.sandbox.inspect(Topic.DISK)
        free, total = disk["free"], disk["total"]
        if free < min(max(total // _FULL_SHARE, _FULL_LEAST), _FULL_MOST):
            return f"{units.size(total - free)} of {units.size(total)}"
    return None


def _processes(count: int, named: str) -> str:
    return f"a process of it{named} was" if count == 1 else f"{count} processes of it{named} were"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
