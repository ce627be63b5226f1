"""The writable layer on the real kernel: every kind under one contract, the limits to the last byte, and nothing left over."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cellhold import storage
from cellhold.errors import InvalidSpec, NotAllowed, NotSupported, SetupFailed
from cellhold.linux import loop
from cellhold.linux.mount import fsconfig_create, fsconfig_flag, fsconfig_string, fsmount, fsopen
from cellhold.storage import image_file, template

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.requires("root", "mount-api", "overlayfs", "loop-devices", "mkfs")

MIB = 1 << 20
OWNER = 100_000
LEVELS = 1500  # beyond Python's recursion limit; rmdir(2) on ext4 waits once each, so that 3000 are left to tests/unit/test_tree.py
KINDS = {"directory": ("disk", None), "image": ("disk", 64 * MIB), "tmpfs": ("tmpfs", 16 * MIB), "tmpfs without a limit": ("tmpfs", None)}
LIMITED = {"image": "disk", "tmpfs": "tmpfs"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where layers are made; on a disk, since one kind is a directory there."""
    return tmp_path


def make(place: Path, *, kind: str = "disk", limit: int | None = None, overlays: int = 2, name: str = "layer") -> storage.Storage:
    return storage.create(place / name, overlays=overlays, owner=OWNER, limit_bytes=limit, kind=kind, templates=place / "templates")


@contextmanager
def opened(layer: storage.Storage) -> Iterator[int]:
    fd = layer.open()
    try:
        yield fd
    finally:
        os.close(fd)


def beneath(mount: int) -> Path:
    """A path into a detached mount."""
    return Path(f"/proc/self/fd/{mount}")


def fill(root: int, path: str, *, most: int) -> int:
    """Write until there is no space; how many bytes that were."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, dir_fd=root)
    written = 0
    try:
        while written < most:
            written += os.write(fd, bytes(256 << 10))
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017  # and no other
    finally:
        os.close(fd)
    return written


def overlay(root: int, lower: Path) -> int:
    """A volatile overlay on the first pair, as a detached mount."""
    context = fsopen("overlay")
    try:
        fsconfig_string(context, "lowerdir", str(lower))
        fsconfig_string(context, "upperdir", f"/proc/self/fd/{root}/0/upper")
        fsconfig_string(context, "workdir", f"/proc/self/fd/{root}/0/work")
        fsconfig_flag(context, "volatile")
        fsconfig_create(context)
        return fsmount(context)
    finally:
        os.close(context)


# ------------------------------------------------------------------------------------------------------- one contract, every kind


@pytest.fixture(params=KINDS)
def layer(request: pytest.FixtureRequest, place: Path) -> Iterator[storage.Storage]:
    kind, limit = KINDS[request.param]
    made = make(place, kind=kind, limit=limit)
    yield made
    made.remove()


def test_it_holds_a_pair_an_overlay_owned_by_the_containers_root(layer: storage.Storage) -> None:
    before = os.umask(0o077)
    try:
        with opened(layer) as root:
            assert not os.get_inheritable(root)
            for path in ("0", "0/upper", "0/work", "1", "1/upper", "1/work"):
                facts = os.stat(path, dir_fd=root)
                assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o7777) == (OWNER, OWNER, 0o755)
            assert not os.path.lexists(f"/proc/self/fd/{root}/2")
    finally:
        os.umask(before)


def test_overlayfs_takes_it_and_again_after_prepare_restart(layer: storage.Storage, tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    lower.mkdir()
    (lower / "old").touch()
    for _ in range(3):
        with opened(layer) as root:
            merged = overlay(root, lower)
            assert (beneath(merged) / "old").exists()
            (beneath(merged) / "new").touch()
            os.close(merged)
            assert (beneath(root) / "0/upper/new").exists()
        layer.prepare_restart()


def test_it_says_what_it_is(place: Path) -> None:
    said = {name: make(place, kind=kind, limit=limit, name=name).describe() for name, (kind, limit) in KINDS.items()}
    assert said["directory"].startswith("a directory on ")
    assert said["directory"].endswith(", no size limit")
    assert said["image"] == "a sparse ext4 image of 64 MiB"
    assert said["tmpfs"] == "a tmpfs of 16 MiB"


def test_removing_leaves_nothing_and_may_be_done_twice(layer: storage.Storage, place: Path) -> None:
    with opened(layer) as root:
        (beneath(root) / "0/upper/file").touch()
    layer.remove()
    layer.remove()
    assert {path.name for path in place.iterdir()} <= {"templates"}
    assert not any(path.is_file() and path.suffix == ".new" for path in place.rglob("*"))
    assert not loops(place)
    assert str(place) not in Path("/proc/self/mountinfo").read_text()


def loops(place: Path) -> list[str]:
    """The loop devices on files below `place`."""
    return [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file") if str(place) in path.read_text()]


def test_making_it_again_finds_the_same(place: Path) -> None:
    for name, limit in (("directory", None), ("image", 16 * MIB)):
        with opened(make(place, limit=limit, name=name)) as root:
            (beneath(root) / "0/upper/kept").write_text("kept")
        with opened(make(place, limit=limit, name=name)) as root:
            assert (beneath(root) / "0/upper/kept").read_text() == "kept"


def test_a_deep_tree_with_links_and_hostile_names_is_removed(layer: storage.Storage, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    with opened(layer) as root:
        fd = os.open("0/upper", os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
        os.symlink(tmp_path, "to outside", dir_fd=fd)
        for name in (b"-rf", b"\n", b"\xff", b"..."):
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.mkdir("closed", 0o000, dir_fd=fd)
        for _ in range(LEVELS):
            os.mkdir("d", dir_fd=fd)
            below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        os.close(fd)
    used = layer.used_bytes()
    assert used is None or used > 0
    layer.remove()
    assert not layer.directory.exists()
    assert (tmp_path / "precious").read_text() == "precious"


# --------------------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("limit", [1 * MIB, 5_000_000, 64 * MIB])
@pytest.mark.parametrize("kind", LIMITED.values(), ids=LIMITED)
def test_the_limit_holds_and_is_all_there(place: Path, kind: str, limit: int) -> None:
    layer = make(place, kind=kind, limit=limit, overlays=1)
    with opened(layer) as root:
        written = 0
        for number in range(4):  # after a sync, what ext4 had set aside for its own blocks is free again
            written += fill(root, f"0/upper/{number}", most=2 * limit)
            os.sync()
        assert fill(root, "0/upper/one more", most=2 * limit) == 0
    assert written <= -(-limit // 4096) * 4096
    assert written > limit * 0.97
    layer.remove()


def test_two_overlays_share_one_limit(place: Path) -> None:
    layer = make(place, limit=8 * MIB)
    with opened(layer) as root:
        assert fill(root, "0/upper/big", most=16 * MIB) > 7 * MIB
        assert fill(root, "1/upper/big", most=16 * MIB) < MIB


def test_an_image_costs_what_is_in_it(place: Path) -> None:
    layer = make(place, limit=1024 * MIB)
    assert (layer.used_bytes() or 0) < MIB
    with opened(layer) as root:
        fill(root, "0/upper/big", most=8 * MIB)
        os.sync()
        assert 8 * MIB <= (layer.used_bytes() or 0) < 10 * MIB
        os.unlink("0/upper/big", dir_fd=root)
        os.sync()
    assert (layer.used_bytes() or 0) < 2 * MIB


def test_devices_and_set_user_ids_on_the_layer_mean_nothing(place: Path) -> None:
    for number, (kind, limit) in enumerate(KINDS.values()):
        with opened(make(place, kind=kind, limit=limit, name=str(number))) as root:
            os.mknod("0/upper/null", 0o666 | 0o020000, os.makedev(1, 3), dir_fd=root)
            with pytest.raises(PermissionError):
                os.open("0/upper/null", os.O_RDONLY, dir_fd=root)
            assert os.fstatvfs(root).f_flag & os.ST_NOSUID


@pytest.mark.parametrize("limit", [1, 4096, MIB - 1, 1 << 60])
def test_a_limit_that_no_file_system_can_have_is_refused(place: Path, limit: int) -> None:
    with pytest.raises(InvalidSpec, match=f"cannot use disk={limit}: a file system can be made for 1 MiB to 15 TiB"):
        make(place, limit=limit)


def test_an_unknown_kind_is_refused(place: Path) -> None:
    with pytest.raises(InvalidSpec, match="cannot use storage=cloud: not a kind of storage"):
        make(place, kind="cloud")


# ------------------------------------------------------------------------------------------------------- what this host cannot do


def test_without_mkfs_the_limit_is_refused_and_the_remedy_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_a, **_k: None)
    with pytest.raises(NotSupported, match=r"cannot limit the disk to 64 MiB: mkfs\.ext4 is not installed") as caught:
        make(place, limit=64 * MIB)
    assert "apt-get install e2fsprogs" in str(caught.value.hint)


def test_without_loop_devices_the_limit_is_refused_and_the_remedy_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(place, limit=64 * MIB)
    monkeypatch.setattr(loop, "_CONTROL", "/dev/there-is-none")
    with pytest.raises(NotSupported, match="cannot limit the disk to 64 MiB: no loop device or no right to mount one") as caught:
        layer.open()
    assert "storage=tmpfs" in str(caught.value.hint)


def test_what_mkfs_says_is_told_and_nothing_half_made_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "_OPTIONS", ("-b", "nonsense"))
    with pytest.raises(SetupFailed, match=r"cannot make a file system of 64 MiB: mkfs\.ext4: .*nonsense"):
        make(place, limit=64 * MIB)
    assert [path.name for path in (place / "templates").iterdir()] == ["lock"]


def test_an_image_that_is_mounted_is_not_mounted_twice(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_file, "_PATIENCE_SECONDS", 0.1)
    layer = make(place, limit=8 * MIB)
    with opened(layer), pytest.raises(NotAllowed, match="it is mounted already"):
        layer.open()
    with opened(layer):
        pass


def test_a_mount_that_fails_lets_go_of_the_loop_device(place: Path) -> None:
    layer = make(place, limit=8 * MIB)
    (layer.directory / "disk.img").write_bytes(bytes(8 * MIB))
    with pytest.raises(OSError, match="Invalid argument"):
        layer.open()
    assert not loops(place)


def test_many_at_once_each_get_a_device(place: Path) -> None:
    layers = [make(place, limit=2 * MIB, name=f"layer{number}") for number in range(20)]
    fds = [layer.open() for layer in layers]
    assert len(loops(place)) == 20
    for fd in fds:
        os.close(fd)
    assert not loops(place)


def test_a_file_system_is_sound_after_use(place: Path) -> None:
    layer = make(place, limit=16 * MIB)
    with opened(layer) as root:
        fill(root, "0/upper/big", most=32 * MIB)
    ran = subprocess.run(["/usr/sbin/e2fsck", "-fn", layer.directory / "disk.img"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
