"""The kernel against a plain ipykernel: from start to the first reply, what the relay adds to a cell, and the host kernel's memory.

Run by `make bench`, which has installed the kernelspec `cellhold`. The clients are Jupyter's own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import KernelManager

from bench import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_client.blocking.client import BlockingKernelClient

ROUNDS = 12
BLOCKS, CELLS_OF_A_BLOCK = 16, 25
START_AGAINST_PLAIN = 1.5
MOST_ADDED_MS = 2.0
MOST_PSS_MB = 25.0
OURS, THEIRS = "cellhold", "plain ipykernel"
KERNELS = {THEIRS: "python3", OURS: "cellhold"}
_SECONDS = 60


@contextmanager
def started(kernel_name: str) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """A kernel and a client whose channels are open; nobody has waited for it to be ready."""
    manager = KernelManager(kernel_name=kernel_name)
    manager.start_kernel(stderr=subprocess.DEVNULL)  # both complain of TCP without encryption
    client = manager.client()
    client.start_channels(hb=False)
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=False)
        manager.cleanup_resources()


def execute(client: BlockingKernelClient, code: str) -> dict[str, Any]:
    """Run a cell and return its reply."""
    wanted = client.execute(code)
    while True:
        reply: dict[str, Any] = client.get_shell_msg(timeout=_SECONDS)
        if reply["parent_header"].get("msg_id") == wanted:
            return reply


def first_reply(kernel_name: str) -> Callable[[], float]:
    """A contestant: seconds from start_kernel() to the reply of a cell that was sent at once. The end is not counted."""

    def once() -> float:
        start = time.perf_counter()
        with started(kernel_name) as (_manager, client):
            reply = execute(client, "1 + 1")
            seconds = time.perf_counter() - start
        if reply["content"]["status"] != "ok":
            raise SystemExit(f"{kernel_name}: {reply['content']}")
        return seconds

    return once


def replies(clients: dict[str, BlockingKernelClient]) -> dict[str, list[float]]:
    """Seconds of an empty cell, many times, in blocks that take turns."""
    results: dict[str, list[float]] = {name: [] for name in clients}
    for block in range(-1, BLOCKS):
        for name, client in clients.items():
            for _cell in range(CELLS_OF_A_BLOCK):
                start = time.perf_counter()
                execute(client, "pass")
                if block >= 0:
                    results[name].append(time.perf_counter() - start)
            while client.iopub_channel.msg_ready():
                client.get_iopub_msg(timeout=1)
    return results


def pss_megabytes(pid: int) -> float:
    """Proportional set size: each page divided by how many processes share it (proc_pid_smaps(5))."""
    match = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"), re.MULTILINE)
    return round(int(match[1]) / 1024, 1) if match else 0.0


def launcher_of(pid: int) -> int | None:
    """The small process that a host kernel keeps for its containers: its only child outside the container."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return int(children[0]) if children else None


def main(rounds: int) -> None:
    """Measure and print."""
    if os.geteuid() != 0:
        raise SystemExit("containers need root in this version: sudo make bench")
    starts = measure.interleaved({name: first_reply(kernel) for name, kernel in KERNELS.items()}, rounds, warm_up=1)
    measure.show("kernel start to first reply", starts, [(OURS, THEIRS, START_AGAINST_PLAIN)])
    with started(KERNELS[THEIRS]) as (_plain_manager, plain), started(KERNELS[OURS]) as (manager, client):
        cells = replies({THEIRS: plain, OURS: client})
        pid: int = manager.provisioner.process.pid  # type: ignore[union-attr]  # a LocalProvisioner
        launcher = launcher_of(pid)
        host, small = pss_megabytes(pid), pss_megabytes(launcher) if launcher else 0.0
    added = measure.summary(cells[OURS])["median"] - measure.summary(cells[THEIRS])["median"]
    measure.show("an empty cell, request to reply", cells, added_p50_ms=round(added, 2), host_kernel_pss_mb=host, launcher_pss_mb=small)
    print(f"\n  at most {MOST_ADDED_MS:g} ms added: {'holds' if added <= MOST_ADDED_MS else 'MISSED'}")
    print(f"  at most {MOST_PSS_MB:g} MB: {'holds' if host <= MOST_PSS_MB else 'MISSED'}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
