"""docker's flags as a Spec; what is wrong with one is told with the flag and its value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cellhold.cli import options
from cellhold.cli.command import parser
from cellhold.errors import InvalidSpec
from cellhold.linux.capabilities import DEFAULT
from cellhold.spec.limits import PIDS_DEFAULT, IoLimit
from cellhold.spec.spec import Mount

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.spec.spec import Spec

MIB = 1 << 20


def spec(*words: str) -> Spec:
    return options.spec(parser().parse_args(["run", *words]))


def test_the_first_word_is_the_image_and_the_rest_is_the_programs_own() -> None:
    made = spec("--memory", "64m", "host", "python3", "--memory", "-c", "--", "x")
    assert (made.image, made.args, made.limits.memory_bytes) == ("host", ("python3", "--memory", "-c", "--", "x"), 64 * MIB)


def test_every_limit_has_a_flag() -> None:
    made = spec(
        *"--memory 64m --memory-swap 128m --cpus 1.5 --cpuset-cpus 0-1 --pids-limit 16 --disk 10m --time 1m30s host true".split()
    ).limits
    assert (made.memory_bytes, made.memory_swap_bytes, made.cpus, made.cpuset) == (64 * MIB, 128 * MIB, 1.5, "0-1")
    assert (made.pids, made.disk_bytes, made.seconds) == (16, 10 * MIB, 90.0)


def test_minus_one_means_no_limit_where_docker_says_so() -> None:
    assert spec("--pids-limit", "-1", "host", "x").limits.pids is None
    assert spec("--memory=64m", "--memory-swap=-1", "host", "x").limits.memory_swap_bytes == -1
    assert spec("host", "x").limits.pids == PIDS_DEFAULT


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--memory 512mb4 host x", "memory=512mb4"),
        ("--memory=-1 host x", "memory=-1"),
        ("--memory 1k host x", "memory=1024"),
        ("--cpus=-1 host x", "cpus=-1"),
        ("--cpus two host x", "cpus=two"),
        ("--pids-limit 0 host x", "pids-limit=0"),
        ("--pids-limit 1_000 host x", "pids-limit=1_000"),
        ("--time 0 host x", "time=0"),
        ("--disk 1 host x", "disk=1"),
        ("--network host -p 80 host x", "ports with network=host"),
        ("--network a/b host x", "name='a/b'"),
        ("-p 80 host x", "ports with network=none"),
        ("--network bridge --net-ingress 5 host x", "net-ingress=5"),
        ("--network bridge --net-egress 5kbit host x", "net-egress=5000"),
        ("--hostname a_b host x", "hostname='a_b'"),
        ("--ulimit nofile host x", "ulimit=nofile"),
        ("--ulimit nofile=2:1 host x", "ulimit=nofile=2:1"),
        ("--ulimit nofile=x host x", "ulimit=x"),
        ("--volume da/ta:/data host x", "volume=da/ta:/data"),
        ("--volume :/data host x", "volume=:/data"),
        ("--volume=-x:/data host x", "name='-x'"),
        ("--volume tmp host x", "'tmp'"),
        ("--volume /a:/b --tmpfs /b host x", "twice on /b"),
        ("--mount type=bind,source=/a host x", "no target"),
        ("--mount type=bind,target=/a host x", "no source"),
        ("--mount type=npipe,target=/a host x", "type=npipe"),
        ("--mount target=/a,uid=5 host x", "uid is not known"),
        ("--mount type=tmpfs,target=/a,tmpfs-mode=8 host x", "mode=8"),
        ("--add-host db host x", "add-host='db'"),
        ("--add-host db:1.2.3 host x", "add-host='db:1.2.3'"),
        ("--label =x host x", "label='=x'"),
        ("--restart sometimes host x", "restart='sometimes'"),
        ("--restart on-failure:0 host x", "restart='on-failure:0'"),
        ("--stop-signal LOUD host x", "LOUD"),
        ("--security-opt seccomp=unconfined host x", "security-opt=seccomp=unconfined"),
        ("--security-opt no-new-privileges=false host x", "security-opt=no-new-privileges=false"),
        ("--userns host host x", "userns=host"),
        ("--env-file /nonsuch host x", "env-file=/nonsuch"),
        ("--shm-size big host x", "shm-size=big"),
        ("--memory 64m --memory-reservation 65m host x", "above the memory limit"),
        ("--memory-reservation big host x", "memory-reservation=big"),
        ("--health-retries 2 host x", "no --health-cmd"),
        ("--health-cmd true --health-interval 0 host x", "health-interval=0"),
        ("--volume /a:/b:rox host x", "volume=/a:/b:rox"),
        ("--volume /a:b host x", "'b'"),
        ("--volume /a:/b:ro:z host x", "volume=/a:/b:ro:z"),
        ("--tmpfs /t:size=big host x", "tmpfs size=big"),
        ("--tmpfs /t:uid=5 host x", "option uid"),
        ("--tmpfs t host x", "'t'"),
        ("--cap-add EVERYTHING host x", "EVERYTHING"),
        ("--cap-drop CHOWNN host x", "CHOWNN"),
        ("--device-read-bps /dev/sda host x", "device-read-bps=/dev/sda"),
        ("--device-read-iops /dev/sda:fast host x", "read_iops=fast"),
        ("--env =x host x", "env ''"),
        ("--workdir work host x", "workdir='work'"),
        ("", "no image given"),
    ],
)
def test_a_wrong_value_is_named_with_its_flag(words: str, named: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        spec(*words.split())
    assert named in str(refused.value)


def test_an_environment_flag_without_a_value_takes_the_callers_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "1")
    monkeypatch.delenv("NOT_HERE", raising=False)
    assert spec("-e", "A=1=2", "-e", "HERE", "-e", "NOT_HERE", "-e", "EMPTY=", "host", "x").env == {"A": "1=2", "HERE": "1", "EMPTY": ""}


def test_volumes_are_binds_and_a_relative_source_is_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = spec("-v", "/a:/b:ro", "-v", "./c:/d", "-v", "/e:/f:rw", "-v", "/g:/h:O", "host", "x").mounts
    assert [(entry.kind, entry.source, entry.target, entry.read_only) for entry in made] == [
        ("bind", "/a", "/b", True),
        ("bind", str(tmp_path / "c"), "/d", False),
        ("bind", "/e", "/f", False),
        ("overlay", "/g", "/h", False),
    ]


def test_a_tmpfs_may_have_a_size_and_be_read_only() -> None:
    assert spec("--tmpfs", "/a", "--tmpfs", "/b:size=1m,ro", "host", "x").mounts == (
        Mount(kind="tmpfs", target="/a"),
        Mount(kind="tmpfs", target="/b", size_bytes=MIB, read_only=True),
    )


def test_ulimits_are_soft_and_hard_or_both_the_same() -> None:
    assert spec("--ulimit", "nofile=10:20", "--ulimit", "core=0", "host", "x").limits.rlimits == {"nofile": (10, 20), "core": (0, 0)}


def test_capabilities_are_dropped_then_added_under_any_of_their_names() -> None:
    assert spec("host", "x").capabilities is None
    assert spec("--cap-drop", "ALL", "host", "x").capabilities == frozenset()
    assert spec("--cap-drop", "all", "--cap-add", "chown", "host", "x").capabilities == frozenset({"CAP_CHOWN"})
    assert spec("--cap-drop", "CAP_KILL", "host", "x").capabilities == DEFAULT - {"CAP_KILL"}
    assert spec("--cap-add", "net_raw", "host", "x").capabilities == DEFAULT | {"CAP_NET_RAW"}


def test_rates_of_one_device_are_one_limit() -> None:
    made = spec("--device-read-bps", "/dev/sda:1m", "--device-write-iops", "/dev/sda:10", "--device-read-bps", "/dev/sdb:2m", "host", "x")
    assert made.limits.io == (
        IoLimit(device="/dev/sda", read_bps=MIB, write_iops=10),
        IoLimit(device="/dev/sdb", read_bps=2 * MIB),
    )


def test_a_root_file_system_takes_the_images_place(tmp_path: Path) -> None:
    made = spec("--rootfs", str(tmp_path), "sh", "-c", "x")
    assert (made.image, made.args) == (str(tmp_path), ("sh", "-c", "x"))


@pytest.mark.parametrize(
    "words", ["--memory 64m", "--read-only", "--cap-drop ALL", "--pids-limit 5", "-e A=1", "--user 1", "--storage tmpfs"]
)
def test_a_flag_that_a_bundle_would_swallow_is_refused(tmp_path: Path, words: str) -> None:
    with pytest.raises(InvalidSpec, match=r"cannot use --[a-z-]+ with --bundle"):
        spec("--bundle", str(tmp_path), *words.split())


@pytest.mark.parametrize("words", [["run", "--no-such-flag"], ["run", "--memory"], ["fly"], []])
def test_a_command_line_that_is_wrong_ends_with_dockers_125_and_a_hint(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)
    assert ended.value.code == 125
    said = capsys.readouterr().err
    assert said.startswith("cellhold: ")
    assert "hint: see 'cellhold" in said
