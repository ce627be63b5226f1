"""Names of a home that are covered stay covered, whoever owns the home, and for every user inside."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from boxes import shell
from cellhold.errors import InvalidSpec, SetupFailed
from cellhold_kernel.settings.folder import Folder
from cellhold_kernel.settings.workspace import Workspace
from people import person

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp")
STRANGER, GROUP = 1_234_567, 100  # a user of a directory service: no container has that id


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that its owner's group may look into, and a container's root may not."""
    home = tmp_path / "lab/me"
    (home / ".aws").mkdir(parents=True)
    for name in (".netrc", ".aws/credentials"):
        (home / name).write_text("secret\n")
    for path in (home, *home.rglob("*")):
        os.chown(path, STRANGER, GROUP)
        path.chmod(0o750 if path.is_dir() else 0o640)
    monkeypatch.setenv("HOME", str(home))
    return home


READ = "cat .netrc .aws/credentials; echo up"


@pytest.mark.parametrize("below", ["", "me/"])
def test_what_a_containers_root_cannot_cover_and_others_may_see_is_refused(busybox_root: Path, home: Path, below: str) -> None:
    folder = home.parent if below else home
    for mode, has_covers in ((0o750, False), (0o751, True)):
        home.chmod(mode)
        words: dict[str, Any] = {"mounts": Workspace(Folder.at(folder)).mounts("rw"), "user": f"1000:{GROUP}", "cwd": "/"}
        if not has_covers:
            with pytest.raises(SetupFailed, match=r"\.aws cannot be covered: the container's root may not look there"):
                shell(busybox_root, READ, **words)
            continue
        ran = shell(busybox_root, f"cd /workspace/{below} && {READ}", **words)
        assert ran.out == "up\n", ran.err


@pytest.mark.parametrize("below", ["", "me/"])
def test_in_an_overlay_nobody_looks_where_its_root_may_not(busybox_root: Path, home: Path, below: str) -> None:
    mounts = Workspace(Folder.at(home.parent if below else home)).mounts("ro")
    ran = shell(busybox_root, f"cd /workspace/{below} && {READ}", mounts=mounts, user=f"1000:{GROUP}", cwd="/")
    assert ran.out == "up\n", ran.err


@pytest.mark.parametrize("way", ["ro", "rw"])
def test_the_homes_of_all_accounts_are_covered_not_only_ones_own(busybox_root: Path, way: str) -> None:
    with person("v", subordinate=False) as who:
        (who.place / "home/.ssh").mkdir(mode=0o700)
        (who.place / "home/.ssh/id").write_text("secret\n")
        (who.place / "home/notes").write_text("notes\n")
        for path in (who.place / "home/.ssh", who.place / "home/.ssh/id"):
            os.chown(path, who.uid, who.gid)
        mounts = Workspace(Folder.at(who.place)).mounts(way)
        ran = shell(busybox_root, "cd /workspace/home; cat .ssh/id notes; mv .ssh x; cat x/id; echo up", mounts=mounts)
        assert ran.out == "notes\nup\n", ran.err
        with pytest.raises(InvalidSpec, match=r"lies in \.ssh of a home"):
            Workspace(Folder.at(who.place / "home/.ssh")).mounts(way)
