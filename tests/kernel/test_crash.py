"""Whoever dies: nothing of the notebook's container is left, and where the host kernel lives on, so does the notebook."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jupyter_client.manager import KernelManager

import leaks
from cellhold import launch
from cellhold.store.home import open_home
from cellhold.sweep import sweep
from kernels import descendants, is_gone, running, until

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from kernels import Notebook

pytestmark = [pytest.mark.requires("root", "overlayfs"), pytest.mark.usefixtures("jupyter_path")]
FOREVER = "import time; time.sleep(1000)"


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


def left(below: AbstractSet[int]) -> list[str]:
    """What is there still, in words."""
    home = open_home()
    found = [f"process {pid} ({command_line(pid)[:60]})" for pid in below if not is_gone(pid)]
    found += [f"control group {name}" for name in leaks.take(ignore=launch.resident_pids())["cgroup"]]  # without other people's
    for part in (home.containers, home.ids, home.root / "kernels"):
        found += [f"directory {path}" for path in part.iterdir()]
    return found


def transcript(killed: str, below: AbstractSet[int]) -> str:
    return "\n".join([f"$ kill -9 {killed}", *(f"left: {line}" for line in left(below) or ["nothing"])])


def the_cell_kernel(notebook: Notebook) -> int:
    (found,) = [pid for pid in descendants(notebook.pid) if "ipykernel_launcher" in command_line(pid)]
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("moment", ["idle", "while a cell runs", "while the container comes"])
def test_when_the_host_kernel_is_killed_the_next_command_finds_nothing(moment: str) -> None:
    with running(KernelManager(kernel_name="cellhold-small"), wait=moment != "while the container comes") as notebook:
        if moment == "while the container comes":
            assert until(lambda: bool(descendants(notebook.pid)))
        elif moment == "while a cell runs":
            notebook.client.execute(FOREVER)
        below = descendants(notebook.pid)
        os.kill(notebook.pid, signal.SIGKILL)
        assert until(lambda: not notebook.manager.is_alive())
        assert until(lambda: all(is_gone(pid) for pid in below)), transcript(f"host kernel, {moment}", below)
        sweep()
    with running(KernelManager(kernel_name="cellhold-small")):  # it clears the directories of kernels that are gone
        pass
    assert until(lambda: not left(below)), transcript(f"host kernel, {moment}", below)


@pytest.mark.parametrize("who", ["cell kernel", "PID 1", "launcher"])
def test_when_a_part_of_the_container_is_killed_the_cell_is_told_and_the_notebook_goes_on(who: str) -> None:
    with running(KernelManager(kernel_name="cellhold-small")) as notebook:
        victim = the_cell_kernel(notebook)
        for _ in range(["cell kernel", "PID 1", "launcher"].index(who)):
            victim = parent(victim)
        before = descendants(notebook.pid)
        forever = notebook.client.execute(FOREVER)
        os.kill(victim, signal.SIGKILL)
        if who == "launcher":
            cell = notebook.collect(forever)
            assert cell.reply["ename"] == "ContainerLost", cell.error
            assert notebook.run("1 + 1").text == "2"
        else:
            assert until(lambda: not notebook.manager.is_alive()), transcript(who, before)
        assert until(lambda: all(is_gone(pid) for pid in before)), transcript(who, before)
    assert until(lambda: not left(before)), transcript(who, before)
