"""What differs between hosts: where hierarchies are, which controllers there are, and what is refused for want of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cellhold import cgroups
from cellhold.cgroups import counters, hierarchies, limits_v1
from cellhold.errors import NotSupported
from cellhold.spec.limits import Limits
from fake_cgroups import FakeCgroups

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
DEBIAN_10 = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
31 22 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
32 31 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw
33 31 0:28 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
34 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:12 - cgroup cgroup rw,cpu,cpuacct
35 31 0:30 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid shared:13 - cgroup cgroup rw,net_cls,net_prio
36 31 0:31 / /sys/fs/cgroup/blkio rw,nosuid shared:14 - cgroup cgroup rw,blkio
"""
FEDORA = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"


def test_the_hybrid_layout_is_read_from_mountinfo() -> None:
    found = hierarchies.parse(DEBIAN_10, root="/sys/fs/cgroup")
    assert (found.unified, found.unified_name) == ("/sys/fs/cgroup/unified", "unified")
    assert found.v1["cpu"] is found.v1["cpuacct"]
    assert found.v1["cpu"].option == "cpu,cpuacct"
    assert found.v1["io"].mount == "/sys/fs/cgroup/blkio"
    assert "systemd" not in found.v1


@pytest.mark.parametrize(
    ("mounts", "layout"),
    [(DEBIAN_10, "hybrid"), (FEDORA, "v2"), (DEBIAN_10.replace("cgroup2", "tmpfs"), "v1"), ("22 1 8:1 / / rw - ext4 /dev/sda1 rw", "")],
)
def test_a_layout_has_a_name(mounts: str, layout: str) -> None:
    assert hierarchies.parse(mounts, root="/sys/fs/cgroup").layout == layout


def test_the_unified_layout_is_read_from_mountinfo() -> None:
    assert hierarchies.parse(FEDORA, root="/sys/fs/cgroup") == hierarchies.Hierarchies(unified="/sys/fs/cgroup")


def test_a_mount_over_another_hides_it_and_mounts_elsewhere_do_not_count() -> None:
    text = (
        "1 0 0:1 / /cg/memory rw - cgroup cgroup rw,memory\n"
        "2 1 0:2 / /cg/memory rw - cgroup cgroup rw,pids\n"
        "3 0 0:3 / /other/cpu rw - cgroup cgroup rw,cpu\n"
        "4 0 0:3 / /cg/with\\040space rw - cgroup cgroup rw,cpuset\n"
    )
    found = hierarchies.parse(text, root="/cg")
    assert set(found.v1) == {"pids", "cpuset"}
    assert found.v1["cpuset"].mount == "/cg/with space"


def test_a_host_without_cgroups_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    with pytest.raises(NotSupported, match="no cgroup is mounted on"):
        cgroups.create("a", Limits(), root=tmp_path, mountinfo=tmp_path / "mountinfo")


def test_available_says_which_version_has_each_controller(tmp_path: Path) -> None:
    v1 = FakeCgroups(tmp_path / "1", "v1")
    v2 = FakeCgroups(tmp_path / "2", "v2")
    hybrid = FakeCgroups(tmp_path / "h", "hybrid")
    names = {"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "io", "pids"}
    assert cgroups.available(**v1.where) == dict.fromkeys(names, "v1")
    assert cgroups.available(**v2.where) == dict.fromkeys(["cpuset", "cpu", "io", "memory", "pids", "freezer"], "v2")
    assert cgroups.available(**hybrid.where) == dict.fromkeys(names, "v1")  # hugetlb is in v2's root, but not passed on


@pytest.mark.parametrize(
    ("limits", "controller"),
    [(Limits(memory_bytes=64 * MIB), "memory"), (Limits(cpus=1), "cpu"), (Limits(cpuset="0"), "cpuset"), (Limits(pids=10), "pids")],
)
def test_a_limit_without_its_controller_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits, controller: str
) -> None:
    tree = FakeCgroups(tmp_path, "v2", controllers="hugetlb").install(monkeypatch)
    with pytest.raises(NotSupported, match=f"cannot enforce {controller[:3]}.*'{controller}' is not available") as caught:
        cgroups.create("a", limits, **tree.where)
    assert f"Delegate={controller}" in str(caught.value.hint)
    assert tree.groups() == []


def test_the_default_number_of_processes_is_no_reason_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = FakeCgroups(tmp_path, "v2", controllers="hugetlb").install(monkeypatch)
    group = cgroups.create("a", Limits(), **tree.where)
    assert all(", devices = " in line for line in group.describe())  # no limit is told of
    assert group.usage().cpu_seconds == 1.5


@pytest.mark.parametrize(("layout", "swap"), [("v1", "memory.memsw.limit_in_bytes"), ("v2", "memory.swap.max")])
def test_swap_that_the_kernel_does_not_count_is_refused_only_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, swap: str
) -> None:
    tree = FakeCgroups(tmp_path, layout).install(monkeypatch)
    read = cgroups.files.read
    monkeypatch.setattr(cgroups.files, "read", lambda path: None if path.endswith(swap) else read(path))
    for unasked in (None, -1):
        cgroups.create("a", Limits(memory_bytes=64 * MIB, memory_swap_bytes=unasked), **tree.where).remove()
    with pytest.raises(NotSupported, match="memory-swap=128 MiB: this kernel does not count swap"):
        cgroups.create("a", Limits(memory_bytes=64 * MIB, memory_swap_bytes=128 * MIB), **tree.where)
    assert tree.groups() == []


def test_the_hybrid_layout_leaves_the_v2_root_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = FakeCgroups(tmp_path, "hybrid").install(monkeypatch)
    assert tree.unified is not None
    (tree.unified / "cgroup.controllers").write_text("memory hugetlb\n")
    cgroups.create("a", Limits(memory_bytes=64 * MIB), **tree.where)
    assert (tree.unified / "cgroup.subtree_control").read_text() == ""


def test_a_controller_may_be_in_v2_while_the_others_are_in_v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = FakeCgroups(tmp_path, "hybrid").install(monkeypatch)
    assert tree.unified is not None
    lines = tree.mountinfo.read_text().splitlines(keepends=True)
    tree.mountinfo.write_text("".join(line for line in lines if "rw,memory" not in line))
    for file in ("cgroup.controllers", "cgroup.subtree_control"):
        (tree.unified / file).write_text("memory\n")
    group = cgroups.create("a", Limits(memory_bytes=64 * MIB, pids=9), **tree.where)
    assert (tree.unified / "cellhold/a/memory.max").read_text() == f"{64 * MIB}\n"
    assert tree.text("pids", "a", "pids.max") == "9"
    assert group.usage().oom_kills == 3
    group.update(Limits(memory_bytes=128 * MIB))
    assert (tree.unified / "cellhold/a/memory.max").read_text() == f"{128 * MIB}\n"


def test_an_ordinary_user_gets_groups_in_the_delegated_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = FakeCgroups(tmp_path, "v2").install(monkeypatch)
    parent = "user.slice/user-1000.slice"
    cgroups.files.ensure(str(tree.root), parent)
    (tree.root / "cgroup.subtree_control").write_text("cpu memory pids\n")
    tree._pass_on(tree.root)
    (tree.root / "user.slice/cgroup.subtree_control").write_text("cpu memory pids\n")
    tree._pass_on(tree.root / "user.slice")
    group = cgroups.create("a", Limits(memory_bytes=64 * MIB), parent=parent, **tree.where)
    assert (tree.root / parent / "a/memory.max").read_text() == f"{64 * MIB}\n"
    assert (tree.root / parent / "cgroup.subtree_control").read_text().split() == ["cpu", "memory", "pids"]
    group.remove()


def test_memory_and_swap_are_written_in_an_order_the_v1_kernel_takes() -> None:
    def order(limits: Limits, present: int | None) -> list[str]:
        writes = limits_v1.memory(limits, swap=True, present_swap=present)
        return [write.file.split(".")[1] for write in writes]

    assert order(Limits(memory_bytes=64 * MIB), None) == ["limit_in_bytes", "memsw"]
    assert order(Limits(memory_bytes=64 * MIB), 128 * MIB) == ["limit_in_bytes", "memsw"]
    assert order(Limits(memory_bytes=256 * MIB), 128 * MIB) == ["memsw", "limit_in_bytes"]
    assert order(Limits(), 128 * MIB) == ["memsw", "limit_in_bytes"]


def test_a_v1_container_may_use_only_the_harmless_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = FakeCgroups(tmp_path, "v1").install(monkeypatch)
    cgroups.create("a", Limits(), **tree.where)
    assert tree.text("devices", "a", "devices.deny") == "a"
    allowed = tree.text("devices", "a", "devices.allow").splitlines()
    numbers = ("1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:2", "136:*")
    assert sorted(allowed) == sorted(["b *:* m", "c *:* m", *(f"c {number} rwm" for number in numbers)])


def test_a_cpuset_of_v1_starts_from_its_parents_memory_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = FakeCgroups(tmp_path, "v1").install(monkeypatch)
    cgroups.create("a", Limits(cpuset="2"), **tree.where)
    assert tree.text("cpuset", "a", "cpuset.mems") == "0"
    assert (tree.root / "cpuset/cellhold/cpuset.cpus").read_text() == "0-3\n"


def test_counters_take_what_kernels_write() -> None:
    text = "a 1\nba 2\nb max\n\nc"
    assert [counters.keyed(text, key) for key in ("a", "ba", "b", "c", "d")] == [1, 2, None, None, None]
    assert counters.keyed(None, "a") is None
    assert counters.number("max") is None
    assert counters.pressure(None) is None
    assert counters.io_v1("254:0 Read 1\n8:0 Read 2\n8:0 Sync 5\nTotal 8") == (3, 0)
    assert counters.io_v2("254:0 rbytes=1 wbytes=2 rios=9\n8:0 rbytes=3") == (4, 2)
    assert counters.io_v2("") == (0, 0)
