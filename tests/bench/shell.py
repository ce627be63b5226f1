"""A shell cell's round trip, over what the command itself takes: `:`, which takes nothing. Run by `make bench`, as root."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

import images.busybox
from bench import measure
from cellhold.image.archive.loading import load
from cellhold_kernel import install
from kernels import running

TRIPS = 400
MOST_MILLISECONDS = 20.0


def main(trips: int) -> None:
    """Start a notebook on busybox, and let it run nothing."""
    with ExitStack() as closing:
        patch = closing.enter_context(pytest.MonkeyPatch.context())
        place = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="chbench", dir="/var/tmp", ignore_cleanup_errors=True)))
        patch.setenv("CELLHOLD_HOME", str(place / "home"))
        patch.setenv("JUPYTER_PATH", str(place / "jupyter"))
        image = next(iter(load(images.busybox.image().layout)))
        install.install(place / "jupyter", name="bench-shell", texts={"image": str(image.id), "kernel": "shell"})
        notebook = closing.enter_context(running(KernelManager(kernel_name="bench-shell")))
        results = measure.interleaved({":": measure.timed(lambda: notebook.run(":"))}, trips)
        p50 = measure.summary(results[":"])["median"]
        measure.show("a shell cell, request to idle", results, p50_ms=p50)
        print(f"\n  at most {MOST_MILLISECONDS:g} ms: {'holds' if p50 <= MOST_MILLISECONDS else 'MISSED'}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else TRIPS)
