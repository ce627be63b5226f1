"""Spec, Limits and Mount are checked when they are made: what is wrong is named with its key and its value."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from cellhold.errors import CellholdError, InvalidSpec
from cellhold.spec.limits import Limits
from cellhold.spec.spec import Exchange, Mount, Spec

MIB = 1 << 20

LIMITS: list[tuple[dict[str, Any], str]] = [
    ({"memory_bytes": 0}, "memory=0"),
    ({"memory_bytes": 6 * MIB - 1}, "memory=6291455"),
    ({"memory_bytes": -1}, "memory=-1"),
    ({"memory_bytes": 1 << 70}, f"memory={1 << 70}"),
    ({"memory_swap_bytes": 64 * MIB}, "memory-swap"),
    ({"memory_bytes": 64 * MIB, "memory_swap_bytes": 32 * MIB}, f"memory-swap={32 * MIB}"),
    ({"memory_bytes": 64 * MIB, "memory_swap_bytes": -2}, "memory-swap=-2"),
    ({"cpus": 0.0}, "cpus=0"),
    ({"cpus": -1.0}, "cpus=-1"),
    ({"cpus": math.nan}, "cpus=nan"),
    ({"cpus": math.inf}, "cpus=inf"),
    ({"cpuset": "all"}, "cpuset=all"),
    ({"cpuset": "0-"}, "cpuset=0-"),
    ({"cpuset": "\u0660"}, "cpuset=\u0660"),
    ({"pids": 0}, "pids=0"),
    ({"pids": -1}, "pids=-1"),
    ({"disk_bytes": MIB - 1}, f"disk={MIB - 1}"),
    ({"seconds": 0.0}, "time=0"),
    ({"seconds": -1.0}, "time=-1"),
    ({"seconds": math.inf}, "time=inf"),
    ({"rlimits": {"nofile": (20, 10)}}, "ulimit=nofile=20:10"),
]

MOUNTS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "nfs", "target": "/data"}, "type=nfs"),
    ({"kind": "tmpfs", "target": "data"}, "'data'"),
    ({"kind": "tmpfs", "target": ""}, "''"),
    ({"kind": "tmpfs", "target": "/"}, "cannot mount on /"),
    ({"kind": "tmpfs", "target": "//"}, "cannot mount on //"),
    ({"kind": "tmpfs", "target": "/."}, "cannot mount on /."),
    ({"kind": "tmpfs", "target": "/a/../.."}, "/a/../.."),
    ({"kind": "tmpfs", "target": "/a\0b"}, r"'/a\x00b'"),
    ({"kind": "bind", "target": "/data"}, "/data"),
    ({"kind": "bind", "target": "/proc", "source": "/x"}, "cannot mount on /proc: /proc describes the container's own processes"),
    ({"kind": "bind", "target": "//proc/./sys/", "source": "/x"}, "/proc describes"),
    ({"kind": "volume", "target": "/proc/meminfo", "source": "v"}, "/proc describes"),
    ({"kind": "tmpfs", "target": "/proc/1"}, "/proc describes"),
    ({"kind": "bind", "target": "/dev", "source": "/x"}, "cannot mount on /dev: /dev holds the container's own devices"),
    ({"kind": "bind", "target": "/dev/null", "source": "/x"}, "/dev holds"),
    ({"kind": "tmpfs", "target": "/dev/pts"}, "/dev holds"),
    ({"kind": "tmpfs", "target": "/t", "inodes": 0}, "nr_inodes=0"),
    ({"kind": "bind", "target": "/data", "source": "here"}, "'here'"),
    ({"kind": "bind", "target": "/data", "source": "/x\0"}, r"'/x\x00'"),
]

SPECS: list[tuple[dict[str, Any], str]] = [
    ({"network": "host", "egress": "none"}, "egress with network=host"),
    ({"storage": "cloud"}, "storage=cloud"),
    ({"hostname": "a b"}, "hostname='a b'"),
    ({"hostname": "-a"}, "hostname='-a'"),
    ({"hostname": "x" * 65}, "hostname="),
    ({"hostname": "é"}, "hostname='é'"),
    ({"hostname": "a\n127.0.0.1 b"}, "hostname="),
    ({"name": ".."}, "name='..'"),
    ({"name": "a/b"}, "name='a/b'"),
    ({"name": ""}, "name=''"),
    ({"cwd": "work"}, "workdir='work'"),
    ({"env": {"A=B": "1"}}, "env 'A=B'"),
    ({"env": {"": "1"}}, "env ''"),
    ({"env": {"A": "1\0"}}, "env 'A'"),
    ({"args": ("true", "a\0b")}, r"'a\x00b'"),
]


@pytest.mark.parametrize(("values", "named"), LIMITS)
def test_a_limit_that_no_host_could_enforce_is_refused_by_key_and_value(values: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        Limits(**values)
    assert str(refused.value).startswith("cannot use ")
    assert named in str(refused.value)


@pytest.mark.parametrize(("values", "named"), MOUNTS)
def test_a_mount_that_cannot_be_is_refused_by_its_path(values: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        Mount(**values)
    assert named in str(refused.value)


@pytest.mark.parametrize("target", ["/dev/shm", "/dev/shm/x", "/sys", "/sys/fs/cgroup", "/process", "/devices", "/proc/meminfo", "/run"])
def test_other_places_of_the_kernel_s_can_be_mounted_on_as_with_docker(target: str) -> None:
    assert Mount(kind="bind", source="/x", target=target).target == target


def test_two_mounts_at_one_place_are_refused_however_it_is_written() -> None:
    mounts = (Mount(kind="tmpfs", target="/a/b"), Mount(kind="volume", source="v", target="//a/./b/"))
    with pytest.raises(InvalidSpec, match="cannot mount twice on /a/b"):
        Spec(mounts=mounts)


def test_nothing_is_mounted_where_the_starter_and_the_container_meet() -> None:
    exchange = Exchange(target="/run/cellhold", size_bytes=65536, inodes=64)
    for target in ("/run/cellhold", "/run/cellhold/kernel-1"):
        with pytest.raises(InvalidSpec, match=f"cannot mount on {target}: the cell kernel's sockets are in /run/cellhold"):
            Spec(exchange=exchange, mounts=(Mount(kind="tmpfs", target=target),))
    assert Spec(exchange=exchange, mounts=(Mount(kind="tmpfs", target="/run"),)).exchange is exchange


@pytest.mark.parametrize(("values", "named"), SPECS)
def test_a_spec_that_can_be_seen_to_be_wrong_is_refused_by_key_and_value(values: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        Spec(**values)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"memory_bytes": 6 * MIB},
        {"memory_bytes": 64 * MIB, "memory_swap_bytes": 64 * MIB},
        {"memory_bytes": 64 * MIB, "memory_swap_bytes": -1},
        {"cpus": 0.01, "cpuset": "0-3,7", "pids": 1, "disk_bytes": MIB, "seconds": 0.1},
        {"pids": None},
        {"rlimits": {"nofile": (10, 10), "core": (0, -1)}},
    ],
)
def test_the_smallest_values_that_make_sense_are_taken(values: dict[str, Any]) -> None:
    limits = Limits(**values)
    assert all(getattr(limits, name) == value for name, value in values.items())


def test_an_error_is_a_value_error_and_carries_its_hint_as_a_note() -> None:
    with pytest.raises(ValueError, match="cannot use memory=1") as refused:
        Limits(memory_bytes=1)
    assert isinstance(refused.value, CellholdError)
    assert refused.value.__notes__ == [f"hint: {refused.value.hint}"]


def test_a_spec_is_frozen_and_with_limits_makes_another() -> None:
    spec = Spec(args=("true",))
    with pytest.raises(FrozenInstanceError):
        spec.image = "other"  # type: ignore[misc]
    changed = spec.with_limits(memory_bytes=64 * MIB)
    assert (changed.limits.memory_bytes, changed.args, spec.limits.memory_bytes) == (64 * MIB, ("true",), None)
    with pytest.raises(InvalidSpec):
        spec.with_limits(pids=0)
