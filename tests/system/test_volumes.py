"""Volumes: named, anonymous, populated, in use; binds and tmpfs as --mount has them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from boxes import MIB, command, run, spec
from cellhold.container.detached import Detached
from cellhold.errors import NotAllowed, VolumeNotFound
from cellhold.rootfs import volumes
from cellhold.spec.spec import Mount, Spec
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")


@pytest.fixture(autouse=True)
def _no_volume_stays() -> Iterator[None]:
    yield
    home = open_home()
    for volume in volumes.list_readable(home):
        volumes.remove(volume.name, home)


def names() -> list[str]:
    return [one.name for one in volumes.list_readable(open_home())]


def test_what_is_written_outlives_containers_and_has_the_same_owner_in_each(busybox_root: Path) -> None:
    script = "mkdir /data/d; echo kept > /data/d/f; busybox chown 70:71 /data/d/f"
    assert command("run", "--rm", "-v", "pgdata:/data", "--rootfs", str(busybox_root), "sh", "-c", script).returncode == 0
    for _ in range(2):
        ran = command(
            "run",
            "--rm",
            "-v",
            "pgdata:/data:ro",
            "--rootfs",
            str(busybox_root),
            "sh",
            "-c",
            "cat /data/d/f; busybox stat -c %u:%g /data/d/f",
        )
        assert ran.stdout == "kept\n70:71\n", ran.stderr
    assert names() == ["pgdata"]
    status = (volumes.find("pgdata", open_home()).data / "d/f").stat()
    assert (status.st_uid, status.st_gid) == (70, 71)  # the container's ids, whichever range it had


def test_an_empty_one_gets_what_the_image_has_there_once(busybox_root: Path) -> None:
    place = busybox_root / "stuff"
    (place / "deep").mkdir(parents=True)
    (place / "deep/file").write_text("from the image")
    (place / "link").symlink_to("deep/file")
    (place / "deep").chmod(0o750)
    place.chmod(0o711)
    root = ("--rootfs", str(busybox_root))
    look = "cd /stuff; cat link; busybox stat -c %a . deep; busybox stat -c %a:%u deep/file; echo changed > deep/file"
    assert command("run", "--rm", "-v", "stuff:/stuff", *root, "sh", "-c", look).stdout == "from the image711\n750\n644:0\n"
    assert command("run", "--rm", "-v", "stuff:/stuff", *root, "cat", "/stuff/link").stdout == "changed\n"
    assert (place / "deep/file").read_text() == "from the image"


def test_a_link_of_the_image_leads_nowhere_when_one_is_populated(busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the host's")
    (busybox_root / "trap").symlink_to(tmp_path)
    ran = command("run", "--rm", "-v", "trapped:/trap", "--rootfs", str(busybox_root), "sh", "-c", "cat /trap/* 2>&1")
    assert "the host's" not in ran.stdout


def test_anonymous_ones_go_with_rm_and_are_kept_otherwise(busybox_root: Path) -> None:
    root = ("--rootfs", str(busybox_root))
    assert command("run", "--rm", "-v", "/data", *root, "sh", "-c", "echo x > /data/f").returncode == 0
    assert names() == []
    assert command("run", "--name", "keeps", "-v", "/data", *root, "sh", "-c", "echo x > /data/f").returncode == 0
    assert len(names()) == 1
    assert command("start", "-a", "keeps").returncode == 0
    assert command("rm", "keeps").returncode == 0
    assert len(names()) == 1
    assert f"Deleted Volumes:\n{names()[0]}\n" in command("volume", "prune", "-f").stdout
    assert names() == []
    assert command("run", "--name", "again", "-v", "/data", *root, "true").returncode == 0
    assert command("rm", "-v", "again").returncode == 0
    assert names() == []


def test_one_in_use_is_not_removed_nor_pruned(busybox_root: Path) -> None:
    home = open_home()
    made = Detached.create(
        Spec(image=str(busybox_root), args=("true",), mounts=(Mount(kind="volume", source="used", target="/d"),), name="user")
    )
    try:
        with pytest.raises(NotAllowed, match="container user has it"):
            volumes.remove("used", home)
        assert volumes.prune(home, named=True) == []
        ran = command("volume", "rm", "used")
        assert (ran.returncode, "container user has it" in ran.stderr) == (1, True)
    finally:
        made.remove()
    assert command("volume", "rm", "used").stdout == "used\n"
    with pytest.raises(VolumeNotFound):
        volumes.remove("used", home)
    volumes.remove("used", home, force=True)


def test_the_words_of_docker(busybox_root: Path) -> None:
    assert command("volume", "create", "--label", "who=me", "mine").stdout == "mine\n"
    assert command("volume", "create", "mine").stdout == "mine\n"
    assert len(command("volume", "create").stdout.strip()) == 64
    listed = command("volume", "ls", "--format", "json").stdout.splitlines()
    assert {"driver": "local", "volume_name": "mine"} in map(json.loads, listed)
    found = json.loads(command("volume", "inspect", "mine").stdout)[0]
    assert (found["Name"], found["Labels"], found["UsageData"]["RefCount"]) == ("mine", {"who": "me"}, 0)
    assert busybox_root.exists()


def test_mount_s_three_kinds(busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("bound")
    words = [
        *("--mount", f"type=bind,src={tmp_path},dst=/bound,readonly"),
        *("--mount", "type=volume,source=vol,target=/vol"),
        *("--mount", "type=tmpfs,target=/mem,tmpfs-size=1m,tmpfs-mode=700"),
        *("--tmpfs", "/run:rw,noexec,nosuid,size=64k"),
    ]
    script = "cat /bound/f; echo x > /bound/f; echo x > /vol/f && busybox stat -c %a /mem; busybox grep -c ' /run .*noexec' /proc/mounts"
    ran = command("run", "--rm", *words, "--rootfs", str(busybox_root), "sh", "-c", script)
    assert ran.stdout.startswith("bound700\n")
    assert ran.stdout.endswith("1\n")
    assert "Read-only file system" in ran.stderr
    assert (tmp_path / "f").read_text() == "bound"


def test_a_container_of_this_process_has_them_too(busybox_root: Path) -> None:
    shared = (Mount(kind="volume", source="shared", target="/s"),)
    assert run(spec(busybox_root, "sh", "-c", "echo hi > /s/f", mounts=shared)).outcome.status == 0
    assert run(spec(busybox_root, "cat", "/s/f", mounts=shared)).out == "hi\n"
    assert volumes.find("shared", open_home()).used_bytes() < MIB
