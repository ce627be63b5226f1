"""What a container sees of itself and of the host: namespaces, users, its root, volumes and tmpfs."""

from __future__ import annotations

import os
import re
import socket
from typing import TYPE_CHECKING

import pytest

from boxes import MIB, run, shell, spec, started
from cellhold.container.container import Container
from cellhold.errors import InvalidSpec, SetupFailed
from cellhold.spec.limits import Limits
from cellhold.spec.spec import Mount

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")


# ------------------------------------------------------------------------------------------------------------- what it sees


def test_every_namespace_is_another_than_the_hosts(busybox_root: Path) -> None:
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
    ran = shell(busybox_root, f"for n in {' '.join(kinds)}; do busybox readlink /proc/self/ns/$n; done")
    assert len(ran.out.split()) == len(kinds)
    assert not set(ran.out.split()) & {os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}


def test_nothing_of_the_callers_environment_gets_in(busybox_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    ran = run(spec(busybox_root, "busybox", "env", env={"A": "1"}, hostname="box"))
    assert sorted(ran.out.splitlines()) == [
        "A=1",
        "HOME=/root",
        "HOSTNAME=box",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]


def test_it_has_its_host_name_and_knows_itself_by_it(busybox_root: Path) -> None:
    ran = shell(busybox_root, "hostname; cat /etc/hostname; cat /etc/hosts", hostname="box-1")
    assert ran.out.splitlines()[:2] == ["box-1", "box-1"]
    assert "127.0.0.1\tlocalhost box-1" in ran.out
    assert socket.gethostname() != "box-1"


def test_only_lo_is_there_and_it_is_up(busybox_root: Path) -> None:
    ran = shell(busybox_root, "ls /sys/class/net; busybox ip -o link")
    assert ran.out.split()[0] == "lo"
    assert "UP" in ran.out
    assert len(ran.out.splitlines()) == 2


def test_the_working_directory_is_made_for_whoever_the_user_is(busybox_root: Path) -> None:
    assert shell(busybox_root, "busybox pwd", cwd="/work/deep/er").out == "/work/deep/er\n"
    assert shell(busybox_root, "busybox pwd; id -u", cwd="/made/for/me", user="1000").out == "/made/for/me\n1000\n"


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("0:0", "0 0"),
        ("1000", "1000 1000"),
        ("user", "1000 1000"),
        ("user:root", "1000 0"),
        ("7:9", "7 9"),
        ("7", "7 0"),
        ("root:user", "0 1000"),
        ("65535", "65535 0"),
    ],
)
def test_the_user_is_a_name_of_the_image_or_a_number(busybox_root: Path, user: str, ids: str) -> None:
    assert shell(busybox_root, "echo $(id -u) $(id -g)", user=user).out == f"{ids}\n"


@pytest.mark.parametrize(
    "user", ["nobody", "", ":", "-1", "65536", "4294967295", "4294967296", "\u0661", "1000:staff", "0:4294967295", "9" * 30]
)
def test_a_user_that_is_not_there_is_refused_and_never_root(busybox_root: Path, user: str) -> None:
    with Container.create(spec(busybox_root, "id", user=user)) as box, pytest.raises(SetupFailed, match=r"step program\.prepare failed"):
        box.start()


def test_another_user_has_no_capabilities(busybox_root: Path) -> None:
    assert "CapEff:\t0000000000000000" in shell(busybox_root, "cat /proc/self/status", user="1000").out
    assert "CapPrm:\t0000000000000000" in shell(busybox_root, "cat /proc/self/status", capabilities=frozenset()).out


def test_two_containers_share_no_ids(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sleep", "60")) as (first, _), started(spec(busybox_root, "sleep", "60")) as (second, _):
        bases = []
        for box in (first, second):
            with open(f"/proc/{box.pid}/uid_map", encoding="ascii") as file:
                inside, base, count = map(int, file.read().split())
            assert (inside, count) == (0, 65536)
            bases.append(base)
        assert abs(bases[0] - bases[1]) >= 65536


@pytest.mark.v2
def test_its_own_limits_are_readable_inside_and_not_writable(busybox_root: Path) -> None:
    script = """
        cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max
        for f in $(busybox find /sys/fs/cgroup -type f); do (echo 0 > $f) && echo WROTE $f; done
        for d in $(busybox find /sys/fs/cgroup -type d); do mkdir $d/x && echo MADE $d/x; done"""
    assert shell(busybox_root, script, limits=Limits(memory_bytes=64 * MIB)).out == f"{64 * MIB}\n"


def test_ps_shows_its_own_processes_and_no_path_of_the_host(busybox_root: Path) -> None:
    out = run(spec(busybox_root, "ps", "-o", "pid,args")).out
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["1", "2"]
    assert "cellhold-init" in out
    assert not re.search(r"/(work|usr|root|var|home)/", out)


def test_read_only_means_the_root_and_not_what_was_mounted_to_be_written(busybox_root: Path) -> None:
    mounts = (Mount(kind="tmpfs", target="/scratch"),)
    ran = shell(
        busybox_root,
        "touch /x; touch /bin/x; echo y > /scratch/y; echo z > /dev/shm/z; cat /scratch/y /dev/shm/z",
        read_only=True,
        mounts=mounts,
    )
    assert ran.out == "y\nz\n"
    assert ran.err.count("Read-only file system") == 2


def test_what_it_writes_stays_out_of_the_image_and_goes_with_it(busybox_root: Path) -> None:
    before = {str(path) for path in busybox_root.rglob("*")}
    assert shell(busybox_root, "echo changed > /etc/passwd; rm /bin/busybox; mkdir /new; echo > /new/x").outcome.status == 0
    assert {str(path) for path in busybox_root.rglob("*")} == before
    assert "changed" not in (busybox_root / "etc/passwd").read_text()


# ------------------------------------------------------------------------------------------------------------- volumes


def test_a_volume_is_the_hosts_and_files_made_there_belong_to_its_owner(busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from the host\n")
    volume = Mount(kind="bind", source=str(tmp_path), target="/data")
    assert shell(busybox_root, "cat /data/in; echo back > /data/out", mounts=(volume,)).out == "from the host\n"
    assert (tmp_path / "out").read_text() == "back\n"
    assert (tmp_path / "out").stat().st_uid == os.getuid()


def test_a_read_only_volume_cannot_be_written_and_a_file_can_be_one(busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("x\n")
    volumes = (
        Mount(kind="bind", source=str(tmp_path), target="/data", read_only=True),
        Mount(kind="bind", source=str(tmp_path / "in"), target="/new/name", read_only=True),
    )
    ran = shell(busybox_root, "cat /data/in /new/name; touch /data/y; echo > /new/name", mounts=volumes)
    assert ran.out == "x\nx\n"
    assert ran.err.count("Read-only file system") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_changes_in_an_overlay_volume_stay_in_the_container(busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from the host\n")
    (tmp_path / "below").mkdir()
    folder = Mount(kind="overlay", source=str(tmp_path), target="/workspace")
    words = "cat in; echo changed > in; echo > new; touch below/x; busybox rm -r below; ls; cat in; id -u; busybox stat -c %u in"
    ran = shell(busybox_root, words, mounts=(folder,), cwd="/workspace")
    assert ran.out == "from the host\nin\nnew\nchanged\n0\n0\n", ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["below", "in"]
    assert (tmp_path / "in").read_text() == "from the host\n"


@pytest.mark.parametrize("kind", ["overlay", "bind"])
def test_what_a_volume_hides_cannot_be_seen_or_brought_back(kind: str, busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/key").write_text("secret")
    (tmp_path / ".token").write_text("secret")
    folder = Mount(kind=kind, source=str(tmp_path), target="/workspace", hidden=(".ssh", ".token", ".absent"))
    words = "cat .token; ls .ssh; busybox umount .ssh; busybox mv .ssh x; busybox rm -rf .ssh .token; cat .token .ssh/key"
    ran = shell(busybox_root, words, mounts=(folder,), cwd="/workspace")
    assert "secret" not in ran.out + ran.err
    assert ran.out == ""
    assert (tmp_path / ".ssh/key").read_text() == (tmp_path / ".token").read_text() == "secret"


def test_an_overlay_of_a_file_is_refused(busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("x\n")
    with pytest.raises(InvalidSpec, match="not a directory"):
        Container.create(spec(busybox_root, "true", mounts=(Mount(kind="overlay", source=str(tmp_path / "in"), target="/x"),)))


def test_a_volume_that_is_not_there_is_refused_and_nothing_is_made(busybox_root: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="no such file or directory on the host"):
        Container.create(spec(busybox_root, "true", mounts=(Mount(kind="bind", source=str(tmp_path / "gone"), target="/x"),)))


def test_a_volume_that_goes_away_before_the_start_is_told_and_leaks_nothing(busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / "soon-gone").mkdir()
    with Container.create(spec(busybox_root, "true", mounts=(Mount(kind="bind", source=str(tmp_path / "soon-gone"), target="/x"),))) as box:
        (tmp_path / "soon-gone").rmdir()
        with pytest.raises(SetupFailed, match=r"step launch\.prepare failed: No such file or directory"):
            box.start()


def test_a_tmpfs_has_its_size(busybox_root: Path) -> None:
    mounts = (Mount(kind="tmpfs", target="/small", size_bytes=MIB), Mount(kind="tmpfs", target="/fixed", read_only=True))
    ran = shell(busybox_root, "dd if=/dev/zero of=/small/x bs=64k count=64; ls -l /small/x; touch /fixed/x", mounts=mounts)
    assert int(ran.out.split()[4]) == MIB
    assert "No space left" in ran.err
    assert "Read-only" in ran.err


def test_shared_memory_is_half_of_the_memory_limit(busybox_root: Path) -> None:
    ran = shell(busybox_root, "busybox df -k /dev/shm", limits=Limits(memory_bytes=96 * MIB))
    assert ran.out.splitlines()[-1].split()[1] == str(48 << 10)
