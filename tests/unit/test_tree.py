"""Trees that a hostile program made are removed and counted, and nothing outside of them is touched."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cellhold.store import tree

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVELS = 3000
HOSTILE_NAMES = (b"-rf", b"a b", b"\n", b"\xff\xfe", b"*", b"'", b"\x1b[2J", b".removing-", b"x" * 255)


def dig(path: Path, levels: int, name: str = "d") -> None:
    """Make a tree deeper than a path can say."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
def test_a_tree_3000_levels_deep_is_counted_and_removed_with_few_descriptors() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:  # ext4 waits in each rmdir(2): seconds on a busy host
        top = Path(place) / "top"
        top.mkdir()
        dig(top, LEVELS)
        assert tree.used_bytes(top) >= 0
        tree.remove(top)
        assert list(Path(place).iterdir()) == []


def test_long_names_make_no_difference(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    dig(top, 100, "n" * 255)
    tree.remove(top)
    assert not top.exists()


def test_what_links_point_to_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    top = tmp_path / "top"
    (top / "below").mkdir(parents=True)
    (top / "to a directory").symlink_to(outside)
    (top / "below/to a file").symlink_to(outside / "precious")
    (top / "below/to itself").symlink_to(".")
    (top / "below/up").symlink_to("..")
    (top / "below/hard").hardlink_to(outside / "precious")
    tree.remove(top)
    assert not top.exists()
    assert (outside / "precious").read_text() == "precious"


def test_a_link_in_the_place_of_the_tree_is_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (tmp_path / "top").symlink_to(outside)
    tree.remove(tmp_path / "top")
    assert not (tmp_path / "top").is_symlink()
    assert (outside / "precious").exists()


def test_hostile_names_are_only_names(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    for name in HOSTILE_NAMES:
        os.mkdir(os.path.join(os.fsencode(top), name))  # bytes
        for below in HOSTILE_NAMES:
            with open(os.path.join(os.fsencode(top), name, below), "w"):  # bytes
                pass
    tree.remove(top)
    assert not top.exists()


def test_modes_fifos_and_sockets_hinder_nothing(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "work/work/index").mkdir(parents=True)
    (top / "work/work/index/file").touch()
    os.mkfifo(top / "fifo")
    (top / "work/work/index").chmod(0o000)
    (top / "work/work").chmod(0o000)
    top.chmod(0o500)
    tree.remove(top)
    assert not top.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_modes_hinder_nothing_without_root_either(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 12345, 12345)
    for folder in tmp_path.parents[:-1]:
        if folder.owner() == "root" and folder.name.startswith(("pytest", "popen")):
            folder.chmod(0o711)
    tmp_path.chmod(0o711)
    os.seteuid(12345)
    try:
        (home / "top/work/work").mkdir(parents=True)
        (home / "top/work/work/file").touch()
        (home / "top/work/work").chmod(0o000)
        (home / "top/work").chmod(0o100)
        tree.remove(home / "top")
        assert list(home.iterdir()) == []
    finally:
        os.seteuid(0)


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    tree.remove(tmp_path / "nothing")


def test_emptying_keeps_the_directory(tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/file").touch()
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        tree.empty(fd)
    finally:
        os.close(fd)
    assert list(tmp_path.iterdir()) == []


def test_many_entries_are_all_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    for number in range(2000):
        (top / f"{number}").mkdir() if number % 2 else (top / f"{number}").touch()
    tree.remove(top)
    assert not top.exists()


def test_bytes_are_those_on_disk_and_hard_links_count_once(tmp_path: Path) -> None:
    before = tree.used_bytes(tmp_path)
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").write_bytes(b"x" * 400_000)
    (tmp_path / "below/again").hardlink_to(tmp_path / "below/file")
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 30)
    os.sync()
    assert 400_000 <= tree.used_bytes(tmp_path) - before < 500_000
