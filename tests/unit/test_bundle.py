"""An OCI bundle's config.json as a Spec; what would be a hole is refused by name."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from cellhold.errors import ImageNotFound, InvalidSpec, NotSupported
from cellhold.spec import bundle
from cellhold.spec.limits import PIDS_DEFAULT

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.spec.spec import Spec

MIB = 1 << 20
CONFIG: dict[str, Any] = {  # as `runc spec` writes it, in short
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False,
        "user": {"uid": 1000, "gid": 100},
        "args": ["sh", "-c", "true"],
        "env": ["PATH=/bin", "TERM=xterm", "EMPTY=", "A=B=C"],
        "cwd": "/work",
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 2048, "soft": 1024}],
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "runc",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
        {"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "noexec", "size=65536k", "nr_inodes=99"]},
        {"destination": "/data", "type": "bind", "source": "data", "options": ["rbind", "ro"]},
    ],
    "linux": {
        "resources": {
            "devices": [{"allow": False, "access": "rwm"}],
            "memory": {"limit": 64 * MIB, "swap": 128 * MIB},
            "cpu": {"quota": 150000, "period": 100000, "cpus": "0-1"},
            "pids": {"limit": 32},
        },
        "namespaces": [{"type": "pid"}, {"type": "network"}],
        "maskedPaths": ["/proc/kcore"],
    },
}


def read(directory: Path, config: object) -> Spec:
    (directory / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return bundle.spec(directory)


def with_value(path: str, value: object) -> dict[str, Any]:
    config = deepcopy(CONFIG)
    *parents, last = path.split(".")
    at = config
    for name in parents:
        at = at.setdefault(name, {})
    at[last] = value
    return config


def test_a_bundle_says_what_to_run_and_in_which_walls(tmp_path: Path) -> None:
    spec = read(tmp_path, CONFIG)
    assert (spec.image, spec.args, spec.cwd, spec.user) == (str(tmp_path / "rootfs"), ("sh", "-c", "true"), "/work", "1000:100")
    assert spec.env == {"PATH": "/bin", "TERM": "xterm", "EMPTY": "", "A": "B=C"}
    assert (spec.hostname, spec.read_only, spec.capabilities) == ("runc", True, frozenset({"CAP_KILL"}))
    limits = spec.limits
    assert (limits.memory_bytes, limits.memory_swap_bytes, limits.cpus, limits.cpuset, limits.pids) == (64 * MIB, 128 * MIB, 1.5, "0-1", 32)
    assert limits.rlimits == {"nofile": (1024, 2048)}


def test_its_binds_and_tmpfs_are_mounted_and_what_every_container_has_is_not_twice(tmp_path: Path) -> None:
    tmpfs, bind = read(tmp_path, CONFIG).mounts
    assert (tmpfs.kind, tmpfs.target, tmpfs.read_only) == ("tmpfs", "/scratch", True)
    assert (tmpfs.no_exec, tmpfs.size_bytes, tmpfs.inodes) == (True, 64 * MIB, 99)
    assert (bind.kind, bind.target, bind.source, bind.read_only) == ("bind", "/data", str(tmp_path / "data"), True)


def test_what_it_does_not_say_is_the_default_and_no_capability(tmp_path: Path) -> None:
    spec = read(tmp_path, {"process": {"args": ["x"]}, "root": {"path": "r"}})
    assert (spec.cwd, spec.user, spec.hostname, spec.read_only, spec.capabilities) == ("/", "0:0", None, False, frozenset())
    assert (spec.limits.memory_bytes, spec.limits.cpus, spec.limits.pids) == (None, None, PIDS_DEFAULT)


@pytest.mark.parametrize(
    ("path", "value", "of_limits", "expected"),
    [
        ("linux.resources.memory.limit", -1, "memory_bytes", None),
        ("linux.resources.memory.swap", 0, "memory_swap_bytes", None),
        ("linux.resources.memory.swap", -1, "memory_swap_bytes", -1),
        ("linux.resources.cpu.quota", -1, "cpus", None),
        ("linux.resources.memory.reservation", -1, "reservation_bytes", None),
        ("linux.resources.memory.reservation", 1 << 23, "reservation_bytes", 1 << 23),
        ("linux.resources.pids.limit", 0, "pids", None),
        ("linux.resources.pids.limit", -1, "pids", None),
    ],
)
def test_no_limit_is_written_as_zero_or_minus_one(tmp_path: Path, path: str, value: int, of_limits: str, expected: int | None) -> None:
    config = with_value(path, value)
    if of_limits == "memory_bytes":
        del config["linux"]["resources"]["memory"]["swap"]
    assert getattr(read(tmp_path, config).limits, of_limits) == expected


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("hooks", {"prestart": [{"path": "/bin/true"}]}, "hooks"),
        ("linux.sysctl", {"net.ipv4.ip_forward": "1"}, "linux.sysctl"),
        ("linux.devices", [{"path": "/dev/fuse", "type": "c"}], "linux.devices"),
        ("linux.namespaces", [{"type": "network", "path": "/proc/1/ns/net"}], "/proc/1/ns/net"),
        ("mounts", [{"destination": "/n", "type": "nfs", "source": "x"}], "nfs on /n"),
        ("linux.resources.blockIO", {"weight": 10}, "linux.resources.blockIO"),
        ("linux.resources.hugepageLimits", [{"pageSize": "2MB", "limit": 1}], "hugepageLimits"),
        ("linux.resources.unified", {"memory.high": "1"}, "unified"),
        ("linux.resources.memory.kernel", 1, "linux.resources.memory.kernel"),
    ],
)
def test_a_wall_or_limit_that_is_not_there_is_refused_by_name(tmp_path: Path, path: str, value: object, named: str) -> None:
    with pytest.raises(NotSupported) as refused:
        read(tmp_path, with_value(path, value))
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("process", [], "process is not an object"),
        ("process.args", "sh", "args is not a list"),
        ("process.args", ["sh", 1], "args is not a list of strings"),
        ("process.cwd", 1, "cwd is not a string"),
        ("process.cwd", "work", "workdir='work'"),
        ("process.user.uid", "0", "uid is not a whole number"),
        ("process.user.uid", True, "uid is not a whole number"),
        ("process.user.uid", 1.5, "uid is not a whole number"),
        ("process.rlimits", ["x"], "rlimits is not a list of objects"),
        ("root.path", 1, "path is not a string"),
        ("root.path", "", "root.path is missing"),
        ("root", None, "root.path is missing"),
        ("root.readonly", "yes", "readonly is not true or false"),
        ("mounts", {}, "mounts is not a list"),
        ("mounts", [{"destination": "data", "type": "tmpfs"}], "'data'"),
        ("linux.resources.memory.limit", "64m", "limit is not a whole number"),
        ("linux.resources.memory.limit", 1, "memory=1"),
        ("linux.resources.cpu.period", 0.5, "period is not a whole number"),
        ("hostname", "a b", "hostname='a b'"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(tmp_path: Path, path: str, value: object, named: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        read(tmp_path, with_value(path, value))
    assert named in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", "[" * 100_000, '{"process": {"args": ["' + "x" * (1 << 20) + '"]}}'])
def test_what_is_no_sane_json_object_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"config\.json is not"):
        read(tmp_path, text)


def test_a_directory_without_config_json_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(ImageNotFound, match=r"config\.json: No such file or directory"):
        bundle.spec(tmp_path)
