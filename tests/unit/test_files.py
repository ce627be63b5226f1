"""What goes out of a container into the notebook's folder, and what stays: names, plans, and the hand-out between plain directories."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

import pytest

from cellhold_kernel.files import hand_out, names, wording
from cellhold_kernel.files.hand_out import Moment
from cellhold_kernel.files.plan import Bounds, Stay, Why
from written import Box, cell

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        ".git",
        ".hidden",
        "conftest.py",
        "ConfTest.PY",
        "jupyter_server_config.py",
        "jupyter_config.json",
        "evil.pth",
        "sitecustomize.py",
        "usercustomize",
        "matplotlibrc",
        "Makefile",
        "package.json",
        "x.pyc",
        "__pycache__",
        "site-packages",
        "fast.cpython-311-x86_64-linux-gnu.so",
        "HEAD",
        "--checkpoint-action=exec=sh x.sh",
        "Makefile. ",
        "make\u200cfile",
        "\uff4dakefile",
        ".\u200dgit",
        "\u200b",
        "GIT~1",
        "a\nb",
        "a\x1b[2J",
        "a\u202egpj.exe",
        "notes.code-workspace",
        "index.html.j2",
    ],
)
def test_a_name_that_a_program_of_the_host_reads_stays(name: str) -> None:
    assert names.find_rule(name.encode()) is not None


@pytest.mark.parametrize(
    "name",
    [
        "out.csv",
        "helper.py",
        "a picture.png",
        "Zürich.txt",
        "données",
        "model.pt",
        "other.ipynb",
        "requirements.txt",
        "👩‍🔬.txt",
        "bunch.csv",
    ],
)
def test_an_ordinary_name_goes_out(name: str) -> None:
    assert names.find_rule(name.encode()) is None


def test_a_name_of_another_encoding_goes_out_unless_a_terminal_would_obey_it() -> None:
    assert names.find_rule(b"caf\xe9") is None
    assert names.find_rule(b"a\x9b31m") is names.ENCODED


def test_what_a_cell_has_made_is_in_the_folder_at_its_end(box: Box) -> None:
    (box.upper / "results/deep").mkdir(parents=True)
    (box.upper / "out.csv").write_text("1,2\n")
    (box.upper / "results/deep/a.txt").write_text("a")
    with box.handing() as made:
        report = made.begin(Moment.CELL)
    assert report is not None, "it is little, and done at once"
    assert box.outside() == {"out.csv": b"1,2\n", "results": None, "results/deep": None, "results/deep/a.txt": b"a"}
    assert sorted(report.written) == [b"out.csv", b"results", b"results/deep", b"results/deep/a.txt"]
    assert wording.line(report) is None


def test_nothing_that_was_there_is_changed_or_removed_and_that_is_told_once(box: Box) -> None:
    (box.folder / "data.csv").write_text("old")
    (box.folder / "gone.csv").write_text("old")
    (box.upper / "data.csv").write_text("new!")
    box.remove_inside("gone.csv")
    with box.handing() as made:
        first, second = cell(made), cell(made)
    assert box.outside() == {"data.csv": b"old", "gone.csv": b"old"}
    assert wording.line(first) == (
        "data.csv, gone.csv were here before: the changes stay in the container; %keep NAME writes one, %keep --all writes all"
    )
    assert wording.line(second) is None


def test_one_file_of_somebody_is_told_with_what_to_type(box: Box) -> None:
    (box.folder / "my data.csv").write_text("old")
    (box.upper / "my data.csv").write_text("new!")
    with box.handing() as made:
        line = wording.line(cell(made))
    assert line == "my data.csv was here before: the change stays in the container; %keep 'my data.csv' writes it"


def test_a_file_that_was_copied_up_and_not_changed_is_no_news(box: Box) -> None:
    (box.folder / "data.csv").write_text("old")
    (box.upper / "data.csv").write_text("old")
    status = (box.folder / "data.csv").stat()
    os.utime(box.upper / "data.csv", ns=(status.st_atime_ns, status.st_mtime_ns))
    with box.handing() as made:
        assert wording.line(cell(made)) is None


def test_the_notebooks_own_files_may_be_changed_and_removed_by_a_later_container_too(box: Box) -> None:
    (box.upper / "out.csv").write_text("one")
    (box.upper / "old").mkdir()
    (box.upper / "old/x").write_text("x")
    with box.handing() as made:
        cell(made)
        (box.upper / "out.csv").write_text("one, and two")
        cell(made)
        assert (box.folder / "out.csv").read_text() == "one, and two"
    for path in (box.upper / "old/x", box.upper / "out.csv"):
        path.unlink()
    (box.upper / "old").rmdir()
    box.remove_inside("old")
    (box.upper / "out.csv").write_text("three")
    with box.handing(origin="another") as made:
        cell(made)
    assert box.outside() == {"out.csv": b"three"}


def test_a_file_that_somebody_has_changed_since_is_theirs(box: Box) -> None:
    (box.upper / "out.csv").write_text("one")
    (box.upper / "bye.csv").write_text("one")
    with box.handing() as made:
        cell(made)
        for name in ("out.csv", "bye.csv"):
            (box.folder / name).write_text("mine")
        (box.upper / "out.csv").write_text("two")
        (box.upper / "bye.csv").unlink()
        line = wording.line(cell(made))
    assert box.outside() == {"bye.csv": b"mine", "out.csv": b"mine"}
    assert line is not None
    assert line.startswith("out.csv was here before")


def test_what_was_removed_in_the_same_container_goes_from_the_folder(box: Box) -> None:
    (box.upper / "d").mkdir()
    (box.upper / "d/a").write_text("a")
    with box.handing() as made:
        cell(made)
        (box.upper / "d/a").rename(box.upper / "d/b")
        cell(made)
        assert box.outside() == {"d": None, "d/b": b"a"}
        (box.upper / "d/b").unlink()
        (box.upper / "d").rmdir()
        cell(made)
    assert box.outside() == {}


def test_a_directory_that_somebody_uses_is_left(box: Box) -> None:
    (box.upper / "d").mkdir()
    with box.handing() as made:
        cell(made)
        (box.folder / "d/theirs").write_text("theirs")
        (box.upper / "d").rmdir()
        cell(made)
    assert box.outside() == {"d": None, "d/theirs": b"theirs"}


def test_only_files_and_directories_go_out(box: Box, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (box.upper / "link").symlink_to(tmp_path / "secret")
    (box.upper / "away").symlink_to(tmp_path)
    os.mkfifo(box.upper / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        directory = os.open(box.upper, os.O_PATH)  # a socket's path has 107 bytes
        one.bind(f"/proc/self/fd/{directory}/sock")
        os.close(directory)
    (box.upper / "set").write_text("x")
    (box.upper / "set").chmod(0o6777)
    os.setxattr(box.upper / "set", "user.mark", b"x")
    with box.handing() as made:
        line = wording.line(cell(made))
    assert box.outside() == {"set": b"x"}
    assert (box.folder / "set").stat().st_mode & 0o7111 == 0
    assert os.listxattr(box.folder / "set") == []
    assert line is not None
    assert "only files and directories go out" in line


def test_a_link_in_the_folder_is_not_followed(box: Box, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (box.folder / "d").symlink_to(tmp_path / "elsewhere")
    (box.folder / "f").symlink_to(tmp_path / "elsewhere/new")
    (box.upper / "d").mkdir()
    (box.upper / "d/x").write_text("x")
    (box.upper / "f").write_text("f")
    with box.handing() as made:
        cell(made)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_nothing_goes_where_programs_of_the_host_live(box: Box) -> None:
    (box.folder / "env/lib").mkdir(parents=True)
    status = (box.folder / "env").stat()
    (box.upper / "env/lib").mkdir(parents=True)
    (box.upper / "env/lib/evil.py").write_text("evil")
    with box.handing(protected=[(status.st_dev, status.st_ino)], hidden=[b"covered"]) as made:
        line = wording.line(cell(made))
    assert "env/lib/evil.py" not in box.outside()
    assert line is not None
    assert "stay" in line


def test_bounds_are_told_and_what_is_kept_goes_out_beyond_them(box: Box) -> None:
    (box.upper / "big").write_bytes(b"x" * 2000)
    (box.upper / "small").write_bytes(b"x" * 10)
    with box.handing(bounds=Bounds(size_bytes=1000)) as made:
        line = wording.line(cell(made))
        assert set(box.outside()) == {"small"}
        assert line is not None
        assert "big stays in the container" in line
        assert made.begin(Moment.KEEP, names=[b"big"]) is not None
    assert set(box.outside()) == {"big", "small"}


def test_a_hole_stays_a_hole_and_a_terabyte_is_a_terabyte(box: Box) -> None:
    with (box.upper / "holes").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"middle")
    with (box.upper / "vast").open("wb") as file:
        file.truncate(1 << 40)
    with box.handing() as made:
        cell(made)
    assert (box.folder / "holes").read_bytes() == (box.upper / "holes").read_bytes()
    assert (box.folder / "holes").stat().st_blocks * 512 < 1 << 20
    assert not (box.folder / "vast").exists()


def test_what_is_much_is_done_by_a_thread(box: Box) -> None:
    for number in range(100):
        (box.upper / f"{number}.txt").write_text(str(number))
    with box.handing() as made:
        assert made.begin(Moment.CELL) is None
        assert len(made.finish().written) == 100
    assert len(box.outside()) == 100


def test_while_a_cell_runs_what_stands_still_goes_out(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    (box.upper / "log").write_text("1")
    (box.upper / "d").mkdir()
    (box.upper / "d/done").write_text("done")
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with box.handing() as made:
        made.begin(Moment.RUNNING)
        assert box.outside() == {}
        now[0] = 6.0
        (box.upper / "log").write_text("12")
        made.begin(Moment.RUNNING)
        assert box.outside() == {"d": None, "d/done": b"done"}


def test_keep_writes_what_was_here_before_but_no_name_of_the_table(box: Box) -> None:
    for name in ("data.csv", "gone.csv", "other.csv", "Makefile"):
        (box.folder / name).write_text("old")
        (box.upper / name).write_text("new!")
    (box.upper / "gone.csv").unlink()
    box.remove_inside("gone.csv")
    with box.handing() as made:
        cell(made)
        report = made.begin(Moment.KEEP, names=[b"data.csv", b"gone.csv", b"Makefile"])
        assert report is not None
        assert [stay.path for stay in report.stays] == [b"Makefile"]
        assert box.outside() == {"Makefile": b"old", "data.csv": b"new!", "other.csv": b"old"}
        (box.upper / "data.csv").write_text("newer")
        cell(made)
        assert (box.folder / "data.csv").read_text() == "new!", "it is not the notebook's by that"
        made.begin(Moment.KEEP)
    assert box.outside() == {"Makefile": b"old", "data.csv": b"newer", "other.csv": b"new!"}


def test_with_mount_ro_everything_stays_and_what_is_lost_is_named(box: Box) -> None:
    (box.upper / "out.csv").write_text("x")
    (box.upper / ".git").mkdir()
    (box.upper / "__pycache__").mkdir()
    with box.handing(is_inside=True) as made:
        made.run(Moment.END)
        assert wording.lost(made.lost()) == " and 2 files of /workspace (.git, out.csv)"
    assert box.outside() == {}


def test_a_million_names_a_deep_tree_and_a_name_too_long_end(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand_out, "_MOST_ENTRIES", 300)
    for number in range(3000):
        (box.upper / str(number)).touch()
    deep = os.open(box.upper, os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=deep)
        deeper = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = deeper
    os.close(deep)
    with box.handing() as made:
        line = wording.line(made.run(Moment.CELL))
    assert line is not None
    assert "more files than are looked at" in line


def test_the_record_survives_a_line_that_was_cut_off(box: Box) -> None:
    (box.upper / "out.csv").write_text("one")
    with box.handing() as made:
        cell(made)
    with (box.store / "files/notebook").open("ab") as file:
        file.write(b'["made", "half')
    (box.upper / "out.csv").write_text("two")
    with box.handing() as made:
        cell(made)
    assert box.outside() == {"out.csv": b"two"}
    rows = (box.store / "files/notebook").read_text().splitlines()
    assert json.loads(rows[-1])[0] == "made"


def test_a_name_that_a_killed_host_kernel_has_put_aside_comes_back_or_goes(box: Box) -> None:
    (box.upper / "out.csv").write_text("one")
    with box.handing() as made:
        cell(made)
    (box.folder / "out.csv").rename(box.folder / ".cellhold-1")
    (box.folder / ".cellhold-2").write_text("somebody's")
    with (box.store / "files/notebook").open("a") as file:
        file.write(json.dumps(["aside", "out.csv", ".cellhold-1"]) + "\n" + json.dumps(["aside", "their.csv", ".cellhold-2"]) + "\n")
    (box.upper / "new.csv").write_text("new")
    with box.handing(origin="another") as made:
        cell(made)
    assert box.outside() == {"new.csv": b"new", "out.csv": b"one", "their.csv": b"somebody's"}


def test_a_person_reads_names_without_what_a_terminal_obeys() -> None:
    assert wording.name(b"a\x1b[31mred") == "ared"
    assert wording.names([b"a", b"b", b"c", b"d", b"e"]) == "a, b, c and 2 more"
    assert wording.lost([Stay(path=b"a", why=Why.FOREIGN)]) == " and a file of /workspace (a)"


def test_a_container_that_goes_on_writes_nothing_again(box: Box) -> None:
    (box.upper / "out.csv").write_text("one")
    with box.handing() as made:
        cell(made)
    before = (box.folder / "out.csv").stat()
    assert before.st_mtime_ns == (box.upper / "out.csv").stat().st_mtime_ns
    with box.handing(origin="another", is_resumed=True) as made:
        assert cell(made).written == []
        assert (box.folder / "out.csv").stat().st_ino == before.st_ino
        (box.upper / "out.csv").write_text("two")
        cell(made)
    assert box.outside() == {"out.csv": b"two"}
