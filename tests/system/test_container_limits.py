"""A container at its limits: wall time, memory, pids, processors, disk, and their change while it runs."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from boxes import MIB, PATIENCE_SECONDS, eventually, python, run, shell, spec, started
from cellhold.container.container import Container
from cellhold.errors import InvalidSpec, NotSupported, SetupFailed
from cellhold.spec.limits import Limits
from cellhold.spec.outcome import Why

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")

BALLAST = "a = bytearray({} << 20)"


# ------------------------------------------------------------------------------------------------------------- limits


def test_the_wall_time_limit_ends_it_and_says_so(busybox_root: Path) -> None:
    ran = run(spec(busybox_root, "sleep", "60", limits=Limits(seconds=0.4)))
    assert (ran.outcome.status, ran.outcome.why) == (137, Why.TIME)
    assert ran.outcome.sentence() == "killed: it reached its wall-time limit of 0.4s"
    assert ran.outcome.seconds >= 0.4


def test_a_wall_time_shorter_than_the_start_is_still_told_as_such(busybox_root: Path) -> None:
    assert run(spec(busybox_root, "sleep", "60", limits=Limits(seconds=0.001))).outcome.why is Why.TIME


def test_a_wall_time_of_months_is_no_problem(busybox_root: Path) -> None:
    assert run(spec(busybox_root, "true", limits=Limits(seconds=1e8))).outcome.status == 0


@pytest.mark.requires("cgroup-freezer")
def test_the_wall_time_passes_while_it_is_paused(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sleep", "60", limits=Limits(seconds=1))) as (box, _):
        box.pause()
        assert box.wait(PATIENCE_SECONDS).why is Why.TIME


@pytest.mark.requires("cgroup-memory")
def test_the_memory_limit_kills_it_and_the_outcome_names_limit_and_peak() -> None:
    outcome = python(BALLAST.format(200), limits=Limits(memory_bytes=64 * MIB)).outcome
    assert (outcome.status, outcome.signal, outcome.why) == (137, 9, Why.MEMORY)
    assert outcome.oom_kills >= 1
    assert re.fullmatch(r"killed: it reached its memory limit of 64 MiB \(peak 6[34](\.\d)? MiB\)", outcome.sentence())


@pytest.mark.requires("cgroup-memory")
def test_when_a_child_dies_at_the_memory_limit_and_the_program_goes_on_it_exited() -> None:
    script = (
        f"import os\np = os.spawnl(os.P_WAIT, '/usr/bin/python3', 'python3', '-c', '{BALLAST.format(200)}')\nprint(p)\nraise SystemExit(3)"
    )
    ran = python(script, limits=Limits(memory_bytes=64 * MIB))
    assert (ran.outcome.status, ran.outcome.why, ran.out) == (3, Why.EXITED, "-9\n")
    assert ran.outcome.oom_kills >= 1


@pytest.mark.requires("cgroup-memory")
@pytest.mark.v2
def test_out_of_memory_in_one_run_is_not_told_of_the_next(busybox_root: Path) -> None:
    script = "test -e /mark && kill -9 $$; touch /mark; busybox awk 'BEGIN { x = 1; while (1) x = x x }'"
    with Container.create(spec(busybox_root, "sh", "-c", f"{script}; kill -9 $$", limits=Limits(memory_bytes=32 * MIB))) as box:
        box.start()
        assert box.wait(PATIENCE_SECONDS).oom_kills >= 1
        box.start()
        outcome = box.wait(PATIENCE_SECONDS)
        assert (outcome.oom_kills, outcome.why, outcome.signal) == (0, Why.EXITED, 9)


@pytest.mark.requires("cgroup-memory")
@pytest.mark.v2
def test_the_smallest_memory_limit_runs_or_says_that_it_is_too_small(busybox_root: Path) -> None:
    try:
        answer = str(run(spec(busybox_root, "true", limits=Limits(memory_bytes=6 * MIB))).outcome.status)
    except SetupFailed as refused:
        answer = str(refused)
    assert answer == "0" or "memory limit is too small" in answer


@pytest.mark.requires("cgroup-pids")
@pytest.mark.v2
def test_the_pids_limit_holds(busybox_root: Path) -> None:
    ran = shell(busybox_root, "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo all", limits=Limits(pids=6))
    assert "can't fork" in ran.err
    assert "all" not in ran.out


@pytest.mark.requires("cgroup-cpu")
@pytest.mark.v2
def test_the_processor_limit_throttles(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "while :; do :; done")) as (box, _):
        box.update(Limits(cpus=0.1))
        begin, before = time.monotonic(), box.usage()
        # It may run on until the next tick of its processor, which a busy host delivers late; the kernel takes that off its next periods.
        for _ in range(20):
            time.sleep(1.5)
            usage, seconds = box.usage(), time.monotonic() - begin
            assert usage.cpu_seconds is not None
            assert before.cpu_seconds is not None
            assert usage.throttled_seconds is not None
            used = usage.cpu_seconds - before.cpu_seconds
            if usage.throttled_seconds > 0 and 0 < used < 0.1 * seconds + 0.2:
                break
        else:
            pytest.fail(f"{used} seconds of processor time within {seconds} at 0.1 processors, {usage.throttled_seconds} throttled")


@pytest.mark.requires("loop-devices", "mkfs")
def test_the_disk_limit_holds_and_the_rest_of_the_world_goes_on(busybox_root: Path) -> None:
    ran = shell(busybox_root, "dd if=/dev/zero of=/big bs=1M count=64; ls -l /big; echo after > /tmp/x", limits=Limits(disk_bytes=16 * MIB))
    assert "No space left on device" in ran.err
    assert 12 * MIB < int(ran.out.split()[4]) <= 17 * MIB


@pytest.mark.requires("cgroup-memory")
@pytest.mark.v2
def test_storage_in_memory_counts_as_memory(busybox_root: Path) -> None:
    limits = Limits(memory_bytes=32 * MIB)
    ran = shell(busybox_root, "dd if=/dev/zero of=/big bs=1M count=200 2>/dev/null", storage="tmpfs", limits=limits)
    assert ran.outcome.oom_kills >= 1
    assert shell(busybox_root, "echo x > /y; cat /y", storage="tmpfs").out == "x\n"


@pytest.mark.requires("cgroup-memory", "cgroup-pids")
@pytest.mark.v2
def test_limits_can_be_changed_while_it_runs(busybox_root: Path) -> None:
    wanted = spec(
        busybox_root, "sh", "-c", "while ! test -e /dev/shm/go; do sleep 0.02; done", limits=Limits(memory_bytes=64 * MIB, pids=10)
    )
    with started(wanted) as (box, _):
        box.update(Limits(memory_bytes=128 * MIB, pids=20))
        assert box.describe()["limits"] == "memory 128 MiB, pids 20"
        assert box.spec.limits.memory_bytes == 128 * MIB
        for wrong in (Limits(seconds=5), Limits(disk_bytes=8 * MIB), Limits(rlimits={"core": (0, 0)})):
            with pytest.raises(NotSupported, match="cannot update"):
                box.update(wrong)
        assert box.spec.limits.memory_bytes == 128 * MIB


@pytest.mark.v2
def test_what_it_used_is_plausible(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; echo up; sleep 60")) as (box, out):
        assert eventually(lambda: out.so_far)
        usage = box.usage()
        assert usage.cpu_seconds is not None
        assert 0.005 < usage.cpu_seconds < 30
        assert usage.pids is not None
        assert 2 <= usage.pids <= 4
        assert usage.memory_bytes is None or 0 < usage.memory_bytes < 64 * MIB
        box.kill()
        assert box.wait(PATIENCE_SECONDS).cpu_seconds >= usage.cpu_seconds
        assert box.usage().pids == 0 or box.usage().pids is None


def test_rlimits_are_set_and_cut_to_what_the_host_allows(busybox_root: Path) -> None:
    limits = Limits(rlimits={"nofile": (64, 1 << 62), "core": (0, 0), "stack": (-1, -1)})
    ran = shell(busybox_root, "ulimit -Sn; ulimit -c", limits=limits)
    assert ran.out.split() == ["64", "0"], ran.err
    with (
        Container.create(spec(busybox_root, "true", limits=Limits(rlimits={"files": (1, 1)}))) as box,
        pytest.raises(InvalidSpec, match="ulimit=files"),
    ):
        box.start()
