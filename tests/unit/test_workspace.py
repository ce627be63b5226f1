"""The notebook's folder: how it is shown, what of it is not, and which folders are not shown at all."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import grants
from cellhold.errors import InvalidSpec
from cellhold_kernel.settings.folder import Folder
from cellhold_kernel.settings.settings import Settings
from cellhold_kernel.settings.workspace import Workspace

if TYPE_CHECKING:
    from cellhold.spec.spec import Mount


def test_it_is_an_overlay_unless_something_else_is_said(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (mount,) = workspace.mounts(None)
    assert (mount.kind, mount.source, mount.target, mount.hidden) == ("overlay", str(tmp_path), "/workspace", ())
    assert workspace.mounts("ro") == (mount,)
    assert workspace.mounts("rw")[0].kind == "bind"
    assert workspace.mounts("none") == ()


def test_cells_run_in_it(tmp_path: Path) -> None:
    assert grants.spec(Settings(), None, Workspace(tmp_path)).cwd == "/workspace"
    assert grants.spec(Settings().over("", {"mount": "none"}), None, Workspace(tmp_path)).cwd is None


@pytest.mark.parametrize("folder", ["/", "/usr", "/home", "/etc"])
def test_the_machine_is_no_notebooks_folder(folder: str) -> None:
    assert Workspace(Path(folder)).mounts(None) == ()
    with pytest.raises(InvalidSpec, match=f"cannot use mount=ro: {folder} is a part of the machine"):
        Workspace(Path(folder)).mounts("ro")


def test_a_folder_that_is_gone_or_holds_the_store_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Workspace(tmp_path / "gone").mounts(None) == ()
    with pytest.raises(InvalidSpec, match="is not there any more"):
        Workspace(tmp_path / "gone").mounts("rw")
    monkeypatch.setenv("CELLHOLD_HOME", str(tmp_path / "store"))
    with pytest.raises(InvalidSpec, match="holds Cellhold's own store"):
        Workspace(tmp_path).mounts("rw")


def test_what_begins_with_a_dot_in_a_home_stays_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "me"
    (home / "notes/.ipynb_checkpoints").mkdir(parents=True)
    (home / ".ssh").mkdir()
    (home / ".netrc").touch()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CELLHOLD_HOME", str(home / ".local/share/cellhold"))
    (home / ".local").mkdir()
    assert Workspace(home).mounts(None)[0].hidden == (".local", ".netrc", ".ssh")
    assert Workspace(tmp_path).mounts(None)[0].hidden == ("me/.local", "me/.netrc", "me/.ssh")
    assert Workspace(home / "notes").mounts(None)[0].hidden == ()


def test_the_connection_file_stays_outside(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert Workspace(tmp_path, tmp_path / "run").mounts("rw")[0].hidden == ("run",)
    assert Workspace(tmp_path, Path("/elsewhere")).mounts("rw")[0].hidden == ()


# ------------------------------------------------------------------------- what is shown is what was there in the beginning


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with secrets, in a folder that is not."""
    home = tmp_path / "lab/me"
    (home / ".ssh").mkdir(parents=True)
    (home / "notes").mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CELLHOLD_HOME", str(tmp_path / "store"))
    return home


def inode(mount: Mount) -> tuple[int, int]:
    assert mount.opened is not None
    return mount.opened.identity


@pytest.mark.parametrize("way", ["ro", "rw"])
def test_the_directory_stays_the_notebooks_whatever_its_name_leads_to(tmp_path: Path, way: str) -> None:
    (tmp_path / "sub").mkdir()
    workspace = Workspace(Folder.at(tmp_path / "sub"))
    first = inode(workspace.mounts(way)[0])
    (tmp_path / "sub").rename(tmp_path / "moved")
    (tmp_path / "sub").symlink_to("/")
    (mount,) = workspace.mounts(way)
    assert (inode(mount), mount.source) == (first, str(tmp_path / "moved"))
    (tmp_path / "moved").rmdir()
    assert workspace.mounts(None) == ()
    with pytest.raises(InvalidSpec, match=f"cannot use mount={way}: {tmp_path / 'sub'} is not there any more"):
        workspace.mounts(way)


def test_a_folder_that_was_gone_in_the_beginning_is_told(tmp_path: Path) -> None:
    del tmp_path
    assert Workspace(None).mounts(None) == ()
    with pytest.raises(InvalidSpec, match="cannot use mount=rw: the notebook's folder is not there any more"):
        Workspace(None).mounts("rw")


@pytest.mark.parametrize("folder", ["/etc/ssl", "/proc/self", "/sys/kernel", "/dev/pts"])
def test_what_lies_in_the_machines_own_directories_is_no_notebooks_folder_either(folder: str) -> None:
    with pytest.raises(InvalidSpec, match="is a part of the machine"):
        Workspace(Path(folder)).mounts("ro")


def test_a_directory_in_shared_memory_is_a_folder_like_others() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:  # that is what it is about
        assert Workspace(Path(folder)).mounts("rw")[0].source == folder


def test_a_folder_in_what_is_covered_elsewhere_is_not_shown(home: Path, tmp_path: Path) -> None:
    (home / ".ssh/keys").mkdir()
    for folder in (home / ".ssh", home / ".ssh/keys"):
        assert Workspace(folder).mounts(None) == ()
        with pytest.raises(InvalidSpec, match=r"lies in \.ssh of a home"):
            Workspace(folder).mounts("ro")
    (tmp_path / "store/kernels").mkdir(parents=True)
    with pytest.raises(InvalidSpec, match="lies in Cellhold's own store"):
        Workspace(tmp_path / "store/kernels").mounts("ro")


def test_a_home_is_known_by_any_name_it_has(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "called").symlink_to(home)
    monkeypatch.setenv("HOME", str(tmp_path / "called"))
    assert Workspace(home).mounts("rw")[0].hidden == (".ssh",)
    workspace = Workspace(tmp_path / "lab")
    home.rename(tmp_path / "lab/other")
    assert workspace.mounts("rw")[0].hidden == ("other/.ssh",)


def test_the_directories_on_the_way_to_what_is_covered_are_fixed(home: Path, tmp_path: Path) -> None:
    (tmp_path / "lab").rename(tmp_path / "deep")
    (tmp_path / "lab").mkdir()
    (tmp_path / "deep").rename(tmp_path / "lab/deep")
    del home
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path / "lab/deep/me"))
        (mount,) = Workspace(tmp_path / "lab").mounts("rw")
    assert mount.hidden == ("deep/me/.ssh",)
    assert [(one.path, one.identity[1], one.read_only) for one in mount.fixed] == [
        ("deep", (tmp_path / "lab/deep").stat().st_ino, False),
        ("deep/me", (tmp_path / "lab/deep/me").stat().st_ino, False),
    ]


def test_a_link_to_a_home_shows_nothing_and_needs_no_cover(home: Path, tmp_path: Path) -> None:
    (tmp_path / "nb").mkdir()
    (tmp_path / "nb/link").symlink_to(home)
    (mount,) = Workspace(tmp_path / "nb").mounts("rw")
    assert (mount.hidden, mount.fixed) == ((), ())


def test_names_of_any_bytes_are_covered(home: Path) -> None:
    names = (b".new\nline", b".\xff\xfe", b". (deleted)", b".tab\t\x1b")
    for name in names:
        (Path(os.fsdecode(os.fsencode(home) + b"/" + name))).touch()
    hidden = {os.fsencode(name) for name in Workspace(home).mounts("ro")[0].hidden}
    assert hidden == {b".ssh", *names}


def test_what_the_host_runs_is_not_changed_by_cells(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("notes/.venv/lib", "notes/mine", "notes/kernelspec"):
        (home / name).mkdir(parents=True)
    monkeypatch.setattr("sys.prefix", str(home / "notes/.venv"))
    monkeypatch.setattr("sys.path", [*sys.path, str(home / "notes/mine")])
    workspace = Workspace(home / "notes", programs=[home / "notes/kernelspec"])
    (mount,) = workspace.mounts("rw")
    assert {one.path: one.read_only for one in mount.fixed} == {".venv": True, "mine": True, "kernelspec": True}
    assert workspace.mounts("ro")[0].fixed == ()
    with pytest.raises(InvalidSpec, match="is where the host's own Python lives"):
        Workspace(home / "notes/.venv").mounts("rw")
    assert Workspace(home / "notes/.venv").mounts("ro")
    del tmp_path
