"""Whoever is killed: nothing of the notebook's container is left, and where the host kernel lives on, so does the notebook."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jupyter_client.manager import KernelManager

import leaks
from cellhold.container import launcher
from cellhold.container.recovery import sweep
from cellhold_kernel.engine.local import socket_directory
from kernels import PATIENCE, descendants, is_gone, running, until

if TYPE_CHECKING:
    from kernels import Notebook

pytestmark = [pytest.mark.requires("root", "overlayfs"), pytest.mark.usefixtures("jupyter_path")]
FOREVER = "import time; time.sleep(1000)"
JUPYTER = """
import time
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name="cellhold-small")
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(100)
print(manager.provisioner.process.pid, flush=True)
time.sleep(1000)
"""


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


def the_cell_kernel(notebook: Notebook) -> int:
    (found,) = [pid for pid in descendants(notebook.pid) if "ipykernel_launcher" in command_line(pid)]
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def nothing_is_left(killed: str, before: leaks.Snapshot) -> None:
    """Print what was killed and what was left (pytest -rP shows it); the latter has to be nothing."""
    left = leaks.left_over(before, ignore=launcher.resident_pids(), patience=PATIENCE)
    transcript = "\n".join([f"$ kill -9 {killed}", *(f"left: {sentence}" for sentence in left or ["nothing"])])
    print(transcript)  # noqa: T201
    assert not left, transcript


@pytest.mark.parametrize("moment", ["idle", "while a cell runs", "while the container comes"])
def test_when_the_host_kernel_is_killed_the_next_one_finds_nothing(moment: str) -> None:
    before = leaks.take(ignore=launcher.resident_pids())
    with running(KernelManager(kernel_name="cellhold-small"), wait=moment != "while the container comes") as notebook:
        if moment == "while the container comes":
            assert until(lambda: bool(descendants(notebook.pid)))
        elif moment == "while a cell runs":
            notebook.client.execute(FOREVER)
            time.sleep(0.2)  # it is sent, and so is what it causes; no reply will come
        below = descendants(notebook.pid)
        os.kill(notebook.pid, signal.SIGKILL)
        assert until(lambda: not notebook.manager.is_alive())
    assert until(lambda: all(is_gone(pid) for pid in below))  # at once: nobody has come to clear up yet
    sweep()
    socket_directory.clear_abandoned()  # both are what the next host kernel begins with
    nothing_is_left(f"host kernel, {moment}", before)


def test_when_jupyter_is_killed_its_kernel_ends_and_nothing_is_left() -> None:
    before = leaks.take(ignore=launcher.resident_pids())
    with subprocess.Popen([sys.executable, "-c", JUPYTER], stdout=subprocess.PIPE, text=True) as jupyter:
        assert jupyter.stdout is not None
        kernel = int(jupyter.stdout.readline())
        below = {kernel, *descendants(kernel)}
        jupyter.kill()
    assert until(lambda: all(is_gone(pid) for pid in below))
    nothing_is_left("Jupyter", before)


@pytest.mark.parametrize("who", ["cell kernel", "PID 1", "launcher"])
def test_when_a_part_of_the_container_is_killed_nothing_of_it_is_left(who: str) -> None:
    before = leaks.take(ignore=launcher.resident_pids())
    with running(KernelManager(kernel_name="cellhold-small")) as notebook:
        victim = the_cell_kernel(notebook)
        for _ in range(["cell kernel", "PID 1", "launcher"].index(who)):
            victim = parent(victim)
        below = descendants(notebook.pid)
        forever = notebook.client.execute(FOREVER)
        while notebook.client.get_iopub_msg(timeout=PATIENCE)["content"].get("code") != FOREVER:
            pass  # a cell that was not heard to run would run in the fresh container
        os.kill(victim, signal.SIGKILL)
        if who == "launcher":  # nobody in the notebook did that: it goes on
            cell = notebook.collect(forever)
            assert cell.reply["ename"] == "ContainerLost", cell.error
            after = notebook.run("1 + 1").text
            assert after.startswith(f"note: cell {cell.count} was ended together with the process that watched it")
            assert after.endswith("\n2")
        else:  # as a cell does with os.kill(os.getpid(), 9): the kernel died, as ipykernel does
            assert until(lambda: not notebook.manager.is_alive())
        assert until(lambda: all(is_gone(pid) for pid in below))
    nothing_is_left(who, before)
