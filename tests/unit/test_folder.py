"""The notebook's folder by its descriptor: what is read of it, and what is not, whatever its names lead to."""

from __future__ import annotations

import os
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from cellhold.errors import InvalidSpec
from cellhold.linux import hostpath
from cellhold_kernel.settings.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST = 1 << 16


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "folder"
    place.mkdir()
    (place / "notes.ipynb").write_text("{}")
    (tmp_path / "secret").write_text("secret")
    return place


@pytest.fixture
def folder(place: Path) -> Iterator[Folder]:
    folder = Folder(hostpath.opened(place))
    yield folder
    folder.opened.close()


def test_it_is_the_directory_that_the_process_works_in_and_stays_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    folder = Folder.of_process()
    assert folder.opened.name == str(place)
    place.rename(place.parent / "moved")
    place.symlink_to("/")
    assert folder.read_file("notes.ipynb", MOST) == b"{}"
    assert folder.opened.current_path() == str(place.parent / "moved")


def test_one_that_was_removed_is_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    shutil.rmtree(place)
    with pytest.raises(FileNotFoundError):
        Folder.of_process()


def test_a_file_that_is_not_there_is_a_file_that_is_not_there(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        folder.read_file("nonsuch.ipynb", MOST)


@pytest.mark.parametrize("name", ["link", "sub/secret", "../secret", "/etc/passwd", "no\0tes.ipynb", "notes.ipynb\0"])
def test_nothing_outside_of_it_is_read_by_any_spelling(name: str, folder: Folder, place: Path) -> None:
    (place / "link").symlink_to("../secret")
    (place / "sub").symlink_to("..")
    with pytest.raises(InvalidSpec, match=r"cannot read .* of the notebook's folder: "):
        folder.read_file(name, MOST)


def test_what_is_no_regular_file_is_not_opened(folder: Folder, place: Path) -> None:
    os.mkfifo(place / "fifo")
    (place / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "socket"))
        for name in ("fifo", "directory", "socket", ""):
            with pytest.raises(InvalidSpec, match="it is not a regular file"):
                folder.read_file(name, MOST)


@pytest.mark.requires("root")
def test_a_device_is_not_opened(folder: Folder, place: Path) -> None:
    os.mknod(place / "zero", 0o20666, os.makedev(1, 5))
    with pytest.raises(InvalidSpec, match="it is not a regular file"):
        folder.read_file("zero", MOST)


def test_what_is_larger_than_its_bound_is_refused_with_its_size(folder: Folder, place: Path) -> None:
    (place / "large").write_bytes(b"x" * (MOST + 1))
    with pytest.raises(InvalidSpec, match=f"it has {MOST + 1} bytes, and at most {MOST} are read"):
        folder.read_file("large", MOST)
    assert len(folder.read_file("large", MOST + 1)) == MOST + 1


def test_a_name_that_no_terminal_should_see_is_spelt_out(folder: Folder, place: Path) -> None:
    (place / "\x1b[2J\udcff\n").mkdir()
    with pytest.raises(InvalidSpec) as caught:
        folder.read_file("\x1b[2J\udcff\n", MOST)
    assert str(caught.value).isprintable()
