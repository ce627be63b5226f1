"""plan(): from a spec and an image to what is mounted where, without touching the host."""

from __future__ import annotations

import marshal
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cellhold.cgroups.base import View
from cellhold.errors import InvalidSpec, NotSupported
from cellhold.image import directory
from cellhold.image.model import Image, Stack
from cellhold.init import prepare
from cellhold.init.prepare import DEVICES
from cellhold.linux import hostpath, mount, process
from cellhold.linux.capabilities import DEFAULT, mask
from cellhold.linux.process import NAMESPACES
from cellhold.rootfs import tmpfs
from cellhold.rootfs.plan import MASKED, READ_ONLY, plan
from cellhold.rootfs.sources import open_sources
from cellhold.spec.limits import Limits
from cellhold.spec.spec import Device, Mount, Spec
from cellhold.store.subids import Ids, own

if TYPE_CHECKING:
    from cellhold.init.plan import FileSystem, Plan, Writable

MIB = 1 << 20
IMAGE = Image(
    name="test",
    stacks=(Stack(target="/", layers=(Path("/top"), Path("/base"))), Stack(target="/usr", layers=(Path("/usr"),))),
    env={"PATH": "/bin", "LANG": "C"},
    cwd="/home",
    args=("sh",),
)


ORDINARY = Ids(base=0, owner=1000, count=1, rows=((0, 1000, 1),))  # an ordinary user's
WRITABLE: Writable = {"path": "/layer", "options": {}, "pairs": 2}


def planned(spec: Spec | None = None, of: Image | None = None, **values: Any) -> Plan:
    facts: dict[str, Any] = {
        "hostname": "box",
        "init_layer": Path("/init"),
        "ids": own(1 << 30),
        "views": (),
        "seccomp": b"",
    }
    return plan(spec or Spec(args=("true",)), of or IMAGE, **(facts | values))


def at(plan: Plan, target: str) -> FileSystem:
    (found,) = [record for record in plan["filesystems"] if record["target"] == target]
    return found


def test_a_plan_survives_the_way_to_the_launcher() -> None:
    made = planned(
        Spec(args=("a", "\udcff"), env={"X": "\udcfe"}), views=(View(fstype="cgroup2", option="", directory=""),), seccomp=b"12345678"
    )
    assert marshal.loads(marshal.dumps(dict(made))) == made  # noqa: S302  # just made


def test_layers_lie_below_the_init_layer_and_are_read_only_with_shifted_ids() -> None:
    made = planned()
    assert [tree["path"] for tree in made["trees"]] == ["/init", "/top", "/base", "/usr"]
    assert made["overlays"] == [
        {"target": "/", "lowers": [0, 1, 2], "read_only": False},
        {"target": "/usr", "lowers": [3], "read_only": False},
    ]
    assert all(
        tree["idmap"] and tree["attributes"] & mount.MOUNT_ATTR_RDONLY and tree["attributes"] & mount.MOUNT_ATTR_NODEV
        for tree in made["trees"]
    )


def test_every_namespace_is_new_and_the_cgroup_one_comes_later_from_inside() -> None:
    flags = planned()["namespaces"]
    assert set(NAMESPACES) == {"user", "pid", "net", "mnt", "uts", "ipc", "time"}
    assert flags == sum(NAMESPACES.values())
    assert flags & process.CLONE_NEWUSER
    assert not flags & process.CLONE_NEWCGROUP


def test_a_kernel_without_time_namespaces_is_not_asked_for_one() -> None:
    assert not planned(namespaces=("user", "pid"))["namespaces"] & process.CLONE_NEWTIME


def test_the_kernels_file_systems_come_in_an_order_in_which_none_hides_another() -> None:
    targets = [record["target"] for record in planned()["filesystems"]]
    assert targets == ["/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"]


def test_nothing_that_is_mounted_honours_set_user_id_or_devices() -> None:
    for record in planned(Spec(args=("x",), mounts=(Mount(kind="tmpfs", target="/t"),)))["filesystems"]:
        if record["target"] not in ("/dev", "/dev/pts"):
            assert record["attributes"] & mount.MOUNT_ATTR_NOSUID
            assert record["attributes"] & mount.MOUNT_ATTR_NODEV
    assert at(planned(), "/sys")["attributes"] & mount.MOUNT_ATTR_RDONLY


def test_shared_memory_is_half_of_the_memory_limit_and_else_64_megabytes() -> None:
    """So that who fills it reads ENOSPC and is not killed; with a file for each 16 KiB, since empty ones take memory, too."""
    made = planned(Spec(args=("x",), limits=Limits(memory_bytes=512 * MIB)))
    assert at(made, "/dev/shm")["options"] == {"mode": "1777", "size": str(256 * MIB), "nr_inodes": str(16384)}
    assert at(planned(), "/dev/shm")["options"] == {"mode": "1777", "size": str(64 * MIB), "nr_inodes": str(4096)}
    asked = Spec(args=("x",), limits=Limits(memory_bytes=64 * MIB), shm_bytes=96 * MIB)
    assert at(planned(asked), "/dev/shm")["options"]["size"] == str(96 * MIB)


def test_a_tmpfs_has_its_own_size_or_shares_half_of_memory_with_the_others() -> None:
    mounts = (Mount(kind="tmpfs", target="/a", size_bytes=MIB), Mount(kind="tmpfs", target="/b", read_only=True))
    made = planned(Spec(args=("x",), mounts=mounts, limits=Limits(memory_bytes=64 * MIB)))
    assert at(made, "/a")["options"]["size"] == str(MIB)
    assert at(made, "/b")["options"]["size"] == at(made, "/dev/shm")["options"]["size"] == str(31 * MIB // 2)
    assert at(made, "/b")["attributes"] & mount.MOUNT_ATTR_RDONLY
    assert not at(made, "/a")["attributes"] & mount.MOUNT_ATTR_RDONLY


@pytest.mark.parametrize("memory", [None, 6 * MIB, 64 * MIB, 8 << 30])
@pytest.mark.parametrize("given", [(), (None,), (None, None, None), (MIB, None), (3 << 30, None, None)])
def test_all_that_nobody_gave_a_size_to_is_no_more_than_half_of_memory(memory: int | None, given: tuple[int | None, ...]) -> None:
    mounts = tuple(Mount(kind="tmpfs", target=f"/{number}", size_bytes=size) for number, size in enumerate(given))
    made = planned(Spec(args=("x",), mounts=mounts, limits=Limits(memory_bytes=memory)))
    options = [record["options"] for record in made["filesystems"] if record["fstype"] == "tmpfs"]
    sizes = [int(str(each["size"])) for each in options]
    assert sum(sizes) - sum(filter(None, given)) <= (memory or tmpfs.host_bytes()) // 2
    assert all(0 < int(str(each["nr_inodes"])) <= max(256, int(str(each["size"])) // 16384) for each in options)


def test_a_mount_at_dev_shm_takes_its_place() -> None:
    mounts = (Mount(kind="tmpfs", target="/dev/shm/", size_bytes=MIB, inodes=7),)
    found = [record for record in planned(Spec(args=("x",), mounts=mounts))["filesystems"] if "shm" in record["target"]]
    assert [record["options"] for record in found] == [{"mode": "1777", "size": str(MIB), "nr_inodes": "7"}]
    bound = planned(open_sources(Spec(args=("x",), mounts=(Mount(kind="bind", source="/srv", target="/dev/shm"),))))
    assert not any("shm" in record["target"] for record in bound["filesystems"])


def test_shallow_mounts_come_first_so_that_none_hides_another() -> None:
    mounts = tuple(Mount(kind="bind", source="/tmp", target=target) for target in ("/a/b/c", "/a", "/b", "/a/b/"))
    made = planned(open_sources(Spec(args=("x",), mounts=mounts)))
    assert [bind["target"] for bind in made["binds"]] == ["/a", "/b", "/a/b/", "/a/b/c"]


def test_a_bind_is_a_tree_of_its_own_without_set_user_id_and_devices(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    binds = (
        Mount(kind="bind", source=str(tmp_path), target="/d", read_only=True),
        Mount(kind="bind", source=str(tmp_path / "file"), target="/f", as_root=False),
    )
    made = planned(open_sources(Spec(args=("x",), mounts=binds)))
    directory, file = made["binds"]
    assert (directory["directory"], file["directory"]) == (True, False)
    trees = [made["trees"][bind["tree"]] for bind in made["binds"]]
    assert [tree["path"] for tree in trees] == [str(tmp_path), str(tmp_path / "file")]
    assert [tree["idmap"] for tree in trees] == [True, False]
    assert [bool(tree["attributes"] & mount.MOUNT_ATTR_RDONLY) for tree in trees] == [True, False]
    assert all(tree["attributes"] & mount.MOUNT_ATTR_NOSUID and tree["attributes"] & mount.MOUNT_ATTR_NODEV for tree in trees)
    assert not any(tree["recursive"] for tree in trees)


def test_dockers_paths_are_masked_or_read_only() -> None:
    made = planned()
    assert {"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/sys/firmware"} <= set(made["masked"]) == set(MASKED)
    assert {"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"} == set(made["read_only_paths"]) == set(READ_ONLY)


def test_read_only_is_off_unless_asked_for(tmp_path: Path) -> None:
    assert not any(overlay["read_only"] for overlay in planned()["overlays"])
    folder = Mount(kind="overlay", source=str(tmp_path), target="/workspace")
    made = planned(open_sources(Spec(args=("x",), mounts=(folder,), read_only=True)))
    assert [overlay["read_only"] for overlay in made["overlays"]] == [True, True, False]


def test_an_overlay_of_the_users_lies_over_one_tree_of_the_host_and_hides_what_it_is_told_to(tmp_path: Path) -> None:
    folder = Mount(kind="overlay", source=str(tmp_path), target="/workspace", hidden=(".ssh", ".aws/credentials"))
    made = planned(open_sources(Spec(args=("x",), mounts=(folder,))))
    assert made["overlays"][-1] == {"target": "/workspace", "lowers": [len(made["trees"]) - 1], "read_only": False}
    tree = made["trees"][-1]
    assert (tree["path"], tree["idmap"], tree["recursive"]) == (str(tmp_path), True, False)
    assert tree["attributes"] & mount.MOUNT_ATTR_RDONLY
    covers = made["covers"]["/workspace"]
    assert (covers["fixed"], covers["hidden"]) == ([], [".ssh", ".aws/credentials"])


def test_nothing_that_a_spec_shows_of_the_host_is_mounted_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "file").touch()
    mounts = (
        Mount(kind="bind", source=str(tmp_path / "file"), target="/file"),
        Mount(kind="overlay", source=str(tmp_path), target="/folder"),
        Mount(kind="volume", source="kept", target="/volume", opened=hostpath.opened(tmp_path)),
    )
    devices = (Device(source="/dev/null", target="/dev/mine"),)
    spec = open_sources(Spec(image=str(tmp_path / "image"), args=("x",), mounts=mounts, devices=devices))
    image = directory.image(spec.image)
    everybody: list[dict[str, Any]] = [{}, {"ids": ORDINARY, "writable": WRITABLE}]
    for values in everybody:
        made = planned(spec, of=image, **values)
        by_path = {tree["path"] for tree in made["trees"] if tree["held"] < 0}
        assert by_path <= {"/init", *(f"/dev/{name}" for name in DEVICES)}
        by_descriptor = [os.stat(tree["held"]) for tree in made["trees"] if tree["held"] >= 0]
        shown = (tmp_path / "image", tmp_path / "file", tmp_path, *((Path("/dev/null"),) if values else ()))
        assert {status.st_ino for status in by_descriptor} == {path.stat().st_ino for path in shown}
        assert prepare.list_held(made) == sorted(tree["held"] for tree in made["trees"] if tree["held"] >= 0)


@pytest.mark.parametrize("kind", ["bind", "overlay", "volume"])
def test_what_nobody_has_opened_is_in_no_plan(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="it was not opened"):
        planned(Spec(args=("x",), mounts=(Mount(kind=kind, source=str(tmp_path), target="/x"),)))


def test_the_environment_is_the_images_the_hostname_and_the_specs_and_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert planned(Spec(args=("x",), env={"LANG": "de", "A": "1"}))["env"] == {"PATH": "/bin", "LANG": "de", "HOSTNAME": "box", "A": "1"}


def test_what_the_spec_does_not_say_is_the_images() -> None:
    left_out = planned(IMAGE.completed(Spec()))
    assert (left_out["args"], left_out["cwd"], left_out["user"]) == (["sh"], "/home", "0:0")
    assert planned(IMAGE.completed(Spec(cwd="/work")))["cwd"] == "/work"
    assert planned(replace(IMAGE, user="www").completed(Spec()))["user"] == "www"
    assert planned(replace(IMAGE, user="www").completed(Spec(user="7")))["user"] == "7"


@pytest.mark.parametrize(
    ("entrypoint", "args", "command"),
    [(None, (), ["tini", "sh"]), (None, ("ls",), ["tini", "ls"]), (("init",), (), ["init"]), ((), ("ls",), ["ls"]), ((), (), [])],
)
def test_the_command_is_put_together_as_docker_does_it(
    entrypoint: tuple[str, ...] | None, args: tuple[str, ...], command: list[str]
) -> None:
    image = replace(IMAGE, entrypoint=("tini",))
    assert planned(image.completed(Spec(entrypoint=entrypoint, args=args)))["args"] == command


def test_capabilities_are_the_default_set_exactly_those_asked_for_or_none() -> None:
    assert planned()["bounding"] == mask(DEFAULT)
    assert planned(Spec(args=("x",), capabilities=frozenset({"CAP_CHOWN"})))["bounding"] == 1
    assert planned(Spec(args=("x",), capabilities=frozenset()))["bounding"] == 0
    with pytest.raises(InvalidSpec, match="CAP_EVERYTHING"):
        planned(Spec(args=("x",), capabilities=frozenset({"CAP_EVERYTHING"})))


def test_the_host_name_is_in_its_hosts_file_and_no_name_server_of_ours_is() -> None:
    files = planned(hostname="one")["files"]
    assert files["/etc/hostname"] == "one\n"
    assert "127.0.0.1\tlocalhost one\n" in files["/etc/hosts"]
    assert "nameserver" not in files["/etc/resolv.conf"]


def without_root(**values: Any) -> Plan:
    return planned(ids=ORDINARY, writable=WRITABLE, **values)


def test_without_root_the_devices_are_the_hosts_own_and_terminals_have_no_group_that_is_not_there() -> None:
    made = without_root()
    devices = {bind["target"]: made["trees"][bind["tree"]]["path"] for bind in made["binds"]}
    assert devices == {f"/dev/{name}": f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}
    assert not any(made["trees"][bind["tree"]]["attributes"] & mount.MOUNT_ATTR_NODEV for bind in made["binds"])
    assert "gid" not in at(made, "/dev/pts")["options"]
    assert at(planned(), "/dev/pts")["options"]["gid"] == "5"


def test_a_tree_with_something_mounted_inside_is_bound_read_only_with_it() -> None:
    made = without_root(mounted=("/", "/usr/share/data", "/usrlocal"))
    assert [overlay["target"] for overlay in made["overlays"]] == ["/"]
    (bind,) = [bind for bind in made["binds"] if bind["target"] == "/usr"]
    tree = made["trees"][bind["tree"]]
    assert (tree["path"], tree["recursive"]) == ("/usr", True)
    assert tree["attributes"] & mount.MOUNT_ATTR_RDONLY


def test_a_root_with_something_mounted_inside_is_refused_by_name() -> None:
    with pytest.raises(NotSupported, match="image=test without root: /base/proc is mounted inside it"):
        without_root(mounted=("/base/proc",))
