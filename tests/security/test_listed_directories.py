"""What a policy lists stays what the administrator wrote, where notebooks can write above it.

The directory lies in the notebook's own folder, or in another one that the list has as writable: a cell puts a link in
its place, and asks for it.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from cellhold.errors import NotAllowed
from cellhold.linux import hostpath
from cellhold.spec.spec import Mount, Spec
from cellhold_kernel.gate.host_directories import hold
from cellhold_kernel.settings.policy import Policy
from kernels import beside, running
from ruled import POLICY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernels import Notebook

ROOT = ("root", "user-namespace", "overlayfs", "mount-api", "seccomp")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with a listed one in it, beside one that is nobody's."""
    (tmp_path / "nb/shared").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/content").write_text("secret\n")
    return tmp_path / "nb"


@contextmanager
def notebook(folder: Path, *volumes: object) -> Iterator[Notebook]:
    """One in that folder, on a machine whose policy lists these."""
    rules = folder.parent / "policy.toml"
    rules.write_text(f"[ceilings]\nvolumes = {[str(volume) for volume in volumes]!r}")
    with running(beside("ruled.py"), cwd=str(folder), env={**os.environ, POLICY: str(rules)}) as opened:
        yield opened


def asked(source: Path, *, read_only: bool = True) -> Spec:
    return Spec(mounts=(Mount(kind="bind", source=str(source), target="/x", read_only=read_only),))


@pytest.mark.requires(*ROOT)
def test_a_cell_that_replaces_a_listed_directory_of_its_folder_sees_nothing_else(folder: Path) -> None:
    with notebook(folder, folder / "shared") as hostile:
        assert hostile.run("%container mount=rw").status == "ok"
        assert hostile.run("import os; os.rmdir('shared'); os.symlink('../secret', 'shared')").status == "ok"
        cell = hostile.run(f"%container volume={folder / 'shared'}:/x:ro\nprint(open('/x/content').read())")
        assert "secret\n" not in cell.text
        assert "a symbolic link is on the way" in cell.error, cell.text + cell.error


@pytest.mark.requires(*ROOT)
def test_nor_by_a_listed_directory_that_it_may_write_to(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    with notebook(folder.parent / "elsewhere", f"{folder}:rw", folder / "shared") as hostile:
        assert hostile.run(f"%container volume={folder}:/x:rw").status == "ok"
        assert hostile.run("import os; os.rmdir('/x/shared'); os.symlink('../secret', '/x/shared')").status == "ok"
        cell = hostile.run(f"%container volume={folder / 'shared'}:/y:ro\nprint(open('/y/content').read())")
        assert "secret\n" not in cell.text
        assert "a symbolic link is on the way" in cell.error, cell.text + cell.error


@pytest.mark.parametrize("target", ["/", "..", "../secret", "../outer/back"])
def test_no_link_in_a_place_that_is_written_to_leads_to_a_listed_directory(folder: Path, target: str) -> None:
    (folder / "good").mkdir()
    (folder.parent / "outer").symlink_to(folder)
    (folder / "shared").rmdir()
    (folder / "shared").symlink_to(target)
    for listed in (folder / "shared", folder.parent / "outer/shared", folder / "shared/below", folder / "good/../shared"):
        for rules, own in (
            (Policy(volumes=(f"{folder}:rw", str(listed))), None),
            (Policy(volumes=(str(listed),)), hostpath.opened(folder)),
        ):
            with pytest.raises(NotAllowed, match="a symbolic link is on the way"):
                hold(asked(listed), rules, own)


def test_an_image_is_held_to_the_same(folder: Path) -> None:
    (folder / "shared").rmdir()
    (folder / "shared").symlink_to("/")
    rules = Policy(volumes=(f"{folder}:rw",), images=(f"{folder}/shared/*",))
    with pytest.raises(NotAllowed, match="a symbolic link is on the way"):
        hold(Spec(image=str(folder / "shared/etc")), rules)


def test_links_on_the_way_there_are_the_administrators(folder: Path) -> None:
    (folder.parent / "link").symlink_to("nb")
    (folder.parent / "absolute").symlink_to(folder.parent / "link/shared")
    rules = Policy(volumes=(f"{folder.parent / 'link'}:rw", str(folder.parent / "absolute")))
    for path in (folder.parent / "absolute", folder / "shared", folder.parent / "link/shared"):
        (mount,) = hold(asked(path), rules, hostpath.opened(folder)).mounts
        assert mount.opened is not None
        assert mount.opened.identity[1] == (folder / "shared").stat().st_ino


def test_what_is_mounted_in_a_place_that_is_written_to_is_shown(folder: Path) -> None:
    if os.geteuid():
        pytest.skip("only root mounts")
    subprocess.run(["mount", "--bind", folder.parent / "secret", folder / "shared"], check=True)
    try:
        (mount,) = hold(asked(folder / "shared"), Policy(volumes=(f"{folder}:rw", str(folder / "shared")))).mounts
        assert mount.opened is not None
        assert mount.opened.identity[1] == (folder.parent / "secret").stat().st_ino
    finally:
        subprocess.run(["umount", "-l", folder / "shared"], check=True)
