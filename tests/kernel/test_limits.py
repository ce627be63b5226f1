"""Limits speak: each one that a cell meets is told in it, with value, process and remedy. The folder, and where a spec comes from."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from cellhold_kernel import install
from kernels import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernels import Cell, Notebook

pytestmark = [pytest.mark.requires("root", "overlayfs"), pytest.mark.v2]

NOTEBOOK = Path(__file__).parents[1] / "notebooks/limits.ipynb"
SPEC = {"memory": "256m", "pids": "64", "disk": "32m", "cell-time": "300s", "output": "1m"}
CHILD = "import subprocess, sys\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook's folder, with a notebook whose metadata says something, and a file."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "data.csv").write_text("1,2,3\n")
    (folder / "notes.ipynb").write_text(
        json.dumps({"metadata": {"cellhold": {"hostname": "from-metadata", "tmpfs": ["/scratch:size=1m"]}}})
    )
    return folder


@pytest.fixture(scope="module")
def limited(folder: Path, jupyter_path: Path) -> Iterator[Notebook]:
    """A notebook of all these tests."""
    del jupyter_path
    directory = install.install(folder.parent / "limited", name="limited", texts=SPEC)
    manager = KernelManager(kernel_name="python3")
    argv = [sys.executable, "-E", "-P", "-m", "cellhold_kernel", "-f", "{connection_file}", "--kernelspec", str(directory)]
    manager._kernel_spec = KernelSpec(argv=argv, display_name="limited", language="python", interrupt_mode="message")
    with running(manager, cwd=str(folder), env={**os.environ, "JPY_SESSION_NAME": str(folder / "notes.ipynb")}) as notebook:
        yield notebook


@pytest.mark.usefixtures("jupyter_path")
def test_the_notebook_that_meets_each_limit_goes_on_to_its_end() -> None:
    notebook_format: Any = nbformat  # it has no types
    read = notebook_format.read(NOTEBOOK, as_version=4)
    made: Any = NotebookClient(read, allow_errors=True, kernel_name="cellhold", iopub_timeout=60).execute()
    texts = ["".join(output.get("text", "") + output.get("ename", "") for output in cell.get("outputs", ())) for cell in made.cells]
    names = [
        "ProcessLimitReached",
        "DiskLimitReached",
        "MemoryLimitReached",
        "OutputLimitExceeded",
        "TimeLimitExceeded",
        "MemoryLimitExceeded",
    ]
    assert not [name for name in names if not any(name in text for text in texts)], texts
    at = [next(number for number, text in enumerate(texts) if name in text) for name in names]
    assert at == sorted(at)
    assert [cell.outputs[-1].data["text/plain"] for cell in made.cells[-2:-1]] == ["False"]
    assert "of 256 MiB (peak " in made.cells[-1].outputs[-1].data["text/plain"]


def stderr(cell: Cell) -> str:
    """What was said on standard error."""
    return "".join(content["text"] for content in cell.of("stream") if content["name"] == "stderr")


def test_cells_run_in_the_notebooks_folder_and_change_nothing_of_it(limited: Notebook, folder: Path) -> None:
    cell = limited.run("import os; open('new', 'w').write('x'); os.remove('data.csv'); os.getcwd(), os.listdir('.')")
    assert cell.text.startswith("('/workspace', ["), cell.error
    assert sorted(path.name for path in folder.iterdir()) == ["data.csv", "notes.ipynb"]


def test_the_notebooks_own_metadata_is_heard(limited: Notebook) -> None:
    cell = limited.run("import os, socket; scratch = os.statvfs('/scratch'); socket.gethostname(), scratch.f_blocks * scratch.f_frsize")
    assert cell.text == "('from-metadata', 1048576)", cell.error
    assert "from-metadata" in limited.run("%container").text


def test_a_child_killed_at_the_memory_limit_is_told_while_the_kernel_goes_on(limited: Notebook) -> None:
    limited.run("kept = 1")
    cell = limited.run(CHILD + "subprocess.run(['awk', 'BEGIN { x = 1; while (1) x = x x }']).returncode")
    assert cell.text.endswith("-9"), cell.text
    assert (
        f"MemoryLimitReached: cell {cell.count}: a process of it (awk) was killed at the memory limit of 256 MiB (peak 256 MiB)"
        in stderr(cell)
    )
    assert "hint: %limits memory=512m" in stderr(cell)
    assert cell.states[-1] == "idle"
    assert limited.run("kept").text == "1"


def test_refused_processes_are_told(limited: Notebook) -> None:
    cell = limited.run("import subprocess\nchildren = []\nwhile True: children.append(subprocess.Popen(['sleep', '300']))")
    assert cell.reply["ename"] == "BlockingIOError"
    assert f"ProcessLimitReached: cell {cell.count}: a new process or thread was refused" in stderr(cell)
    assert "at the limit of 64 processes\nhint: %limits pids=128" in stderr(cell)
    cell = limited.run("for child in children: child.kill(); child.wait()")
    assert cell.status == "ok", cell.error


def test_a_full_disk_is_told_once_and_again_after_it_was_not_full(limited: Notebook) -> None:
    fill = "with open('/tmp/big', 'ab') as f:\n  while True: f.write(bytes(1 << 16)); f.flush()"
    cell = limited.run(fill)
    assert cell.reply["evalue"].startswith("[Errno 28]")
    assert f"DiskLimitReached: cell {cell.count}: the container's writable layer is full: " in stderr(cell)
    assert "%container disk=64m" in stderr(cell)
    assert stderr(limited.run("1")) == ""
    assert limited.run("import os; os.remove('/tmp/big')").status == "ok"
    cell = limited.run(fill)
    assert cell.reply["evalue"].startswith("[Errno 28]")
    assert "DiskLimitReached" in stderr(cell)
    assert limited.run("os.remove('/tmp/big')").status == "ok"


def test_a_cell_with_too_much_output_is_cut_and_interrupted(limited: Notebook) -> None:
    cell = limited.run("import time\nwhile True: print('x' * 10_000, flush=True); time.sleep(0.01)")
    assert cell.reply["ename"] == "KeyboardInterrupt"
    assert (
        f"OutputLimitExceeded: cell {cell.count} reached its output limit of 1 MiB; the rest is left out\nhint: %limits output=2m"
        in stderr(cell)
    )
    assert len(cell.text) < 2 << 20
    assert limited.run("1 + 1").text == "2"


@pytest.mark.leaks_allowed  # a fresh container, which the end of the file's notebook takes away
def test_a_cell_that_takes_too_long_is_interrupted_and_one_that_ignores_it_killed(limited: Notebook) -> None:
    assert limited.run("%limits cell-time=3s\nkept = 2").text == "limits changed: cell-time 3s\n"
    cell = limited.run("import time; time.sleep(60)")
    assert cell.reply["ename"] == "KeyboardInterrupt"
    assert f"TimeLimitExceeded: cell {cell.count} reached its time limit of 3s\nhint: %limits cell-time=6s raises the limit" in stderr(cell)
    assert limited.run("kept").text == "2"
    cell = limited.run("import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass")
    assert cell.reply["ename"] == "TimeLimitExceeded"
    assert f"cell {cell.count} reached its time limit of 3s, went on 5 s after an interrupt, and was killed" in cell.error
    after = limited.run("'kept' in globals()")
    assert stderr(after).startswith(f"note: cell {cell.count} reached its time limit")
    assert after.text.endswith("False")
    assert stderr(limited.run("%limits cell-time=none")) == ""


def test_a_guard_acts_before_a_cell_meets_the_memory_limit(limited: Notebook) -> None:
    growing = "held = []\nimport time\nfor _ in range({}): held.append(bytearray(b'x') * (4 << 20)); time.sleep(0.02)"
    assert "memory-guard 60%" in limited.run("%limits memory-guard=60%").text
    warned = limited.run(growing.format(45))
    assert warned.status == "ok", warned.error
    assert f"MemoryGuard: cell {warned.count} uses 1" in stderr(warned)
    assert "of the memory limit of 256 MiB\nhint: %limits memory=512m raises the limit" in stderr(warned)
    limited.run("%limits memory-guard=60%:interrupt\ndel held")
    stopped = limited.run(growing.format(1000))
    assert stopped.reply["ename"] == "KeyboardInterrupt"
    assert "; it was interrupted" in stderr(stopped)
    limited.run("%limits memory-guard=60%:pause\ndel held")
    paused = limited.client.execute(growing.format(45))
    told_so = limited.client.get_iopub_msg(timeout=100)
    while told_so["content"].get("name") != "stderr":
        told_so = limited.client.get_iopub_msg(timeout=100)
    assert "; the container is paused" in told_so["content"]["text"]
    assert "goes on" in limited.run("%container unpause").text
    assert limited.collect(paused).status == "ok"
    limited.run("%limits memory-guard=none\ndel held")


def test_limits_change_while_it_runs(limited: Notebook) -> None:
    limited.run("block = bytearray(100 << 20); kept = 3")
    files = "'/sys/fs/cgroup/memory/memory.limit_in_bytes', '/sys/fs/cgroup/memory.max'"  # cgroup v1's, and v2's
    cell = limited.run(
        f"%limits memory=300m cpus=0.5 pids=80\nimport os; [open(path).read() for path in ({files}) if os.path.exists(path)]"
    )
    assert cell.text.startswith("limits changed: memory 300m, cpus 0.5, pids 80\n")
    assert str(300 << 20) in cell.text
    shown = limited.run("%limits").text
    assert " of 300 MiB (peak " in shown
    assert "0.5 (" in shown
    assert limited.run("kept").text == "3"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("memory=20m", "cannot"),
        ("disk=1g", "cannot change disk of a running container"),
        ("image=host", "cannot change image of a running container"),
        ("memory=1q", "cannot use memory=1q: not a size"),
        ("memroy=1g", "cannot use memroy: there is no such key"),
    ],
)
def test_limits_that_cannot_be_changed_are_refused_and_nothing_changes(limited: Notebook, line: str, says: str) -> None:
    cell = limited.run(f"%limits {line}")
    assert cell.status == "error"
    assert says in cell.error.split("\n")[0]
    assert "hint: " in cell.error
    assert limited.run("kept").text == "3"


def test_what_a_notebook_may_not_ask_is_refused_in_its_cell(limited: Notebook) -> None:
    assert "a notebook cannot take a directory of the host by itself" in limited.run("%container volume=/etc:/host:ro").error
    assert limited.run("kept").text == "3"


@pytest.mark.leaks_allowed  # a fresh container, which the end of the file's notebook takes away
def test_the_folder_itself_when_it_is_asked_for(limited: Notebook, folder: Path) -> None:
    cell = limited.run("%container mount=rw\nopen('made', 'w').write('x')")
    assert cell.status == "ok", cell.error
    assert (folder / "made").stat().st_uid == os.getuid()
    (folder / "made").unlink()
    assert limited.run("%container mount=none\nimport os; os.path.exists('/workspace'), os.getcwd()").text.endswith("(False, '/root')")
