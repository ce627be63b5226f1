"""What a panel that somebody looks at costs: the host kernel's processor time, and the bytes of each tick. Run by `make bench`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import KernelManager

from bench import measure
from cellhold_kernel import install
from kernels import running

if TYPE_CHECKING:
    from kernels import Notebook

PANEL = "cellhold-panel"
SECONDS = 20.0
MOST_SHARE, MOST_BYTES, MOST_MILLISECONDS = 0.01, 1000, 2.0
_BEAT_SECONDS = 5.0


def tell(notebook: Notebook, do: str) -> None:
    """Send what a view sends."""
    data = {"method": "custom", "content": {"view": "bench", "do": do}}
    notebook.client.shell_channel.send(notebook.client.session.msg("comm_msg", {"comm_id": PANEL, "data": data}))


def processor_seconds(pid: int) -> float:
    """That a process has used."""
    threads = (path.read_text(encoding="utf-8").split() for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(int(nanoseconds) for nanoseconds, *_ in threads) / 1e9


def watched(notebook: Notebook, seconds: float) -> tuple[float, list[int]]:
    """Look at it for so long: processor seconds that took, and the bytes of each message (header, parent, metadata and content)."""
    tell(notebook, "hello")
    time.sleep(1)
    begun, end, beat, sizes = processor_seconds(notebook.pid), time.monotonic() + seconds, 0.0, []
    while time.monotonic() < end:
        if time.monotonic() > beat:
            beat = time.monotonic() + _BEAT_SECONDS
            tell(notebook, "awake")
        if notebook.client.iopub_channel.msg_ready():
            message: dict[str, Any] = notebook.client.get_iopub_msg(timeout=0)
            if message["msg_type"] == "comm_msg" and message["content"]["data"]["content"]["t"] == "s":
                parts = (message["header"], message["parent_header"], message["metadata"], message["content"])
                sizes.append(sum(len(json.dumps(part, default=str)) for part in parts))
        time.sleep(0.01)
    return processor_seconds(notebook.pid) - begun, sizes


def main(seconds: float) -> None:
    """Open a panel, look at it, and print what that costs."""
    with ExitStack() as closing:
        patch = closing.enter_context(pytest.MonkeyPatch.context())
        place = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="chbench", dir="/var/tmp", ignore_cleanup_errors=True)))
        patch.setenv("CELLHOLD_HOME", str(place / "home"))
        patch.setenv("JUPYTER_PATH", str(place / "jupyter"))
        install.install(place / "jupyter", name="bench-panel", texts={"memory": "256m", "cpus": "1", "pids": "64", "disk": "64m"})
        notebook = closing.enter_context(running(KernelManager(kernel_name="bench-panel")))
        open_panel = measure.timed(lambda: notebook.run("%container panel"))()
        used, sizes = watched(notebook, seconds)
        ticks = len(sizes)
        share, bytes_each, each = used / seconds, sum(sizes) / ticks, 1000 * used / ticks
        opened = f"opened in {1000 * open_panel:.0f} ms, the first picture included"
        print(f"\na panel that is looked at for {seconds:g} s: {ticks} ticks; {opened}\n")
        for name, value, most, unit in (
            ("processor of the host kernel", 100 * share, 100 * MOST_SHARE, "%"),
            ("each tick", each, MOST_MILLISECONDS, "ms of processor"),
            ("each tick", bytes_each, MOST_BYTES, "bytes"),
        ):
            print(f"  {name}: {value:.2f} {unit}; at most {most:g}: {'holds' if value <= most else 'MISSED'}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)
