"""The process that draws the panel's picture (picture.py), seen from the panel.

It is started when it is first needed, and again if it died. What it draws comes from a
container, so every wait is bounded: if a picture takes too long, or too much memory,
the process is killed and the panel is shown as text.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cellhold import helper
from cellhold.errors import CellholdError
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FIRST_SECONDS = 30.0  # matplotlib takes 1 to load, on a quiet machine
_BOUNDS = helper.Bounds(memory_bytes=1 << 30)  # it takes 200 MiB of address space
_LARGEST = 4 << 20
_CHUNK = 64 << 10
_FAILURES_MOST = 2  # in a row: matplotlib is missing, or does not work here
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # each reserves memory


class Painter:
    """The process, from the first picture on."""

    def __init__(self) -> None:
        """Start without a process."""
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0

    def paint(self, snapshot: Mapping[str, Any], *, patience: float) -> str | None:
        """Return a snapshot (Panel.snapshot) as a PNG in base64.

        patience: seconds. None if it takes longer or too much memory, or if matplotlib
        is missing.
        """
        if self._failures >= _FAILURES_MOST:
            return None
        try:
            if self._process is None:
                self._process = _start(_directory())
                patience = max(patience, _FIRST_SECONDS)
            picture = _answer(self._process, json.dumps(snapshot).encode() + b"\n", time.monotonic() + patience)
        except (OSError, CellholdError):
            picture = None
        if picture is None:
            self.close()
            self._failures += 1
            return None
        self._failures = 0
        return picture.decode("ascii", "replace")

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            with suppress(OSError):
                self._process.communicate()
            self._process = None


def _directory() -> Path:
    """Return the directory for matplotlib's configuration and list of fonts.

    Raises OSError, and CellholdError if there cannot be a store.
    """
    directory = open_home().root / "picture"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def _start(directory: Path) -> subprocess.Popen[bytes]:
    """Start the process with a directory as its home.

    So neither the user's configuration nor a notebook's folder has an effect on it.
    """
    env = {"HOME": str(directory), "MPLCONFIGDIR": str(directory), "PATH": os.defpath, "LANG": "C.UTF-8", **_ONE_THREAD}
    words = helper.python("cellhold_kernel.widgets.picture", bounds=_BOUNDS)
    process = helper.start(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for pipe in (process.stdin, process.stdout):
        os.set_blocking(_number(pipe), False)
    return process


def _answer(process: subprocess.Popen[bytes], line: bytes, until: float) -> bytes | None:
    """Send a line and return the answer, None if it does not come in time.

    until: by time.monotonic(). Raises OSError.
    """
    sending, receiving = _number(process.stdin), _number(process.stdout)
    poll = select.poll()
    poll.register(receiving, select.POLLIN)
    poll.register(sending, select.POLLOUT)
    answer = b""
    while not answer.endswith(b"\n"):
        ready = dict(poll.poll(max(until - time.monotonic(), 0) * 1000))
        if sending in ready:
            line = line[os.write(sending, line[:_CHUNK]) :]
            if not line:
                poll.unregister(sending)
        if receiving in ready:
            chunk = os.read(receiving, _CHUNK)
            answer += chunk
            if not chunk or len(answer) > _LARGEST:
                return None
        if not ready:
            return None
    return answer.strip()


def _number(pipe: Any) -> int:
    return int(pipe.fileno())
