"""An ordinary user with a delegated group of cgroup v2, in the guest: limits hold without root. `python -m vm --user` runs it.

The tests' own root has no such group, and collects nothing of this directory (conftest.py).
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from jupyter_client.manager import KernelManager

from cellhold import Container, Limits, Spec
from cellhold.spec.lifecycle import State
from cellhold_kernel import install
from kernels import running

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.guest, pytest.mark.requires("rootless", "overlayfs", "cgroups", "cgroup-memory", "cgroup-pids", "cgroup-cpu")]

FORKS = "import os, time\ntry:\n    while True: os.fork() or time.sleep(60) or os._exit(0)\nexcept OSError as error: print(error)\n"
SPIN = "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass\n"


def cellhold(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "cellhold.cli", *words], capture_output=True, text=True, check=False)


def test_a_container_over_its_memory_limit_is_killed_and_told() -> None:
    ran = cellhold("run", "--rm", "--memory", "64m", "host", "python3", "-c", "x = bytearray(200 << 20)")
    assert ran.returncode == 137, ran.stderr
    assert "memory limit of 64 MiB" in ran.stderr


def test_processes_are_refused_at_the_limit() -> None:
    ran = cellhold("run", "--rm", "--pids-limit", "16", "host", "python3", "-c", FORKS)
    assert (ran.returncode, ran.stdout) == (0, "[Errno 11] Resource temporarily unavailable\n"), ran.stderr


def test_the_processor_limit_holds_and_usage_is_counted() -> None:
    with Container.create(Spec(args=("python3", "-c", SPIN), limits=Limits(cpus=0.25, memory_bytes=128 << 20))) as box:
        box.start()
        assert box.wait().status == 0
        used = box.usage()
    assert used.throttled_seconds is not None
    assert used.throttled_seconds > 0.1
    assert used.memory_peak_bytes


def test_it_can_be_paused_and_goes_on() -> None:
    with Container.create(Spec(args=("sleep", "0.3"))) as box:
        box.start()
        box.pause()
        time.sleep(1)
        assert (box.poll(), box.state) == (None, State.PAUSED)
        box.unpause()
        assert box.wait().status == 0


def test_a_limit_without_a_controller_is_refused() -> None:
    ran = cellhold("run", "--rm", "--cpuset-cpus", "0", "host", "true")
    assert ran.returncode in {0, 125}  # 0 in a guest that has the controller
    assert ran.returncode == 0 or "cpuset" in ran.stderr


@pytest.mark.leaks_allowed  # a fresh container, which the end of the notebook takes away
def test_a_cell_over_the_memory_limit_is_told_and_the_notebook_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install.install(tmp_path, name="delegated", texts={"memory": "128m", "pids": "32"})
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    with running(KernelManager(kernel_name="delegated")) as notebook:
        cell = notebook.run("x = b'x' * (1 << 30)")
        assert cell.reply["ename"] == "MemoryLimitExceeded"
        assert "its memory limit of 128 MiB" in cell.error
        assert notebook.run("1 + 1").text.endswith("variables are gone\n2")
        assert "of 128 MiB" in notebook.run("%limits").text
