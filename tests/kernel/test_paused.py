"""A container that is paused, and what it uses: the host kernel answers what the container cannot."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from jupyter_client.manager import KernelManager

from cellhold.store.home import open_home
from kernels import beside, running, until

if TYPE_CHECKING:
    from kernels import Notebook

pytestmark = [pytest.mark.requires("root", "overlayfs", "cgroup-freezer"), pytest.mark.usefixtures("jupyter_path"), pytest.mark.v2]


def toggle(notebook: Notebook) -> None:
    os.kill(notebook.pid, signal.SIGUSR1)
    time.sleep(0.5)  # a signal handler runs between two messages


def test_while_it_is_paused_the_kernel_is_alive_and_everything_else_waits() -> None:
    with running(beside("pausing.py", memory="256m")) as notebook:
        before = notebook.ask("kernel_info_request", {})
        toggle(notebook)
        for channel in ("control", "shell"):
            answer = notebook.ask("kernel_info_request", {}, channel)
            assert (answer["implementation"], answer["banner"]) == ("ipython", before["banner"])
        assert notebook.client.hb_channel.is_beating()
        waiting = notebook.client.execute("20 + 1")
        with pytest.raises(Exception, match=r"^$"):  # queue.Empty
            notebook.client.get_shell_msg(timeout=2)
        toggle(notebook)
        assert notebook.collect(waiting).text == "21"
    assert until(lambda: not list(open_home().containers.iterdir()))  # a busy machine takes its time


def test_usage_is_the_containers() -> None:
    with running(KernelManager(kernel_name="cellhold-small")) as notebook:
        notebook.ask("usage_request", {})
        notebook.run("held = bytearray(b'x') * (50 << 20)")
        usage = notebook.ask("usage_request", {})
        assert usage["memory_limit"] == usage["host_virtual_memory"]["total"] == 256 << 20
        assert 50 << 20 < usage["kernel_memory"] < 256 << 20
        assert usage["kernel_cpu"] > 0
        assert usage["pids"] > 1
