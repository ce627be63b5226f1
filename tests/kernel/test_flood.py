"""Floods of output, and front ends that do not read: the host kernel's memory stays bounded, and who reads misses nothing."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zmq

from kernels import PATIENCE, beside, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernels import Cell, Notebook

pytestmark = pytest.mark.usefixtures("jupyter_path")

MOST_MB = 100
DISPLAYS = """
from IPython.display import display
for number in range({count}):
    display({{'text/plain': 'x' * {size}}}, raw=True)
"""
BURST = """
import os, signal, threading
os.kill({pid}, signal.SIGSTOP)
threading.Timer(1, os.kill, ({pid}, signal.SIGCONT)).start()
for number in range(150):
    print(number, flush=True)
"""
STREAM = "import sys\nfor number in range(50):\n    sys.stdout.write('x' * 100_000)\n    sys.stdout.flush()"


def peak_megabytes(pid: int) -> float:
    """The most resident memory that a process ever had (proc_pid_status(5)), shared pages included."""
    match = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match
    return int(match[1]) * 1024 / 1e6


@contextmanager
def deaf(notebook: Notebook) -> Iterator[None]:
    """A subscriber of iopub that never reads."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    info = notebook.client.get_connection_info()
    socket = context.socket(zmq.SUB)
    socket.rcvhwm = 1
    socket.subscribe(b"")
    socket.connect(f"tcp://127.0.0.1:{info['iopub_port']}")
    assert socket.poll(PATIENCE * 1000)  # the welcome
    try:
        yield
    finally:
        context.destroy(linger=0)


def displayed(cell: Cell) -> list[int]:
    return [len(content["data"]["text/plain"]) for content in cell.of("display_data")]


def stderr(cell: Cell) -> list[str]:
    return [content["text"] for content in cell.of("stream") if content["name"] == "stderr" and content["text"].startswith("cellhold: ")]


def test_a_client_that_reads_gets_everything_and_the_host_kernel_stays_small() -> None:
    with running(beside("standin.py")) as notebook:
        cell = notebook.run(DISPLAYS.format(count=4, size=10_000_000))
        assert displayed(cell) == [10_000_000] * 4
        cell = notebook.run(STREAM)
        assert sum(len(content["text"]) for content in cell.of("stream")) == 5_000_000
        assert stderr(cell) == []
        assert peak_megabytes(notebook.pid) < MOST_MB


def test_a_burst_that_is_read_at_once_is_passed_on_to_its_end() -> None:
    with running(beside("standin.py")) as notebook:
        cell = notebook.run(BURST.format(pid=notebook.pid))  # what it sends, its end included, waits for a host kernel that stands still
        assert "".join(content["text"] for content in cell.of("stream")).split() == [str(number) for number in range(150)]


def test_who_does_not_read_is_cut_off_and_the_others_get_everything() -> None:
    with running(beside("standin.py")) as notebook, deaf(notebook):
        cell = notebook.run(DISPLAYS.format(count=6, size=5_000_000))
        assert displayed(cell) == [5_000_000] * 6
        (text,) = stderr(cell)
        assert "a front end that did not read was cut off" in text
        assert peak_megabytes(notebook.pid) < MOST_MB


def test_where_nobody_reads_the_cell_ends_and_it_is_told_what_was_left_out() -> None:
    with running(beside("standin.py")) as notebook:
        notebook.client.iopub_channel.stop()
        with deaf(notebook):
            began = time.monotonic()
            flood = notebook.client.execute(DISPLAYS.format(count=8, size=5_000_000))
            asked = notebook.client.session.msg("kernel_info_request", {})
            notebook.client.control_channel.send(asked)
            notebook.reply(asked["header"]["msg_id"], "control")  # while nobody reads
            assert notebook.client.is_alive()
            assert notebook.reply(flood)["content"]["status"] == "ok"
            assert time.monotonic() - began < PATIENCE
            assert peak_megabytes(notebook.pid) < MOST_MB


def test_what_waits_for_a_client_is_counted_whatever_it_ends_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTILE", "trailing")
    with running(beside("hostile.py")) as notebook, deaf(notebook):
        for _ in range(6):
            assert notebook.run("1").status == "ok"
        assert peak_megabytes(notebook.pid) < MOST_MB


def test_a_message_of_endless_parts_is_told_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTILE", "endless")
    with running(beside("hostile.py")) as notebook:
        cell = notebook.run("1")
        assert cell.status == "ok"
        assert stderr(cell) == ["cellhold: display_data was left out, it has more than 65536 parts\n"]
        assert peak_megabytes(notebook.pid) < MOST_MB
