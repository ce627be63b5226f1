"""%container pause, unpause, stop, kill, start, restart, remove, commit, usage, layers, trace: in a notebook, while cells run."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from jupyter_client.manager import KernelManager

from cellhold.store.home import open_home
from kernels import running, until
from views import hear, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernels import Notebook

pytestmark = [pytest.mark.requires("root", "overlayfs", "cgroup-freezer"), pytest.mark.usefixtures("jupyter_path"), pytest.mark.v2]

COUNTING = "import time\nfor number in range(200): print(number, flush=True); time.sleep(0.05)"


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    with running(KernelManager(kernel_name="cellhold-small")) as open_notebook:
        open_notebook.run("kept = 1; open('/kept', 'w').write('a file')")
        yield open_notebook
    assert until(lambda: not list(open_home().containers.iterdir()))


def begun(notebook: Notebook, code: str) -> str:
    """Run a cell, and wait until it prints something; gives the request's id."""
    request = str(notebook.client.execute(code))
    while True:
        message = notebook.client.get_iopub_msg(timeout=100)
        if message["msg_type"] == "stream" and message["parent_header"].get("msg_id") == request:
            return request


def test_a_cell_is_paused_by_another_and_goes_on(notebook: Notebook) -> None:
    counting = begun(notebook, COUNTING)
    paused = notebook.run("%container pause")
    assert paused.status == "ok", paused.error
    assert "is paused: running cells are frozen" in paused.text
    time.sleep(0.5)  # what was written until then has come
    while notebook.client.iopub_channel.msg_ready():
        notebook.client.get_iopub_msg(timeout=0)
    time.sleep(0.5)
    assert not notebook.client.iopub_channel.msg_ready()  # nothing is counted
    assert "memory" in notebook.run("%container usage").text
    refused = notebook.run("%container pause")
    assert "NotAllowed: cannot pause the container: it is paused already" in refused.error
    assert "goes on" in notebook.run("%container unpause").text
    assert notebook.collect(counting).text.split()[-1] == "199"
    assert notebook.run("print(kept)").text == "1\n"


def test_a_stopped_container_is_kept_and_started_again_with_its_files(notebook: Notebook) -> None:
    counting = begun(notebook, COUNTING)
    stop = notebook.client.execute("%container stop")
    counted = notebook.collect(counting)
    assert counted.status == "error"
    assert "ContainerStopped: cell 2 was stopped by %container stop, status 143 (SIGTERM)" in counted.error
    stopped = notebook.collect_published(stop)
    assert "is stopped: status 143 (SIGTERM)" in stopped.text
    waiting = notebook.run("print(kept)")
    assert "cannot run the cell: the container is stopped" in waiting.error
    assert "hint: %container start goes on with its files" in waiting.error
    assert "cannot pause the container: it is stopped" in notebook.run("%container pause").error
    started = notebook.run("%container start\nprint(open('/kept').read())")
    assert started.status == "ok", started.error
    assert started.text.splitlines()[-1] == "a file"
    assert "NameError" in notebook.run("kept").error


def test_who_does_not_stop_is_killed_after_the_grace_period(notebook: Notebook) -> None:
    begun(notebook, f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{COUNTING}")
    began = time.monotonic()
    stopped = notebook.collect_published(notebook.client.execute("%container stop 1s"))
    assert "status 137 (SIGKILL)" in stopped.text
    assert 1 <= time.monotonic() - began < 8


def test_kill_ends_the_cell_and_restart_brings_a_fresh_container(notebook: Notebook) -> None:
    begun(notebook, COUNTING)
    killed = notebook.collect_published(notebook.client.execute("%container kill"))
    assert "status 137 (SIGKILL)" in killed.text
    assert "container " in notebook.run("%container restart").text
    fresh = notebook.run("import os; print(os.path.exists('/kept'))")
    assert fresh.text == "False\n"
    assert len(list(open_home().containers.iterdir())) == 1


def test_restart_while_a_cell_runs_ends_it_with_a_reason(notebook: Notebook) -> None:
    counting = begun(notebook, COUNTING)
    restart = notebook.client.execute("%container restart")
    counted = notebook.collect(counting)
    assert "ContainerRestarted: cell 2 was ended: the container was replaced by a fresh one" in counted.error
    assert notebook.collect_published(restart).states[-1] == "idle"
    assert notebook.run("print(6 * 7)").text == "42\n"


@contextmanager
def at_once(notebook: Notebook) -> Iterator[None]:
    """What is sent in this block is there when the host kernel looks again: no container can come in between."""
    os.kill(notebook.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(notebook.pid, signal.SIGCONT)


def watch(notebook: Notebook) -> None:
    """Have a panel, and somebody who looks at it."""
    notebook.run("%container panel")
    tell(notebook, {"do": "hello"})
    hear(notebook, lambda said: said["t"] == "full")


def press(notebook: Notebook, action: str) -> None:
    """Press a button of the panel."""
    tell(notebook, {"do": "act", "id": action, "action": action})


@pytest.mark.parametrize("handler", ["signal.SIG_DFL", "signal.SIG_IGN"])
def test_who_stops_a_container_that_is_just_replaced_is_answered_and_the_fresh_one_stays(notebook: Notebook, handler: str) -> None:
    """SIG_DFL: it stops before the fresh one is there; SIG_IGN: it is displaced while it is being stopped."""
    watch(notebook)
    notebook.run(f"import signal; signal.signal(signal.SIGTERM, {handler})")
    with at_once(notebook):
        press(notebook, "restart")
        stop = notebook.client.execute("%container stop 60s")
    stopped = notebook.collect_published(stop)
    assert "the container has ended, and a fresh one is in its place" in stopped.text
    assert notebook.run("import os; print(os.path.exists('/kept'))").text.endswith("False\n")
    assert "is paused" in notebook.run("%container pause").text  # nothing is being stopped any more
    notebook.run("%container unpause")


def test_a_button_that_is_pressed_twice_makes_one_fresh_container(notebook: Notebook) -> None:
    watch(notebook)
    with at_once(notebook):
        press(notebook, "restart")
        press(notebook, "restart")
    answers = [hear(notebook, lambda said: said["t"] == "ack") for _ in range(2)]
    assert [said["ok"] for said in answers] == [True, False]
    assert answers[1]["text"] == "cannot restart the container: a fresh one is being started"


def test_a_cell_that_asks_for_a_container_goes_before_a_button(notebook: Notebook) -> None:
    watch(notebook)
    with at_once(notebook):
        press(notebook, "restart")
        asked = notebook.client.execute("%container hostname=asked\nimport os; print(os.uname().nodename)")
    assert notebook.collect(asked).text.endswith("asked\n")
    assert until(lambda: len(list(open_home().containers.iterdir())) == 1)


def test_a_removed_container_is_followed_by_a_fresh_one_and_a_note(notebook: Notebook) -> None:
    assert "cannot remove the container: it runs: stop it first" in notebook.run("%container remove").error
    notebook.run("%container stop")
    assert "the container was removed" in notebook.run("%container remove").text
    assert not list(open_home().containers.iterdir())
    cell = notebook.run("import os; print(os.path.exists('/kept'))")
    assert "note: the container was removed" in cell.text
    assert cell.text.endswith("False\n")
    assert notebook.run("print(1)").text == "1\n"


def test_what_is_shown_without_a_browser(notebook: Notebook) -> None:
    trace = notebook.run("%container trace").text
    assert "overlay" in trace
    assert " ms" in trace
    layers = notebook.run("%container layers").text.splitlines()
    assert layers[0].startswith("writable")
    assert layers[-1].startswith("host")
    refused = notebook.run("%container commit host-copy:1")
    assert "cannot make an image of container" in refused.error
    assert "needs one" in notebook.run("%container commit").error
