"""Floods of output through the host kernel against a plain ipykernel: speed, completeness, and memory when a client does not read.

Run by `make bench`, which has installed the kernelspec `cellhold`.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from bench import measure
from bench.kernel import KERNELS, OURS, THEIRS, started

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_client.blocking.client import BlockingKernelClient

ROUNDS = 3
LEAST_OF_PLAIN = 0.8
MOST_MB = 100
MEGABYTE = 1_000_000
_SECONDS = 600
_DISPLAY = f"from IPython.display import display\nfor _ in range(20):\n    display({{'text/plain': 'x' * {10 * MEGABYTE}}}, raw=True)"
_STREAM = "import sys\nfor _ in range(500):\n    sys.stdout.write('x' * 100_000)\n    sys.stdout.flush()"
LOADS = {"20 displays of 10 MB": (_DISPLAY, 200 * MEGABYTE), "50 MB of stream": (_STREAM, 50 * MEGABYTE)}


def flood(client: BlockingKernelClient, code: str, expected: int) -> Callable[[], float]:
    """A contestant: seconds until all output of a cell has arrived. Output that is missing ends the program."""

    def once() -> float:
        start = time.perf_counter()
        cell = client.execute(code)
        arrived = 0
        while True:
            message = client.get_iopub_msg(timeout=_SECONDS)
            if message["parent_header"].get("msg_id") != cell:
                continue
            content = message["content"]
            arrived += len(content.get("text", "") or content.get("data", {}).get("text/plain", ""))
            if content.get("execution_state") == "idle":
                break
        if arrived != expected:
            raise SystemExit(f"{arrived} bytes of {expected} arrived")
        return time.perf_counter() - start

    return once


def peak_megabytes(pid: int) -> float:
    """The most resident memory that a process had, shared pages included (proc_pid_status(5))."""
    match = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"), re.MULTILINE)
    return round(int(match[1]) * 1024 / MEGABYTE, 1) if match else 0.0


def main(rounds: int) -> None:
    """Measure and print."""
    if os.geteuid() != 0:
        raise SystemExit("containers need root in this version: sudo make bench")
    with started(KERNELS[THEIRS]) as (_plain_manager, plain), started(KERNELS[OURS]) as (manager, client):
        pid: int = manager.provisioner.process.pid  # type: ignore[union-attr]  # a LocalProvisioner
        for title, (code, size) in LOADS.items():
            contestants = {THEIRS: flood(plain, code, size), OURS: flood(client, code, size)}
            seconds = measure.interleaved(contestants, rounds, warm_up=1)
            measure.show(title, seconds, [(OURS, THEIRS, 1 / LEAST_OF_PLAIN)], host_kernel_peak_mb=peak_megabytes(pid))
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        deaf = context.socket(zmq.SUB)  # a front end that never reads
        deaf.rcvhwm = 1
        deaf.subscribe(b"")
        deaf.connect(f"tcp://127.0.0.1:{client.get_connection_info()['iopub_port']}")
        deaf.poll(_SECONDS * 1000)
        client.iopub_channel.stop()
        client.execute(_DISPLAY)
        client.get_shell_msg(timeout=_SECONDS)
        peak = peak_megabytes(pid)
        context.destroy(linger=0)
    print(f"\n  host kernel, 200 MB to clients of which one never reads: {peak} MB at most {MOST_MB}: ", end="")
    print("holds" if peak <= MOST_MB else "MISSED")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
