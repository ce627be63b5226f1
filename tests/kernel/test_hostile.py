"""A cell kernel that lies, breaks off or sends what is no message: the host kernel tells, and goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernels import beside, running

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("jupyter_path")


def test_what_is_no_message_is_dropped_and_the_rest_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTILE", "garbage")
    with running(beside("hostile.py")) as notebook:
        for _ in range(3):
            cell = notebook.run("1")
            assert (cell.status, cell.count) == ("ok", 5)
            assert (cell.states, cell.of("iopub_welcome")) == (["busy", "idle"], [])  # "dead" is the server's word, the welcome ours
        assert notebook.ask("kernel_info_request", {}, "shell")["implementation"] == "cellhold"  # its own names no language
        assert notebook.run("%container").status == "ok"


def test_links_in_the_place_of_its_sockets_are_told_in_the_first_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTILE", "links")
    with running(beside("hostile.py")) as notebook:
        assert "cannot connect to the cell kernel: kernel-2 in its directory is not a socket" in notebook.run("1").error


def test_its_last_words_are_told_without_what_a_terminal_obeys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTILE", "dies")
    with running(beside("hostile.py")) as notebook:
        cell = notebook.run("1")
        assert "cannot start a cell kernel in image host: exited with status 1 before it was ready" in cell.error
        assert "it wrote: no module named ipykernel\\x07" in cell.error
        assert notebook.run("%container pids=50").status == "error"


def test_forged_requests_are_dropped(jupyter_path: Path) -> None:
    """Nobody without the key can run, interrupt or end anything, or keep the others waiting."""
    del jupyter_path
    with running(beside("standin.py")) as notebook:
        good, notebook.client.session.key = notebook.client.session.key, b"another"
        notebook.client.execute("x = 1")
        notebook.client.execute("%container pids=5")
        for kind in ("shutdown_request", "interrupt_request"):
            notebook.client.control_channel.send(notebook.client.session.msg(kind, {}))
        notebook.client.session.key = good
        assert notebook.run("'x' in globals()").text == "False"
        assert notebook.run("%container").status == "ok"


def test_a_cell_kernel_that_closes_its_sockets_is_replaced_and_the_cell_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTILE", "closes")
    with running(beside("hostile.py")) as notebook:
        for _ in range(2):
            cell = notebook.run("1")
            assert cell.reply["ename"] == "ContainerLost"
            assert "was lost: the cell kernel cannot be reached any more, its socket for shell: " in cell.error
