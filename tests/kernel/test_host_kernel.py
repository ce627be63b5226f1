"""What a person meets: limits that are hit, containers replaced, interrupts, restarts, ends. In a container, and without one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from kernels import PATIENCE, descendants, is_gone, running, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_client.manager import KernelManager

    from kernels import Notebook

END_BY_SIGKILL = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(scope="module")
def notebook(either: Callable[[], KernelManager]) -> Iterator[Notebook]:
    """One of several tests, which leave its container where it is."""
    with running(either()) as opened:
        yield opened


def test_cells_run_and_are_numbered(notebook: Notebook) -> None:
    cell = notebook.run("x = 20; print('hello')\nx + 1")
    assert (cell.status, cell.text, cell.states) == ("ok", "hello\n21", ["busy", "idle"])
    assert [notebook.run("x").count, notebook.run("x").count] == [cell.count + 1, cell.count + 2]


def test_container_alone_shows_it_as_text_and_html_and_keeps_the_numbers(notebook: Notebook) -> None:
    before = notebook.run("1").count
    cell = notebook.run("%container")
    (shown,) = cell.of("display_data")
    assert cell.of("execute_input")[0]["execution_count"] == before + 1
    assert "of 256 MiB" in shown["data"]["text/plain"]
    assert shown["data"]["text/html"].startswith("<table>")
    assert notebook.run("In[-2]").text == "'# %container'"


def test_container_with_words_replaces_it_and_runs_the_rest_in_the_new_one(either: Callable[[], KernelManager]) -> None:
    with running(either()) as notebook:
        notebook.run("x = 1")
        cell = notebook.run("%container memory=300m\n'x' in globals()")
        assert "memory 300m (ready after " in cell.text
        assert cell.text.endswith("False")
        assert cell.count == 1
        assert "of 300 MiB" in notebook.run("%container").text


@pytest.mark.requires("root", "overlayfs")
@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("memory=512mb4", "InvalidSpec: cannot use memory=512mb4: not a size"),
        ("cpus=-1", "InvalidSpec: cannot use cpus=-1: not a number of processors above 0"),
        ("memroy=1g", "InvalidSpec: cannot use memroy: there is no such key"),
        ("image=127.0.0.1:1/nonsuch", "RegistryFailed: cannot "),
        ("network=host", "NotAllowed: cannot use network=host: it is not the notebook's own"),
        ("ports=80", "InvalidSpec: cannot use ports with network=none"),
        ("egress=some network=bridge", "InvalidSpec: cannot use egress=some"),
        ("ports=0.0.0.0:80:80 network=bridge", "InvalidSpec: cannot use ports=0.0.0.0:80:80: a notebook publishes on 127.0.0.1 only"),
    ],
)
def test_bad_input_is_one_sentence_with_a_remedy_and_changes_nothing(line: str, says: str, worn: Notebook) -> None:
    cell = worn.run(f"%container {line}")
    assert cell.status == "error"
    first, *hints = cell.error.split("\n")
    assert first.startswith(says)
    assert "nonsuch" in first or line.partition("=")[0] in first
    assert hints
    assert hints[0].startswith("hint: ")
    assert worn.run("kept").text == "'yes'"


def test_the_memory_limit_is_an_error_in_the_cell_and_the_notebook_goes_on(either: Callable[[], KernelManager]) -> None:
    with running(either()) as notebook:
        count = notebook.run("x = 1").count
        greedy = "b = bytearray(1 << 30)" if notebook.run("import os; os.path.exists('/run/cellhold')").text == "True" else END_BY_SIGKILL
        cell = notebook.run(greedy)
        assert cell.reply["ename"] == "MemoryLimitExceeded"
        sentence, hint = cell.error.split("\n")
        assert f"cell {count + 2} was killed: the container reached its memory limit of 256 MiB (peak " in sentence
        assert "its variables are gone; %container memory=512m raises the limit" in hint
        assert cell.states[-1] == "idle"
        after = notebook.run("'x' in globals()")
        assert after.text.endswith("False")
        assert after.text.startswith("note: cell")
        assert after.count == 1


def test_cells_behind_a_killed_one_are_aborted_unless_they_want_to_go_on(either: Callable[[], KernelManager]) -> None:
    with running(either()) as notebook:
        inside = notebook.run("import os; os.path.exists('/run/cellhold')").text == "True"
        greedy = "import time; time.sleep(0.5); b = bytearray(1 << 30)" if inside else f"import time; time.sleep(0.5); {END_BY_SIGKILL}"
        killed, behind = notebook.client.execute(greedy), notebook.client.execute("1")
        assert notebook.reply(killed)["content"]["status"] == "error"
        assert notebook.reply(behind)["content"]["status"] == "aborted"
        killed, behind = notebook.client.execute(greedy, stop_on_error=False), notebook.client.execute("1 + 1")
        assert notebook.reply(killed)["content"]["status"] == "error"
        assert notebook.reply(behind)["content"]["status"] == "ok"


def test_cells_wait_their_turn_behind_a_replacement(either: Callable[[], KernelManager]) -> None:
    with running(either()) as notebook:
        first = notebook.client.execute("import time; time.sleep(0.3); x = 1")
        second = notebook.client.execute("%container pids=100")
        third = notebook.client.execute("'x' in globals()")
        assert notebook.reply(first)["content"]["status"] == "ok"
        assert notebook.collect(second).status == "ok"
        assert notebook.collect(third).text == "False"


def test_an_error_aborts_a_replacement_that_waits(notebook: Notebook) -> None:
    first = notebook.client.execute("import time; time.sleep(0.3); x = 1; 1 / 0")
    second = notebook.client.execute("%container pids=100")
    assert notebook.reply(first)["content"]["ename"] == "ZeroDivisionError"
    assert notebook.reply(second)["content"]["status"] == "aborted"
    assert notebook.run("x").text == "1"


def test_an_interrupt_reaches_the_cell(notebook: Notebook) -> None:
    sleeping = notebook.client.execute("print('now', flush=True); import time; time.sleep(100)", stop_on_error=False)
    while notebook.client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "stream":
        pass
    notebook.manager.interrupt_kernel()
    assert notebook.reply(sleeping)["content"]["ename"] == "KeyboardInterrupt"
    assert notebook.run("1 + 1").text == "2"


def test_input_is_asked_and_answered(notebook: Notebook) -> None:
    asking = notebook.client.execute("name = input('who? '); print('hello', name)", allow_stdin=True)
    assert notebook.client.get_stdin_msg(timeout=PATIENCE)["content"]["prompt"] == "who? "
    notebook.client.input("world")
    assert notebook.collect(asking).text == "hello world\n"


def test_a_restart_is_a_fresh_container(either: Callable[[], KernelManager]) -> None:
    with running(either()) as notebook:
        notebook.run("x = 1; open('/tmp/left-by-a-test', 'w').close()")
        notebook.manager.restart_kernel()
        notebook.client.wait_for_ready(timeout=PATIENCE)
        assert notebook.run("'x' in globals()").text == "False"
        if notebook.run("import os; os.path.exists('/run/cellhold')").text == "True":
            assert notebook.run("os.path.exists('/tmp/left-by-a-test')").text == "False"


@pytest.mark.parametrize("how", ["shutdown", "SIGTERM"])
def test_nothing_is_left_when_it_is_asked_to_end(how: str, either: Callable[[], KernelManager]) -> None:
    with running(either()) as notebook:
        below = descendants(notebook.pid)
        assert below
        if how == "shutdown":
            notebook.manager.shutdown_kernel()
        else:
            os.kill(notebook.pid, signal.SIGTERM)
            assert until(lambda: not notebook.manager.is_alive())
            assert notebook.manager.provisioner.process.returncode == 0  # type: ignore[union-attr]
        assert until(lambda: all(is_gone(pid) for pid in below))


@pytest.mark.requires("root", "overlayfs")
def test_nothing_is_left_when_it_is_killed(kernel: Notebook) -> None:
    below = descendants(kernel.pid)
    assert below
    os.kill(kernel.pid, signal.SIGKILL)
    assert until(lambda: not kernel.manager.is_alive())
    assert until(lambda: all(is_gone(pid) for pid in below))


@pytest.mark.parametrize("status", [0, 3])
def test_a_program_that_ends_itself_ends_the_kernel_with_its_status(status: int, either: Callable[[], KernelManager]) -> None:
    with running(either()) as notebook:
        notebook.client.execute(f"import os; os._exit({status})")
        assert until(lambda: not notebook.manager.is_alive())
        assert notebook.manager.provisioner.process.returncode == status  # type: ignore[union-attr]


PARENT = """
import sys, time
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name="cellhold-small")
manager.start_kernel()
print(manager.provisioner.pid, manager.connection_file, flush=True)
time.sleep(1000)
"""


@pytest.mark.requires("root", "overlayfs")
def test_when_the_process_that_started_it_is_killed_it_ends(jupyter_path: Path) -> None:
    del jupyter_path
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, _, file = parent.stdout.readline().strip().partition(" ")
        client = BlockingKernelClient(connection_file=file)
        client.load_connection_file()
        client.start_channels()
        try:
            client.kernel_info(reply=True, timeout=PATIENCE)
            below = descendants(int(pid))
            assert below
            parent.kill()
            assert until(lambda: all(is_gone(child) for child in (int(pid), *below)))
        finally:
            parent.kill()
            client.stop_channels()
            client.context.destroy()
            Path(file).unlink()
