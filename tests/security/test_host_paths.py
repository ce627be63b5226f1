"""What is shown of the host is what was checked: a name that leads elsewhere a moment later leads nobody out.

The other side has a directory above that it may write to: a notebook with mount=rw, a volume that is writable. It puts a
link, or another directory, in the place of what was checked, once or over and over.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from boxes import run, shell, spec
from cellhold.container.detached import Detached
from cellhold.errors import CellholdError, ImageNotFound, InvalidSpec, NotAllowed, SetupFailed
from cellhold.linux import hostpath
from cellhold.spec.spec import Mount, Spec
from cellhold_kernel.gate.host_directories import hold
from cellhold_kernel.settings.folder import Folder
from cellhold_kernel.settings.policy import Policy
from cellhold_kernel.settings.workspace import Workspace
from flips import flipping
from kernels import beside, running
from ruled import POLICY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernels import Notebook

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp")
STARTS = 250  # for volumes, and as many for images
RESTARTS = 16


def told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


# ------------------------------------------------------------------------------------------------- the folder of a notebook


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A notebook's folder with another one's in it."""
    folder = tmp_path / "nb"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/marker").write_text("sub's own\n")
    return folder


@contextmanager
def notebook(folder: Path, policy: str = "") -> Iterator[Notebook]:
    """One in that folder, with that policy for its machine."""
    rules = folder.parent / "policy.toml"
    rules.write_text(policy)
    with running(beside("ruled.py"), cwd=str(folder), env={**os.environ, POLICY: str(rules)}) as opened:
        yield opened


LOOK = "import os; print(sorted(os.listdir('/workspace')))"


@pytest.mark.parametrize("way", ["ro", "rw"])
def test_a_link_in_the_place_of_a_notebooks_folder_shows_it_nothing_of_the_host(folder: Path, way: str) -> None:
    with notebook(folder) as above, notebook(folder / "sub") as victim:
        assert above.run("%container mount=rw").status == "ok"
        assert above.run("import os; os.rename('sub', 'moved'); os.symlink('/', 'sub')").status == "ok"
        assert (folder / "sub").resolve() == Path("/")
        again = victim.run(f"%container mount={way}\n{LOOK}")
        assert (again.status, "['marker']" in again.text) == ("ok", True), again.error
        wrote = victim.run("open('/workspace/written', 'w').close()")
        assert wrote.status == "ok", wrote.error
        assert not Path("/written").exists()
        assert (folder / "moved/written").exists() == (way == "rw")
        assert above.run("import shutil; shutil.rmtree('moved')").status == "ok"
        gone = victim.run(f"%container mount={way}\n{LOOK}")
        assert gone.status == "error"
        assert "is not there any more" in gone.error
        assert victim.run(LOOK).status == "ok"  # the container that it had is still there
        fresh = victim.run("%container mount=none\nprint('alive')")
        assert "alive" in fresh.text, fresh.error


@pytest.mark.random
def test_no_cell_hangs_or_sees_the_host_while_the_folders_name_is_flipped(folder: Path) -> None:
    (folder / "decoy").symlink_to("/")
    with notebook(folder / "sub") as victim:
        victim.run("1")
        with flipping(folder / "sub", folder / "decoy"):
            for number in range(RESTARTS):
                cell = victim.run(f"%container mount={('ro', 'rw')[number % 2]}\n{LOOK}")  # an answer within PATIENCE, or this fails
                assert cell.status == "ok", cell.error
                assert "['marker']" in cell.text


def test_a_cell_with_the_right_to_write_can_move_neither_what_is_covered_nor_what_leads_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "deep/me/.ssh").mkdir(parents=True)
    (folder / "deep/me/.ssh/key").write_text("secret")
    (folder / "deep/me/notes").mkdir()
    monkeypatch.setenv("HOME", str(folder / "deep/me"))
    moves = "\n".join(
        f"try:\n    os.rename({path!r}, {path + '2'!r})\nexcept OSError as error:\n    print(error.errno)"
        for path in ("deep", "deep/me", "deep/me/.ssh")
    )
    with notebook(folder) as above:
        assert above.run("%container mount=rw").status == "ok"
        busy = above.run(f"import os\n{moves}")
        assert busy.text.split() == ["16"] * 3, busy.text + busy.error  # EBUSY
        seen = above.run("import subprocess; print(subprocess.run('cat deep/me/.ssh/key', shell=True, capture_output=True))")
        assert "secret" not in seen.text
        assert above.run("os.rename('deep/me/notes', 'deep/me/other')").status == "ok"
    assert (folder / "deep/me/.ssh/key").read_text() == "secret"
    assert (folder / "deep/me/other").is_dir()


# ------------------------------------------------------------------------------------------------- what a policy lists


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A directory that a policy lists, whose `name` is good, and `other` leads to somebody's secret."""
    listed = tmp_path / "listed"
    (listed / "name").mkdir(parents=True)
    (listed / "name/content").write_text("good\n")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/content").write_text("secret\n")
    (listed / "other").symlink_to(tmp_path / "secret")
    return listed


@pytest.mark.random
def test_flipping_names_in_a_listed_directory_shows_nothing_else(busybox_root: Path, listed: Path) -> None:
    rules = Policy(volumes=(f"{listed}:rw",))
    asked = spec(busybox_root, "cat", "/x/content", mounts=(Mount(kind="bind", source=str(listed / "name"), target="/x"),))
    outcomes = []
    with flipping(listed / "name", listed / "other"):
        for _ in range(STARTS):
            try:
                outcomes.append(run(hold(asked, rules)).out)
            except NotAllowed as error:
                outcomes.append(told(error))
    assert "good\n" in outcomes
    assert all(text == "good\n" or "a symbolic link is on the way" in text for text in outcomes), set(outcomes)
    assert len(set(outcomes)) > 1  # it was flipped while it was looked at


@pytest.mark.random
def test_flipping_names_below_a_pattern_of_images_runs_nothing_else(busybox_root: Path, tmp_path: Path, listed: Path) -> None:
    for root in (listed / "name", tmp_path / "secret"):
        subprocess.run(["cp", "-a", f"{busybox_root}/.", root], check=True)
    rules = Policy(images=("host", f"{listed}/*"))
    outcomes = []
    with flipping(listed / "name", listed / "other"):
        for _ in range(STARTS):
            try:
                outcomes.append(run(hold(Spec(image=str(listed / "name"), args=("cat", "/content")), rules)).out)
            except NotAllowed as error:
                outcomes.append(told(error))
    assert "good\n" in outcomes
    assert all(text == "good\n" or "NotAllowed" in text for text in outcomes), set(outcomes)
    assert len(set(outcomes)) > 1


@pytest.mark.random
def test_each_cell_that_asks_for_what_is_flipped_gets_an_answer(busybox_root: Path, folder: Path, listed: Path, tmp_path: Path) -> None:
    for root in (listed / "name", tmp_path / "secret"):
        subprocess.run(["cp", "-a", f"{busybox_root}/.", root], check=True)
    asked = (
        f"%container volume={listed / 'name'}:/x:ro\nprint(open('/x/content').read())",
        f"%%run {listed / 'name'}\ncat /content",
    )
    outcomes = []
    policy = f'[ceilings]\nvolumes = ["{listed}"]\nimages = ["host", "{listed}/*"]'
    with notebook(folder, policy) as hostile, flipping(listed / "name", listed / "other"):
        for number in range(RESTARTS):
            cell = hostile.run(asked[number % 2])  # an answer within PATIENCE, or this fails
            outcomes.append(cell.text + cell.error)
    assert not any("secret\n" in text for text in outcomes), outcomes
    assert all("good" in text or "NotAllowed: cannot use" in text for text in outcomes), outcomes


def test_what_was_opened_is_what_is_shown_whatever_is_in_its_place_when_the_container_starts(busybox_root: Path, listed: Path) -> None:
    for kind in ("bind", "overlay"):
        mount = Mount(kind=kind, source=str(listed / "name"), target="/x", opened=hostpath.opened(listed / "name"))
        (listed / "name").rename(listed / "moved")
        (listed / "name").symlink_to("/etc")
        assert shell(busybox_root, "cat /x/content", mounts=(mount,)).out == "good\n"
        (listed / "name").unlink()
        (listed / "moved").rename(listed / "name")


def test_a_container_that_is_kept_is_started_again_with_what_it_was_made_of_only(busybox_root: Path, listed: Path) -> None:
    held = Mount(kind="bind", source=str(listed / "name"), target="/x", opened=hostpath.opened(listed / "name"))
    asked = Mount(kind="bind", source=str(listed / "name"), target="/y")
    boxes = [Detached.create(spec(busybox_root, "true", mounts=(mount,))) for mount in (held, asked)]
    try:
        for box in boxes:
            box.start()
            assert box.wait(60).status == 0
        (listed / "name").rename(listed / "moved")
        (listed / "name").mkdir()
        with pytest.raises(InvalidSpec, match="it is another file than the one that the container was made with"):
            boxes[0].start()
        boxes[1].start()  # docker's way: whoever writes a path means what lies there
        assert boxes[1].wait(60).status == 0
    finally:
        for box in boxes:
            box.remove(force=True)


def test_the_same_holds_for_a_directory_that_is_its_image(busybox_root: Path, tmp_path: Path) -> None:
    for name in ("image", "other"):
        subprocess.run(["cp", "-a", f"{busybox_root}/.", tmp_path / name], check=True)
    path = str(tmp_path / "image")
    box = Detached.create(Spec(image=path, args=("true",), rootfs=hostpath.opened(path)))
    try:
        box.start()
        assert box.wait(60).status == 0
        (tmp_path / "image").rename(tmp_path / "moved")
        (tmp_path / "other").rename(tmp_path / "image")
        with pytest.raises(ImageNotFound, match=r"it is another directory than the one that container .* was made of"):
            box.start()
        (tmp_path / "image").rename(tmp_path / "other")
        (tmp_path / "moved").rename(tmp_path / "image")
        box.start()
        assert box.wait(60).status == 0
    finally:
        box.remove(force=True)


# ------------------------------------------------------------------------------------------------- what is covered


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder above a home."""
    lab = tmp_path / "lab"
    for name, text in (("me", "secret"), ("other", "nobody's")):
        (lab / name / ".ssh").mkdir(parents=True)
        (lab / name / ".ssh/key").write_text(f"{text}\n")
    monkeypatch.setenv("HOME", str(lab / "me"))
    return lab


READ = "cat /workspace/*/.ssh/key /workspace/.ssh/key 2>/dev/null; echo up"


@pytest.mark.random
def test_no_cover_is_outrun(busybox_root: Path, lab: Path) -> None:
    workspace = Workspace(Folder.at(lab))
    outcomes = []
    with flipping(lab / "me", lab / "other"):
        for _ in range(60):
            try:
                outcomes.append(shell(busybox_root, READ, mounts=workspace.mounts("rw")).out)
            except CellholdError as error:
                outcomes.append(told(error))
    assert "nobody's\nup\n" in outcomes
    assert not any("secret" in text for text in outcomes), set(outcomes)


@pytest.mark.parametrize("way", ["ro", "rw"])
def test_directories_that_were_exchanged_since_the_covers_were_thought_out_are_not_shown(busybox_root: Path, lab: Path, way: str) -> None:
    mounts = Workspace(Folder.at(lab)).mounts(way)
    assert shell(busybox_root, READ, mounts=mounts).out == "nobody's\nup\n"
    for name, to in (("me", "x"), ("other", "me"), ("x", "other")):
        (lab / name).rename(lab / to)
    with pytest.raises(SetupFailed, match="me is another directory than it was a moment ago"):
        shell(busybox_root, READ, mounts=mounts)
    (lab / "me").rename(lab / "away")
    with pytest.raises(SetupFailed, match="me is not there any more"):
        shell(busybox_root, READ, mounts=mounts)
    (lab / "me").symlink_to("other")
    with pytest.raises(SetupFailed, match="me is another directory"):
        shell(busybox_root, READ, mounts=mounts)


@pytest.mark.parametrize("way", ["ro", "rw"])
def test_a_name_that_begins_with_a_dot_and_is_a_link_needs_no_cover(busybox_root: Path, lab: Path, way: str) -> None:
    (lab / "me/.rc").symlink_to("/etc/passwd")
    (lab / "me/.dotfiles").symlink_to("nonsuch")
    assert shell(busybox_root, READ, mounts=Workspace(Folder.at(lab / "me")).mounts(way)).out == "up\n"


def test_a_cover_of_a_file_cannot_be_written_to(busybox_root: Path, lab: Path) -> None:
    (lab / "me/.netrc").write_text("secret")
    mounts = Workspace(Folder.at(lab / "me")).mounts("rw")
    ran = shell(
        busybox_root, "cat /workspace/.netrc; echo x > /workspace/.netrc; echo x > /workspace/.ssh/x; echo x > /workspace/y", mounts=mounts
    )
    assert (ran.out, ran.err.count("Read-only file system")) == ("", 2)
    assert (lab / "me/.netrc").read_text() == "secret"
    assert (lab / "me/y").exists()


def test_a_home_and_the_machine_are_known_where_they_are_mounted_a_second_time(lab: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    for source, then in ((lab / "me", "covers"), (Path("/etc"), "refuses")):
        subprocess.run(["mount", "--bind", source, tmp_path / "again"], check=True)
        try:
            if then == "covers":
                assert Workspace(tmp_path / "again").mounts("rw")[0].hidden == (".ssh",)
            else:
                with pytest.raises(InvalidSpec, match="is a part of the machine"):
                    Workspace(tmp_path / "again").mounts("rw")
        finally:
            subprocess.run(["umount", tmp_path / "again"], check=True)


def test_what_the_host_runs_cannot_be_changed_or_moved_from_inside(busybox_root: Path, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab / "project/.venv/lib").mkdir(parents=True)
    monkeypatch.setattr("sys.prefix", str(lab / "project/.venv"))
    mounts = Workspace(Folder.at(lab / "project")).mounts("rw")
    script = "cd /workspace; echo x > .venv/lib/evil.py; mv .venv x; busybox rm -rf .venv; mkdir mine; ls -a"
    ran = shell(busybox_root, script, mounts=mounts)
    assert ran.out.split() == [".", "..", ".venv", "mine"], ran.err
    assert list((lab / "project/.venv").rglob("*")) == [lab / "project/.venv/lib"]
