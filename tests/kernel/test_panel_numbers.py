"""The panel's numbers are those of the cgroup's files; a cell that is held back, or killed, is shown so."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import KernelManager

from kernels import PATIENCE, running
from views import hear, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernels import Notebook

pytestmark = [pytest.mark.requires("root", "overlayfs", "cgroup-freezer", "cgroup-memory"), pytest.mark.usefixtures("jupyter_path")]

ALLOWED = 0.02  # 2 %
CGROUPS = Path("/sys/fs/cgroup")
FILES = {  # of v1, of v2, where there are both
    "memory": ("memory/cellhold/{}/memory.usage_in_bytes", "cellhold/{}/memory.current"),
    "pids": ("pids/cellhold/{}/pids.current", "cellhold/{}/pids.current"),
    "cpu": ("cpuacct/cellhold/{}/cpuacct.usage", "unified/cellhold/{}/cpu.stat", "cellhold/{}/cpu.stat"),
    "throttled": ("cpu/cellhold/{}/cpu.stat", "cellhold/{}/cpu.stat"),
}
HELD, THROTTLED, MEMORY, PIDS = 9, 8, 2, 6
# Twice at a time: a machine on which others work, too, may give one process less than half a processor, and then no limit holds it.
SPIN_TWICE = "import os\nchild = os.fork()\n{}\nchild or os._exit(0)\nos.waitpid(child, 0)"
SPIN = "import time\nuntil = time.time() + {}\nwhile time.time() < until: pass"
WORK = "import time\nuntil = time.process_time() + {}\nwhile time.process_time() < until: pass"
NOISE = 0.05  # of the time: held back for less is not shown


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    with running(KernelManager(kernel_name="cellhold-small")) as opened:
        yield opened


def seen(notebook: Notebook) -> str:
    """The id of the container of a notebook whose panel somebody sees."""
    notebook.run("%container panel")
    tell(notebook, {"do": "hello"})
    return str(hear(notebook, lambda said: said["t"] == "full")["id"])


def figure(container: str, what: str) -> float:
    """A figure as the kernel has it: bytes, processes, seconds."""
    text = next(path for name in FILES[what] if (path := CGROUPS / name.format(container)).exists()).read_text()
    if what == "throttled":  # summed over the processors
        counted = {name: float(number) for name, number in map(str.split, text.splitlines())}
        return counted["throttled_usec"] / 1e6 if "throttled_usec" in counted else counted["throttled_time"] / 1e9
    if what != "cpu":
        return float(text)
    return float(text.split()[1]) / 1e6 if text.startswith("usage_usec") else float(text) / 1e9


def heard(notebook: Notebook) -> list[list[Any]]:
    """The samples of the next message that has some."""
    found: list[list[Any]] = hear(notebook, lambda said: said["t"] == "s")["s"]
    return found


def sample(notebook: Notebook) -> list[Any]:
    return heard(notebook)[-1]


def test_memory_and_processes_are_those_of_the_files(notebook: Notebook) -> None:
    container = seen(notebook)
    notebook.run("import subprocess\nheld = bytearray(b'x') * (100 << 20)\nmore = [subprocess.Popen(['sleep', '1000']) for _ in range(5)]")
    time.sleep(1)
    while notebook.client.iopub_channel.msg_ready():
        notebook.client.get_iopub_msg(timeout=0)
    shown = sample(notebook)
    assert shown[MEMORY] == pytest.approx(figure(container, "memory"), rel=ALLOWED)
    assert shown[PIDS] == figure(container, "pids")


def test_a_cells_processor_time_is_that_of_the_file(notebook: Notebook) -> None:
    container = seen(notebook)
    notebook.run("1")
    before = figure(container, "cpu")
    notebook.run(WORK.format(4))
    used = figure(container, "cpu") - before
    cells = hear(
        notebook, lambda said: said["t"] == "state" and any(cell["cpu"] and cell["cpu"] > 1 for cell in said["changed"].get("cells", ()))
    )
    assert cells["changed"]["cells"][-1]["cpu"] == pytest.approx(used, rel=ALLOWED)


def test_half_a_processor_shows_a_band_over_the_cell_that_wants_a_whole_one(notebook: Notebook) -> None:
    notebook.run("%limits cpus=0.5")
    container = seen(notebook)
    samples: list[list[Any]] = [sample(notebook)]
    begun, before = time.time(), figure(container, "throttled")
    busy = notebook.client.execute(SPIN_TWICE.format(SPIN.format(6)))
    while time.time() < begun + 5.5:
        samples += heard(notebook)
    held_back, lasted = figure(container, "throttled") - before, time.time() - begun
    notebook.reply(busy)
    assert len(samples) >= 10
    lengths = [(later[0] - one[0], later[THROTTLED]) for one, later in pairwise(samples)]
    banded = sum(length for length, throttled in lengths if throttled)
    unseen = max(lasted - sum(length for length, _throttled in lengths), 0)
    # On a machine on which others work the limit holds it back less: what the kernel has counted is in the bands, but for the noise.
    assert banded > 0
    assert held_back <= (os.cpu_count() or 1) * (banded + unseen) + NOISE * lasted


def test_a_kill_at_the_memory_limit_is_one_mark(notebook: Notebook) -> None:
    seen(notebook)
    notebook.run("bytearray(b'x') * (1 << 30)")
    notebook.run("1")
    tell(notebook, {"do": "hello"})
    full = hear(notebook, lambda said: said["t"] == "full")
    assert [mark["text"] for mark in full["marks"] if mark["kind"] == "oom"] == ["One process was killed at the memory limit in cell 2."]
    assert [cell["result"] for cell in full["cells"]].count("✖ OOM kill") == 1


def test_what_is_not_measured_is_not_a_number(notebook: Notebook) -> None:
    seen(notebook)
    notebook.run("%container pause")
    notebook.run("%container unpause")
    notebook.run("%container stop")
    tell(notebook, {"do": "hello"})
    full = hear(notebook, lambda said: said["t"] == "full" and said["state"] == "stopped")
    assert full["samples"][-1][1:8] == [None] * 7 or hear(notebook, lambda said: said["t"] == "s" and said["s"][-1][1:8] == [None] * 7)
    assert "CPU             not measured" not in notebook.run("%container panel").text  # it was, while it ran


def test_who_asks_for_the_usage_while_the_container_comes_up_gets_the_containers(jupyter_path: Path) -> None:
    del jupyter_path
    manager = KernelManager(kernel_name="cellhold-small")
    manager.start_kernel()
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.control_channel.send(client.session.msg("usage_request", {}))
        usage = client.control_channel.get_msg(timeout=PATIENCE)["content"]
        assert (usage["pid"], usage["memory_limit"]) == (1, 256 << 20)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
