"""What the walls stand on (/proc, /dev) is covered by no mount of a user, nor by an image's links; and what is asked for is seen."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from boxes import MIB, command, shell
from cellhold.errors import SetupFailed
from cellhold.spec.spec import Mount

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host with a file."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_text("of the host\n")
    yield tmp_path / "folder"
    assert [path.name for path in (tmp_path / "folder").iterdir() if path.name != "deep"] == ["file"]


@pytest.mark.parametrize("target", ["/proc", "/proc/sys", "/proc/self", "/dev", "/dev/null", "/dev/pts"])
def test_a_mount_there_is_refused_with_a_sentence(busybox_root: Path, folder: Path, target: str) -> None:
    ran = command("run", "--rm", "-v", f"{folder}:{target}", "--rootfs", str(busybox_root), "true")
    assert (ran.returncode, ran.stderr.count("\n")) == (125, 2)
    assert f"cannot mount on {target}: " in ran.stderr
    assert "elsewhere: /mnt/" in ran.stderr


def test_a_file_that_tells_of_the_machine_can_be_replaced(busybox_root: Path, folder: Path) -> None:
    mounts = (Mount(kind="bind", source=str(folder / "file"), target="/proc/meminfo", read_only=True),)
    assert shell(busybox_root, "cat /proc/meminfo", mounts=mounts).out == "of the host\n"


def test_sys_and_shared_memory_can_be_replaced_as_with_docker(busybox_root: Path, folder: Path) -> None:
    for target in ("/sys", "/dev/shm"):
        mounts = (Mount(kind="bind", source=str(folder), target=target, read_only=True),)
        assert shell(busybox_root, f"cat {target}/file", mounts=mounts).out == "of the host\n"


@pytest.mark.parametrize("place", ["/proc", "/proc/sys", "/dev", "/sys"])
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_a_link_of_the_image_does_not_lead_a_mount_there(busybox_root: Path, tmp_path: Path, folder: Path, place: str, kind: str) -> None:
    image = Path(shutil.copytree(busybox_root, tmp_path / "image", symlinks=True))
    (image / "data").symlink_to(place)
    mount = Mount(kind=kind, source=str(folder) if kind == "bind" else None, target="/data")
    with pytest.raises(SetupFailed, match="a link of the image leads /data to the kernel's own files"):
        shell(image, "true", mounts=(mount,))


def test_a_tmpfs_below_a_bind_is_seen_and_not_covered_by_it(busybox_root: Path, folder: Path) -> None:
    (folder / "deep").mkdir()
    mounts = (Mount(kind="tmpfs", target="/f/deep", size_bytes=MIB), Mount(kind="bind", source=str(folder), target="/f"))
    ran = shell(busybox_root, "echo x > /f/deep/x && cat /f/file && busybox df -k /f/deep", mounts=mounts)
    assert ran.out.startswith("of the host\n")
    assert ran.out.splitlines()[-1].split()[1] == "1024"
    assert list((folder / "deep").iterdir()) == []
