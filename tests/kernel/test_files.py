"""Files that stay: what a notebook's cells write is in its folder at the end of the cell, whatever becomes of the container."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kernels import PATIENCE, descendants, is_gone, real, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernels import Notebook

pytestmark = [pytest.mark.requires("root", "overlayfs"), pytest.mark.usefixtures("jupyter_path")]


@contextmanager
def notebook(folder: Path, **texts: str) -> Iterator[Notebook]:
    """A notebook with its file in that folder, whose files go out."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "JPY_SESSION_NAME": str(folder / "lab.ipynb")}
    with running(real(**{"mount": "new", "memory": "256m", **texts}), cwd=str(folder), env=environment) as opened:
        yield opened


@pytest.mark.parametrize("storage", [{}, {"disk": "64m"}, {"storage": "tmpfs"}], ids=["directory", "disk image", "memory"])
def test_a_file_is_in_the_folder_before_its_cell_is_done(tmp_path: Path, storage: dict[str, str]) -> None:
    with notebook(tmp_path / "f", **storage) as opened:
        cell = opened.run("import os; os.makedirs('results'); open('results/a.csv', 'w').write('1,2')")
        assert (cell.status, cell.text) == ("ok", "3")
        assert (tmp_path / "f/results/a.csv").read_text() == "1,2"
        assert (tmp_path / "f/results/a.csv").stat().st_uid == os.geteuid()
        opened.run("open('results/a.csv', 'a').write(',3')")
        assert (tmp_path / "f/results/a.csv").read_text() == "1,2,3"
        opened.run("os.remove('results/a.csv'); os.rmdir('results')")
        assert not (tmp_path / "f/results").exists()


def test_what_was_there_is_kept_as_it_was_and_keep_writes_it(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "data.csv").write_text("old")
    (folder / "gone.csv").write_text("old")
    with notebook(folder) as opened:
        cell = opened.run("open('data.csv', 'w').write('new!')")
        assert "data.csv was here before: the change stays in the container; %keep data.csv writes it" in cell.text
        assert "here before" not in opened.run("1").text
        assert "gone.csv was here before" in opened.run("import os; os.remove('gone.csv')").text
        assert "was here before" in opened.run("%files").text
        assert (folder / "data.csv").read_text() == "old"
        assert opened.run("%keep data.csv").text == "in the folder now: data.csv\n"
        assert (folder / "data.csv").read_text() == "new!"
        assert (folder / "gone.csv").exists()
        assert "gone.csv" in opened.run("%keep --all").text
        assert not (folder / "gone.csv").exists()
        assert "it is not in /workspace" in opened.run("%keep ../x").error
        assert "no name is given" in opened.run("%keep").error


def test_a_name_that_a_program_of_the_host_reads_stays_and_keep_does_not_change_that(tmp_path: Path) -> None:
    with notebook(tmp_path / "f") as opened:
        cell = opened.run("open('conftest.py', 'w').write('evil')")
        assert "conftest.py stays in the container: names that programs of the host read" in cell.text
        assert "conftest.py stays" in opened.run("%keep conftest.py").text
        assert not list((tmp_path / "f").iterdir())


def test_what_a_cell_wrote_before_it_ran_out_of_memory_is_there_and_what_is_lost_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "data.csv").write_text("old")
    with notebook(folder, memory="128m") as opened:
        cell = opened.run("open('out.csv', 'w').write('x'); open('data.csv', 'w').write('new!'); x = bytearray(1 << 30)")
        assert "its variables and a file of /workspace (data.csv) are gone" in cell.error
        assert (folder / "out.csv").read_text() == "x"
        assert opened.run("print(open('out.csv').read())").text.endswith("x\n")
        opened.run("open('out.csv', 'w').write('y')")
        assert (folder / "out.csv").read_text() == "y"


def test_files_outlive_a_restart_and_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    with notebook(folder) as opened:
        opened.run("import subprocess; p = subprocess.Popen(['sh', '-c', 'sleep 0.5; echo late > late.txt; sleep 1000'])")
        opened.run("import time\nwhile not __import__('os').path.exists('late.txt'): time.sleep(0.05)")
        opened.run("open('early.txt', 'w').write('early')")
        opened.run("%container restart")
        assert opened.run("print(open('late.txt').read(), open('early.txt').read())").text == "late\n early\n"
        opened.client.execute("open('last.txt', 'w').write('last')\nprint('ready', flush=True)\nimport time; time.sleep(1000)")
        while opened.client.get_iopub_msg(timeout=PATIENCE)["content"].get("text") != "ready\n":
            pass
        os.kill(opened.pid, signal.SIGTERM)
        assert until(lambda: not opened.manager.is_alive())
    assert (folder / "last.txt").read_text() == "last"
    with notebook(folder) as opened:
        opened.run("open('early.txt', 'w').write('changed')")
    assert (folder / "early.txt").read_text() == "changed"


def test_a_long_cells_files_go_out_while_it_runs(tmp_path: Path) -> None:
    with notebook(tmp_path / "f") as opened:
        opened.client.execute("open('first.csv', 'w').write('1')\nimport time; time.sleep(1000)")
        assert until((tmp_path / "f/first.csv").exists)
        assert (tmp_path / "f/first.csv").read_text() == "1"


def test_a_large_file_is_there_when_the_cell_ends(tmp_path: Path) -> None:
    with notebook(tmp_path / "f", memory="512m") as opened:
        assert opened.run("open('big', 'wb').write(b'x' * (200 << 20))").status == "ok"
        assert (tmp_path / "f/big").stat().st_size == 200 << 20


def test_with_mount_ro_nothing_goes_out_and_what_is_lost_is_named(tmp_path: Path) -> None:
    with notebook(tmp_path / "f", mount="ro", memory="128m") as opened:
        assert opened.run("open('out.csv', 'w').write('x')").text == "1"
        assert "out.csv" in opened.run("%files").text
        assert "nothing goes out of this container" in opened.run("%keep out.csv").error
        assert "its variables and a file of /workspace (out.csv) are gone" in opened.run("x = bytearray(1 << 30)").error
        assert not list((tmp_path / "f").iterdir())


@pytest.mark.parametrize("storage", [{}, {"disk": "600m"}], ids=["directory", "disk image"])
def test_what_was_written_when_the_host_kernel_was_killed_comes_out_with_the_next(tmp_path: Path, storage: dict[str, str]) -> None:
    folder = tmp_path / "f"
    with notebook(folder, **storage) as opened:
        opened.run("open('before.txt', 'w').write('before')")
        written = (folder / "before.txt").stat()
        opened.client.execute("open('late.txt', 'w').write('late')\nprint('ready', flush=True)\nimport time; time.sleep(1000)")
        while opened.client.get_iopub_msg(timeout=PATIENCE)["content"].get("text") != "ready\n":
            pass
        below = descendants(opened.pid)
        os.kill(opened.pid, signal.SIGKILL)
        assert until(lambda: not opened.manager.is_alive())
        assert until(lambda: all(is_gone(pid) for pid in below))
    with notebook(folder, **storage) as opened:
        opened.run("1")
        assert (folder / "late.txt").read_text() == "late"
        assert (folder / "before.txt").stat().st_ino == written.st_ino, "it was out already"
        opened.run("open('late.txt', 'w').write('mine')")
    assert (folder / "late.txt").read_text() == "mine"
    assert not list(Path(os.environ["CELLHOLD_HOME"]).glob("files/*.left"))


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.2])
def test_nobody_sees_half_a_file_when_the_host_kernel_is_killed_meanwhile(tmp_path: Path, seconds: float) -> None:
    folder = tmp_path / "f"
    with notebook(folder, memory="1g") as opened:
        opened.client.execute("open('big', 'wb').write(b'x' * (300 << 20))\nprint('ready', flush=True)")
        while opened.client.get_iopub_msg(timeout=PATIENCE)["content"].get("text") != "ready\n":
            pass
        below = descendants(opened.pid)
        time.sleep(seconds)  # whatever it is at then
        os.kill(opened.pid, signal.SIGKILL)
        assert until(lambda: not opened.manager.is_alive())
        assert until(lambda: all(is_gone(pid) for pid in below))
    assert all(path.stat().st_size == 300 << 20 for path in folder.iterdir())
    with notebook(folder) as opened:
        opened.run("1")
    assert [path.name for path in folder.iterdir()] == ["big"]
    assert (folder / "big").stat().st_size == 300 << 20
