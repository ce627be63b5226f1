"""The store's directory: private, made when needed, and where it was said to be."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from cellhold.errors import NotSupported
from cellhold.store.home import default_root, open_home


def test_it_is_made_with_all_its_parts_for_its_owner_only(tmp_path: Path) -> None:
    home = open_home(tmp_path / "deep" / "store")
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700
    assert {part.name for part in home.root.iterdir()} == {
        "blobs",
        "containers",
        "ids",
        "images",
        "layers",
        "networks",
        "templates",
        "seccomp",
        "volumes",
    }
    assert {stat.S_IMODE(part.stat().st_mode) for part in home.root.iterdir()} == {0o700}
    assert open_home(home.root) == home


def test_a_relative_place_stays_where_it_was_when_the_caller_goes_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CELLHOLD_HOME", "store")
    assert default_root() == tmp_path / "store"


def test_without_a_setting_an_ordinary_user_gets_the_xdg_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELLHOLD_HOME")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/x")
    assert default_root() == Path("/x/cellhold")


def test_a_place_that_cannot_be_made_is_told_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotSupported, match=r"cannot make the store .*/file/store: Not a directory") as refused:
        open_home(tmp_path / "file" / "store")
    assert "CELLHOLD_HOME" in str(refused.value.hint)


def test_a_store_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(NotSupported, match="it belongs to uid"):
        open_home(tmp_path)


def test_the_init_layer_holds_every_mount_point_and_nothing_else(tmp_path: Path) -> None:
    layer = open_home(tmp_path).init_layer()
    found = {str(path.relative_to(layer)) for path in layer.rglob("*")}
    assert found == {"dev", "etc", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf"}
    assert all(path.stat().st_size == 0 for path in layer.rglob("*") if path.is_file())


def test_its_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    inside = threading.Event()

    def enter() -> None:
        with home.locked():
            inside.set()

    other = threading.Thread(target=enter)
    with home.locked():
        other.start()
        assert not inside.wait(0.1)
    assert inside.wait(5)
    other.join()
