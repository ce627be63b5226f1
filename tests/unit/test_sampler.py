"""What the panel's sampler makes of a container's counters: rates, marks, cells; None where nothing is measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from cellhold.spec.lifecycle import State
from cellhold.spec.outcome import Outcome, Why
from cellhold.spec.usage import Usage
from cellhold_kernel.widgets.sampler import RECENT, Sampler

if TYPE_CHECKING:
    from cellhold_kernel.engine.cell_kernel import CellKernel

MEBIBYTE = 1 << 20


class Counted:
    """As much of a container as a sampler asks."""

    def __init__(self) -> None:
        self.used = Usage(cpu_seconds=1.0, memory_bytes=50 * MEBIBYTE, memory_cache_bytes=10 * MEBIBYTE, pids=3, throttled_seconds=0.0)
        self.sandbox = SimpleNamespace(id="ab12", state=State.RUNNING, usage=lambda **_: self.used)
        self.spec = SimpleNamespace(limits=SimpleNamespace(disk_bytes=None), network="none")

    @property
    def kernel(self) -> CellKernel:
        return cast("CellKernel", self)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    moment = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("cellhold_kernel.widgets.sampler.time.time", lambda: moment.now)
    return moment


def test_rates_are_differences_and_the_first_sample_has_none(clock: Any) -> None:
    counted, taken = Counted(), Sampler()
    first = taken.take(counted.kernel)
    assert (first.cpu, first.memory, first.working, first.read, first.disk) == (None, 50 * MEBIBYTE, 40 * MEBIBYTE, None, None)
    clock.now += 0.5
    counted.used = Usage(cpu_seconds=1.25, memory_bytes=MEBIBYTE, pids=3, throttled_seconds=0.1, io_read_bytes=100)
    second = taken.take(counted.kernel)
    assert (second.cpu, second.throttled, second.read) == (0.5, 1, None)
    clock.now += 0.01
    assert taken.take(counted.kernel) is second  # too soon for a rate
    clock.now += 1
    assert taken.take(None)[1:9] == (None,) * 8  # not measured, not 0


def test_a_limit_that_is_met_gives_one_mark(clock: Any) -> None:
    counted, taken = Counted(), Sampler()
    taken.take(counted.kernel)
    taken.cell_began(4, counted.used)
    for _ in range(3):
        clock.now += 1
        counted.used = Usage(memory_bytes=MEBIBYTE, oom_kills=1, pids_refused=7)
        taken.take(counted.kernel)
    ended = Outcome(status=137, signal=9, why=Why.MEMORY, seconds=3.0, oom_kills=1, memory_limit_bytes=MEBIBYTE)
    taken.container_ended(ended)
    assert [(mark.kind, mark.text) for mark in taken.marks if mark.kind in ("oom", "pids")] == [
        ("oom", "One process was killed at the memory limit in cell 4."),
        ("pids", "7 new processes were refused in cell 4."),
    ]
    assert taken.cells[-1].result == "✖ OOM kill"


def test_a_kill_that_is_seen_before_its_cell_has_said_that_it_runs_is_that_cells(clock: Any) -> None:
    counted, taken = Counted(), Sampler()
    taken.take(counted.kernel)
    clock.now += 1
    counted.used = Usage(memory_bytes=MEBIBYTE, oom_kills=1)
    taken.take(counted.kernel)
    taken.cell_began(2, Usage())
    taken.container_ended(Outcome(status=137, signal=9, why=Why.MEMORY, seconds=1.0, oom_kills=1, memory_limit_bytes=MEBIBYTE))
    assert [mark.text for mark in taken.marks if mark.kind == "oom"] == ["One process was killed at the memory limit in cell 2."]


def test_a_cell_has_what_was_used_between_its_begin_and_its_end(clock: Any) -> None:
    counted, taken = Counted(), Sampler()
    taken.take(counted.kernel)
    taken.cell_began(1, counted.used)
    clock.now += 2
    counted.used = Usage(cpu_seconds=2.5, memory_bytes=60 * MEBIBYTE, throttled_seconds=0.5)
    taken.take(counted.kernel)
    taken.cell_ended("ok")
    told = taken.cells[-1].as_dict()
    assert (told["wall"], told["cpu"], told["throttled"], told["peak"], told["read"]) == (2.0, 1.5, 0.5, 60 * MEBIBYTE, None)
    taken.cell_ended("again")
    assert taken.cells[-1].result == "ok"


def test_memory_is_bounded_and_the_hour_is_thinned(clock: Any) -> None:
    counted, taken = Counted(), Sampler()
    for _ in range(3 * RECENT):
        clock.now += 0.25
        taken.take(counted.kernel)
    samples = taken.samples()
    assert len(taken.recent) == RECENT
    assert RECENT < len(samples) < RECENT + 2 * RECENT / 8
    assert samples == sorted(samples)
    assert samples[0].time < clock.now - 2.5 * RECENT / 4
