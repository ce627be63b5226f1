"""The notebook's folder: how it is shown, what of it is not, and which folders are not shown at all."""

from __future__ import annotations

from pathlib import Path

import pytest

import grants
from cellhold.errors import InvalidSpec
from cellhold_kernel.config import Settings
from cellhold_kernel.workspace import Workspace


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
