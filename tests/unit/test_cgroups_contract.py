"""What every kind of cgroup does alike; each test runs on a v1, a v2 and a hybrid tree of plain directories."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cellhold import cgroups
from cellhold.cgroups import block
from cellhold.cgroups.absent import Absent
from cellhold.errors import CellholdError, InvalidSpec, NotAllowed, NotSupported, SetupFailed
from cellhold.spec.limits import IoLimit, Limits
from cellhold.spec.usage import Usage
from fake_cgroups import LAYOUTS, FakeCgroups

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
LIMITS = Limits(memory_bytes=64 * MIB, cpus=0.5, pids=64)


@pytest.fixture(params=LAYOUTS)
def tree(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCgroups:
    monkeypatch.setattr(block, "device_number", lambda device: {"/dev/vda": "254:0", "/dev/vdb": "254:16"}[device])
    monkeypatch.setattr(block, "whole_disk", lambda number, _device: number)
    return FakeCgroups(tmp_path, request.param).install(monkeypatch)


V2_FILES = {
    "memory": ("memory", "memory.max"),
    "swap": ("memory", "memory.swap.max"),
    "cpu": ("cpu", "cpu.max"),
    "shares": ("cpu", "cpu.weight"),
    "pids": ("pids", "pids.max"),
    "cpuset": ("cpuset", "cpuset.cpus"),
    "io": ("io", "io.max"),
}
V1_FILES = {
    "memory": ("memory", "memory.limit_in_bytes"),
    "swap": ("memory", "memory.memsw.limit_in_bytes"),
    "cpu": ("cpu", "cpu.cfs_quota_us"),
    "shares": ("cpu", "cpu.shares"),
    "pids": ("pids", "pids.max"),
    "cpuset": ("cpuset", "cpuset.cpus"),
    "io": ("io", "blkio.throttle.write_bps_device"),
}


def files_of(tree: FakeCgroups) -> dict[str, tuple[str, str]]:
    """Limit -> (controller, file) in this layout."""
    return V2_FILES if tree.layout == "v2" else V1_FILES


def text(tree: FakeCgroups, limit: str, name: str = "a") -> str:
    controller, file = files_of(tree)[limit]
    return tree.text(controller, name, file)


def test_the_limits_are_in_the_kernels_files(tree: FakeCgroups) -> None:
    cgroups.create("a", LIMITS, **tree.where)
    v2 = tree.layout == "v2"
    assert text(tree, "memory") == str(64 * MIB)
    assert text(tree, "swap") == ("0" if v2 else str(64 * MIB))
    assert text(tree, "cpu") == ("50000 100000" if v2 else "50000")
    assert text(tree, "pids") == "64"


def test_the_limits_of_processors_and_disks_are_in_the_kernels_files(tree: FakeCgroups) -> None:
    cgroups.create("a", Limits(cpuset="0-1,3", io=(IoLimit(device="/dev/vda", write_bps=MIB),)), **tree.where)
    assert text(tree, "cpuset") == "0-1,3"
    assert text(tree, "io") == ("254:0 rbps=max wbps=1048576 riops=max wiops=max" if tree.layout == "v2" else "254:0 1048576")


def test_shares_are_v1s_and_a_weight_in_v2_with_the_same_least_usual_and_most(tree: FakeCgroups) -> None:
    for number, (shares, weight) in enumerate(((2, "1"), (512, "59"), (1024, "100"), (262144, "10000"))):
        cgroups.create(f"a{number}", Limits(cpu_shares=shares), **tree.where)
        assert text(tree, "shares", f"a{number}") == (weight if tree.layout == "v2" else str(shares))
    group = cgroups.existing("a0", **tree.where)
    group.update(Limits(cpu_shares=512))
    assert text(tree, "shares", "a0") == ("59" if tree.layout == "v2" else "512")
    group.update(Limits())
    assert text(tree, "shares", "a0") == ("100" if tree.layout == "v2" else "1024")


def test_shares_without_a_group_are_refused(tree: FakeCgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups.files, "make", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(NotSupported) as refused:
        cgroups.create("a", Limits(cpu_shares=512), **tree.where)
    with pytest.raises(NotSupported, match="cannot enforce cpu-shares=512: no control group can be made"):
        Absent.in_place_of(Limits(cpu_shares=512), refused.value)


def test_describe_names_every_file_written(tree: FakeCgroups) -> None:
    lines = cgroups.create("a", LIMITS, **tree.where).describe()
    prefix = "" if tree.layout == "v2" else "memory/"
    assert f"{prefix}cellhold/a/{files_of(tree)['memory'][1]} = 67108864 (64 MiB)" in lines
    assert len(lines) >= 4


def test_without_limits_only_the_default_number_of_processes_is_set(tree: FakeCgroups) -> None:
    group = cgroups.create("a", Limits(), **tree.where)
    assert [line for line in group.describe() if "devices" not in line] == [
        f"{'' if tree.layout == 'v2' else 'pids/'}cellhold/a/pids.max = 2048"
    ]


def target(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def test_a_process_gets_descriptors_for_all_it_has_to_join(tree: FakeCgroups) -> None:
    join = cgroups.create("a", LIMITS, **tree.where).join()
    try:
        joined = {target(descriptor) for descriptor in join.tasks}
        if tree.layout != "v2":
            assert str(tree.directory("memory", "a") / "tasks") in joined
        assert all(not os.get_inheritable(descriptor) for descriptor in join.tasks)
        assert (join.into >= 0) == (tree.layout != "v1")
        if join.into >= 0:
            assert target(join.into) == f"{tree.unified}/cellhold/a"
    finally:
        for descriptor in (*join.tasks, *([join.into] if join.into >= 0 else [])):
            os.close(descriptor)


def test_the_views_are_those_of_its_own_groups(tree: FakeCgroups) -> None:
    views = cgroups.create("a", LIMITS, **tree.where).views()
    shown = {(view.fstype, view.option, view.directory) for view in views}
    if tree.layout == "v2":
        assert shown == {("cgroup2", "", "")}
    else:
        assert {("cgroup", "memory", "memory"), ("cgroup", "cpu,cpuacct", "cpu,cpuacct")} <= shown
        assert "cpuset" not in {view.option for view in views}  # it has no group there: the view would be the host's
        assert (("cgroup2", "", "unified") in shown) == (tree.layout == "hybrid")


def test_usage_has_every_figure_in_bytes_and_seconds(tree: FakeCgroups) -> None:
    usage = cgroups.create("a", Limits(io=(IoLimit(device="/dev/vda", read_bps=MIB),)), **tree.where).usage()
    assert (usage.cpu_seconds, usage.throttled_seconds) == (1.5, 2.5)
    assert (usage.memory_bytes, usage.memory_cache_bytes, usage.memory_peak_bytes) == (50331648, 30000000, 60000000)
    assert (usage.pids, usage.pids_refused, usage.oom_kills) == (5, 2, 3)
    assert (usage.io_read_bytes, usage.io_write_bytes) == (4096, 8192)
    assert usage.pressure == (None if tree.layout == "v1" else {"cpu": 0.015, "memory": 0.015, "io": 0.015})


def test_one_who_asks_over_and_over_gets_what_the_files_say_now(tree: FakeCgroups) -> None:
    group = cgroups.create("a", LIMITS, **tree.where)
    opened = len(os.listdir("/proc/self/fd"))
    kept = cgroups.Kept()
    assert group.usage(kept.read) == group.usage()
    held = len(os.listdir("/proc/self/fd"))
    assert held > opened
    at = next(tree.root.glob("**/cellhold/a/pids.current"))
    at.write_text("63\n")
    assert group.usage(kept.read).pids == 63
    assert len(os.listdir("/proc/self/fd")) == held
    kept.close()
    assert len(os.listdir("/proc/self/fd")) == opened
    assert group.usage(kept.read).pids == 63  # opened again
    kept.close()


def test_usage_of_a_removed_group_is_empty_and_no_error(tree: FakeCgroups) -> None:
    group = cgroups.create("a", LIMITS, **tree.where)
    group.remove()
    assert group.usage() == Usage()


def test_update_changes_limits_and_none_lifts_them(tree: FakeCgroups) -> None:
    group = cgroups.create("a", LIMITS, **tree.where)
    group.update(Limits(memory_bytes=128 * MIB, cpus=1.5, pids=7))
    assert (text(tree, "memory"), text(tree, "pids")) == (str(128 * MIB), "7")
    assert text(tree, "cpu").startswith("150000")
    group.update(Limits(pids=None))
    assert (text(tree, "memory"), text(tree, "pids")) == ("max" if tree.layout == "v2" else "-1", "max")
    assert text(tree, "cpu").startswith("max" if tree.layout == "v2" else "-1")


def test_update_can_add_and_take_away_processors_and_disks(tree: FakeCgroups) -> None:
    group = cgroups.create("a", LIMITS, **tree.where)
    group.update(Limits(cpuset="1", io=(IoLimit(device="/dev/vda", write_bps=MIB),)))
    assert text(tree, "cpuset") == "1"
    assert "1048576" in text(tree, "io")
    group.update(Limits())
    assert text(tree, "cpuset") == ("" if tree.layout == "v2" else "0-3")
    assert text(tree, "io") == ("254:0 rbps=max wbps=max riops=max wiops=max" if tree.layout == "v2" else "254:0 0")


def test_memory_below_what_is_held_is_refused_with_the_figure_and_nothing_changes(tree: FakeCgroups) -> None:
    group = cgroups.create("a", LIMITS, **tree.where)  # it uses 48 MiB, 28.6 of them page cache
    group.update(Limits(memory_bytes=32 * MIB, pids=64))
    with pytest.raises(InvalidSpec, match=r"memory=16 MiB: the container holds 19\.4 MiB"):
        group.update(Limits(memory_bytes=16 * MIB, pids=9))
    assert (text(tree, "memory"), text(tree, "pids")) == (str(32 * MIB), "64")


def test_a_processor_that_is_not_there_is_refused_and_nothing_is_left(tree: FakeCgroups) -> None:
    for wrong in ("4", "0-9", "0,99999999999", "3-1"):
        with pytest.raises(InvalidSpec, match=f"cpuset={wrong}: processors 0-3 can be used"):
            cgroups.create("a", Limits(cpuset=wrong), **tree.where)
    assert tree.groups() == []


def test_a_group_that_is_removed_in_this_moment_is_killed_and_thawed(tree: FakeCgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel answers ENODEV for a file that was opened a moment before, ENOENT for one a moment later."""
    group = cgroups.create("a", LIMITS, **tree.where)
    for number in (errno.ENODEV, errno.ENOENT):
        monkeypatch.setattr(cgroups.files, "write", partial(_refuse, number))
        group.kill()
        group.thaw()


@pytest.mark.parametrize("number", [errno.ENODEV, errno.ENOENT])
def test_a_group_that_is_removed_in_this_moment_is_not_paused_and_says_why(
    tree: FakeCgroups, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    group = cgroups.create("a", LIMITS, **tree.where)
    monkeypatch.setattr(cgroups.files, "write", partial(_refuse, number))
    with pytest.raises(CellholdError, match=r"^cannot pause .*: it has just ended$"):
        group.freeze()


def _refuse(number: int, path: str, *_values: str) -> None:
    raise OSError(number, os.strerror(number), path)


def test_a_limit_that_cannot_be_written_undoes_the_group(tree: FakeCgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    real = cgroups.files.write

    def refuse(path: str, *values: str) -> None:
        if path.endswith("pids.max"):
            raise OSError(22, "Invalid argument", path)
        real(path, *values)

    monkeypatch.setattr(cgroups.files, "write", refuse)
    with pytest.raises(InvalidSpec, match=r"cannot use pids=64: the kernel refuses pids\.max = 64 \(Invalid argument\)"):
        cgroups.create("a", LIMITS, **tree.where)
    assert tree.groups() == []


def test_a_failed_update_puts_the_other_limits_back(tree: FakeCgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    group = cgroups.create("a", LIMITS, **tree.where)
    before = {limit: text(tree, limit) for limit in ("memory", "swap", "cpu", "pids")}
    real = cgroups.files.write

    def refuse(path: str, *values: str) -> None:
        if path.endswith("pids.max"):
            raise OSError(22, "Invalid argument", path)
        real(path, *values)

    monkeypatch.setattr(cgroups.files, "write", refuse)
    with pytest.raises(InvalidSpec, match="pids=9"):
        group.update(Limits(memory_bytes=256 * MIB, cpus=2, pids=9))
    assert {limit: text(tree, limit) for limit in before} == before


def test_a_name_that_is_taken_is_refused_and_left_alone(tree: FakeCgroups) -> None:
    cgroups.create("a", LIMITS, **tree.where)
    groups = tree.groups()
    with pytest.raises(SetupFailed, match=r"cgroup .*cellhold/a: it is there already"):
        cgroups.create("a", Limits(), **tree.where)
    assert tree.groups() == groups
    assert text(tree, "pids") == "64"


def test_a_name_that_leads_elsewhere_is_refused(tree: FakeCgroups) -> None:
    for name in ("..", "a/b", "", ".hidden", "a\n"):
        with pytest.raises(InvalidSpec, match="cannot use cgroup name"):
            cgroups.create(name, Limits(), **tree.where)


def test_freeze_returns_when_the_kernel_says_frozen(tree: FakeCgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    group = cgroups.create("a", LIMITS, **tree.where)
    real = cgroups.files.read
    until = time.monotonic() + 0.05

    def still_freezing(path: str) -> str | None:
        if time.monotonic() < until and path.endswith(("freezer.state", "cgroup.events")):
            return "FREEZING" if path.endswith("state") else "populated 1\nfrozen 0"
        return real(path)

    monkeypatch.setattr(cgroups.files, "read", still_freezing)
    group.freeze()
    assert time.monotonic() >= until
    group.thaw()
    state = tree.text("freezer", "a", "freezer.state" if tree.layout == "v1" else "cgroup.freeze") if tree.layout != "hybrid" else "0"
    assert state in ("THAWED", "0")


@contextmanager
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_kill_reaches_every_process_even_without_the_kernels_own_kill(tree: FakeCgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups.processes, "PATIENCE", 0.01)
    group = cgroups.create("a", LIMITS, **tree.where)
    controller = "pids"
    if tree.unified:
        (tree.unified / "cellhold/a/cgroup.kill").unlink()
    with sleeping() as process:
        (tree.directory(controller, "a") / "cgroup.procs").write_text(f"{process.pid}\n0\n")
        group.kill()  # the 0, a process of another pid namespace, must not become kill(0): that is this test's own process group
        assert process.wait(timeout=10) == -signal.SIGKILL


def test_remove_waits_for_the_dead_to_leave_and_may_be_called_twice(tree: FakeCgroups) -> None:
    group = cgroups.create("a", LIMITS, **tree.where)
    procs = tree.directory("memory", "a") / "cgroup.procs"
    procs.write_text("1\n")
    timer = threading.Timer(0.05, procs.write_text, [""])
    timer.start()
    group.remove()
    timer.join()
    group.remove()
    assert tree.groups() == []


def test_remove_says_who_is_still_in_it_and_removes_the_rest(tree: FakeCgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups.processes, "PATIENCE", 0.01)
    group = cgroups.create("a", LIMITS, **tree.where)
    procs = tree.directory("pids", "a") / "cgroup.procs"
    procs.write_text("4242\n")
    with pytest.raises(NotAllowed, match=r"cellhold/a: processes are still in it \(pid 4242\)"):
        group.remove()
    assert tree.groups() == [str(procs.parent.relative_to(tree.root))]


def test_what_another_process_made_can_be_opened(tree: FakeCgroups) -> None:
    cgroups.create("a", LIMITS, **tree.where)
    again = cgroups.existing("a", **tree.where)
    again.update(Limits(memory_bytes=96 * MIB))
    assert text(tree, "memory") == str(96 * MIB)
    assert again.usage().pids == 5
    again.remove()
    assert tree.groups() == []
    with pytest.raises(NotAllowed, match="cellhold/a: it is gone"):
        cgroups.existing("a", **tree.where)


def test_a_sweep_finds_and_removes_what_a_crash_left(tree: FakeCgroups) -> None:
    assert cgroups.leftovers(**tree.where) == ()
    cgroups.create("b", LIMITS, **tree.where)
    group = cgroups.create("a", LIMITS, **tree.where)
    group.freeze()
    inner = tree.directory("memory", "a") / "made-by-a-container"
    cgroups.files.mkdir(str(inner))
    assert cgroups.leftovers(**tree.where) == ("a", "b")
    cgroups.remove_leftover("a", **tree.where)
    cgroups.remove_leftover("a", **tree.where)
    assert cgroups.leftovers(**tree.where) == ("b",)


def test_a_group_that_was_half_made_is_a_leftover_too(tree: FakeCgroups) -> None:
    cgroups.create("a", LIMITS, **tree.where)
    cgroups.files.rmdir(str(tree.directory("memory", "a")))
    cgroups.remove_leftover("a", **tree.where)
    assert tree.groups() == []


def test_someone_who_may_not_make_groups_is_told_how_to(tree: FakeCgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(directory: str) -> None:
        raise PermissionError(13, "Permission denied", directory)

    monkeypatch.setattr(cgroups.files, "mkdir", refuse)
    with pytest.raises(NotSupported, match=r"cannot make cgroup .*cellhold/a: Permission denied") as caught:
        cgroups.create("a", LIMITS, **tree.where)
    assert "Delegate=yes" in str(caught.value.hint)
