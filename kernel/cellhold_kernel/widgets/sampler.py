"""What a container uses, over time and per cell: one sampler for all views.

A value that is not measured is None, never 0.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cellhold.errors import CellholdError
from cellhold.spec.lifecycle import State
from cellhold.spec.networks import NONE
from cellhold.spec.outcome import Why
from cellhold.spec.usage import Usage
from cellhold_kernel.engine.base import Topic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold.spec.outcome import Outcome
    from cellhold_kernel.engine.holder import HeldSandbox

Number = TypeVar("Number", int, float)

RECENT = 1200  # samples: 5 minutes at 4 a second
_HOUR = 900  # samples, one of every _THINNED
_THINNED = 16
_MARKS, _CELLS = 200, 200
_LEAST_SECONDS = 0.1  # between two samples: a rate over less than a scheduler's period is noise
_CLOCK_SECONDS = 0.01  # the kernel's clock for files goes in ticks
_NOTHING: tuple[float, Usage, tuple[int | None, int | None]] = (0.0, Usage(), (None, None))  # when it was measured, use, traffic
_THROTTLED_SHARE = 0.05  # of the time; less is noise


class Sample(NamedTuple):
    """What the container used at a time (seconds since the epoch).

    cpu: processors in use. memory, working, disk: bytes. read, written, received, sent:
    bytes per second. throttled, paused: 0 or 1.
    """

    time: float
    cpu: float | None
    memory: int | None
    working: int | None  # memory without page cache
    read: float | None
    written: float | None
    pids: int | None
    disk: int | None
    throttled: int | None
    paused: int
    cpu_wait: float | None  # share of the last 10 s in which some task waited (pressure stall information)
    memory_wait: float | None
    io_wait: float | None
    received: float | None  # over its networks, bytes per second
    sent: float | None


class Mark(NamedTuple):
    """An event. kind: oom, pids (a fork was refused), ended or started."""

    time: float
    kind: str
    text: str


@dataclass
class CellUse:
    """What one cell used, in seconds and bytes; None: not measured.

    begin, end: seconds since the epoch.
    """

    number: int
    begin: float
    end: float | None = None
    wall: float | None = None
    cpu: float | None = None
    throttled: float | None = None
    peak: int | None = None
    read: int | None = None
    written: int | None = None
    memory_change: int | None = None
    files: int | None = None  # that it made or changed
    paused: float = 0.0  # seconds that it was paused
    result: str = "runs"
    before: Usage = field(default_factory=Usage, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {name: value for name, value in vars(self).items() if name != "before"}


class Sampler:
    """The samples, marks and cells of one notebook, over all of its containers."""

    def __init__(self) -> None:
        self.recent: deque[Sample] = deque(maxlen=RECENT)
        self.hour: deque[Sample] = deque(maxlen=_HOUR)
        self.marks: deque[Mark] = deque(maxlen=_MARKS)
        self.cells: deque[CellUse] = deque(maxlen=_CELLS)
        self._count = 0
        self._kernel: HeldSandbox | None = None
        self._last = _NOTHING
        self._oom_kills = self._refused = 0
        self._written: int | None = None  # bytes of the writable layer when it was last examined

    def take(self, kernel: HeldSandbox | None) -> Sample:
        """Take a sample now. kernel: the current container's, None if there is none."""
        now = time.time()
        if kernel is not self._kernel:
            self._follow(kernel, now)
        before, last, (last_received, last_sent) = self._last
        if self.recent and now - before < _LEAST_SECONDS:
            return self.recent[-1]
        usage = self._usage()
        received, sent = _traffic(kernel)
        self._last = (now, usage, (received, sent))
        passed = now - before if before else 0.0
        throttled = _rate(usage.throttled_seconds, last.throttled_seconds, passed)
        sample = Sample(
            time=round(now, 2),
            cpu=_rounded(_rate(usage.cpu_seconds, last.cpu_seconds, passed), 3),
            memory=usage.memory_bytes,
            working=None if usage.memory_bytes is None else usage.memory_bytes - (usage.memory_cache_bytes or 0),
            read=_rounded(_rate(usage.io_read_bytes, last.io_read_bytes, passed), 0),
            written=_rounded(_rate(usage.io_write_bytes, last.io_write_bytes, passed), 0),
            pids=usage.pids,
            disk=_disk(kernel) or self._written,
            throttled=None if throttled is None else int(throttled > _THROTTLED_SHARE),
            paused=int(kernel is not None and kernel.sandbox.state is State.PAUSED),
            received=_rounded(_rate(received, last_received, passed), 0),
            sent=_rounded(_rate(sent, last_sent, passed), 0),
            **{f"{what}_wait": _rounded((usage.pressure or {}).get(what), 3) for what in ("cpu", "memory", "io")},
        )
        self._notice(usage, now)
        self._keep(sample)
        return sample

    def _follow(self, kernel: HeldSandbox | None, now: float) -> None:
        self._kernel, self._last, self._written = kernel, _NOTHING, None
        usage = self._usage()
        self._oom_kills, self._refused = usage.oom_kills, usage.pids_refused or 0
        if kernel is not None:
            self.marks.append(Mark(now, "started", f"Container {kernel.sandbox.id} started."))

    def _keep(self, sample: Sample) -> None:
        self._count += 1
        if self._count % _THINNED == 0:
            self.hour.append(sample)
        self.recent.append(sample)
        if self.cells and self.cells[-1].end is None and sample.memory is not None:
            cell = self.cells[-1]
            cell.peak = max(cell.peak or 0, sample.memory)
            if sample.paused:
                cell.paused = round(cell.paused + sample.time - max(self.recent[-2].time if len(self.recent) > 1 else 0.0, cell.begin), 2)

    def _notice(self, usage: Usage, now: float) -> None:
        if (killed := usage.oom_kills - self._oom_kills) > 0:
            self._oom_kills = usage.oom_kills
            self._mark_oom(killed, now)
        if (refused := (usage.pids_refused or 0) - self._refused) > 0:
            self._refused = usage.pids_refused or 0
            self.marks.append(Mark(now, "pids", f"{refused} new processes were refused{self._in_cell()}."))

    def _mark_oom(self, killed: int, now: float) -> None:
        what = "One process was" if killed == 1 else f"{killed} processes were"
        self.marks.append(Mark(now, "oom", f"{what} killed at the memory limit{self._in_cell()}."))

    def _in_cell(self) -> str:
        return f" in cell {self.cells[-1].number}" if self.cells and self.cells[-1].end is None else ""

    def samples(self) -> list[Sample]:
        """Return the samples of an hour, those of the last minutes in full."""
        first = self.recent[0].time if self.recent else 0.0
        return [*(sample for sample in self.hour if sample.time < first), *self.recent]

    def _usage(self) -> Usage:
        if self._kernel is not None:
            with suppress(CellholdError, OSError):  # it is being removed
                return self._kernel.sandbox.usage(is_repeated=True)
        return Usage()

    # ---------------------------------------------------------------------------- cells

    def cell_began(self, number: int, before: Usage) -> None:
        """Record that a cell has begun. before: what its container had used."""
        self.cell_ended("")
        self.cells.append(CellUse(number=number, begin=time.time(), before=before))

    def cell_ended(self, result: str) -> None:
        """Record that the running cell has ended."""
        if not self.cells or self.cells[-1].end is not None:
            return
        cell = self.cells[-1]
        usage = self._usage()
        cell.end, cell.result = time.time(), result
        cell.wall = cell.end - cell.begin
        cell.cpu = _less(usage.cpu_seconds, cell.before.cpu_seconds)
        cell.throttled = _less(usage.throttled_seconds, cell.before.throttled_seconds)
        cell.read = _less(usage.io_read_bytes, cell.before.io_read_bytes)
        cell.written = _less(usage.io_write_bytes, cell.before.io_write_bytes)
        cell.memory_change = None if cell.before.memory_bytes is None else _less(usage.memory_bytes, cell.before.memory_bytes)
        peak, earlier = usage.memory_peak_bytes, cell.before.memory_peak_bytes
        if peak is not None and (earlier is None or peak > earlier):
            cell.peak = peak
        elif cell.peak is None:
            cell.peak = usage.memory_bytes

    def wrote(self, last: CellUse, times: Sequence[float], size_bytes: int) -> None:
        """Record what the writable layer had when the cell `last` had ended.

        times: of the last change of each file, by which files are assigned to cells.
        size_bytes: of the layer.
        """
        self._written = size_bytes
        earlier = 0.0
        for cell in self.cells:
            if cell is last and cell.end is not None:
                cell.files = sum(earlier < moment <= cell.end + _CLOCK_SECONDS for moment in times)
            earlier = cell.end or earlier

    def container_ended(self, outcome: Outcome) -> None:
        """Record that the current container has ended."""
        now = time.time()
        if (killed := outcome.oom_kills - self._oom_kills) > 0:
            self._oom_kills = outcome.oom_kills
            self._mark_oom(killed, now)
        elif self.marks and self.marks[-1].kind == "oom" and " in cell " not in self.marks[-1].text:
            # a sample noticed the kill before the cell's begin was recorded: add the
            # cell now
            self.marks[-1] = self.marks[-1]._replace(text=f"{self.marks[-1].text.removesuffix('.')}{self._in_cell()}.")
        self.marks.append(Mark(now, "ended", f"The container ended: {outcome.sentence()}."))
        self.cell_ended("✖ OOM kill" if outcome.why is Why.MEMORY else f"✖ {outcome.sentence()}")


def _traffic(kernel: HeldSandbox | None) -> tuple[int | None, int | None]:
    """Return the bytes received and sent over all networks; None without a network."""
    if kernel is not None and kernel.spec.network != NONE:
        with suppress(CellholdError, OSError):
            counted = kernel.sandbox.inspect(Topic.TRAFFIC)
            return counted["received"], counted["sent"]
    return None, None


def _disk(kernel: HeldSandbox | None) -> int | None:
    """Return the size of the writable layer; None without a file system of its own."""
    if kernel is not None and kernel.spec.limits.disk_bytes:
        with suppress(CellholdError, OSError):
            disk = kernel.sandbox.inspect(Topic.DISK)
            return int(disk["total"] - disk["free"])
    return None


def _rate(now: float | None, before: float | None, passed: float) -> float | None:
    return None if now is None or before is None or passed <= 0 else max(now - before, 0.0) / passed


def _less(now: Number | None, before: Number | None) -> Number | None:
    return None if now is None else now if before is None else now - before


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def encode(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return samples as JSON: `fields`, and a list of values for each sample."""
    return {"fields": list(Sample._fields), "samples": [list(sample) for sample in samples]}
