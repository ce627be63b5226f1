"""The process that draws the panel's picture (picture.py), as the panel has it: started when first needed, and when it is gone.

What it draws comes from a container, so nothing is waited for without end: a picture that takes too long, or too much memory, costs its
process, and the panel is shown as text.
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
_FAILURES_MOST = 2  # in a row: there is no matplotlib, or it does not work here
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # each reserves memory


class Painter:
    """The process, from the first picture on."""

    def __init__(self) -> None:
        """Not started yet."""
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0

    def paint(self, shown: Mapping[str, Any], *, patience: float) -> str | None:
        """The PNG in base64; None where that takes longer (seconds) or too much memory, or where there is no matplotlib."""
        if self._failures >= _FAILURES_MOST:
            return None
        try:
            if self._process is None:
                self._process = _started(_directory())
                patience = max(patience, _FIRST_SECONDS)
            picture = _answer(self._process, json.dumps(shown).encode() + b"\n", time.monotonic() + patience)
        except (OSError, CellholdError):
            picture = None
        if picture is None:
            self.close()
            self._failures += 1
            return None
        self._failures = 0
        return picture.decode("ascii", "replace")

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            with suppress(OSError):
                self._process.communicate()
            self._process = None


def _directory() -> Path:
    """matplotlib's own: its configuration and list of fonts. Raises OSError, and CellholdError where there can be no store."""
    directory = open_home().root / "picture"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def _started(directory: Path) -> subprocess.Popen[bytes]:
    """Its home is that directory, so that nothing of the user's, and nothing where a notebook lies, rules what it draws."""
    env = {"HOME": str(directory), "MPLCONFIGDIR": str(directory), "PATH": os.defpath, "LANG": "C.UTF-8", **_ONE_THREAD}
    words = helper.python("cellhold_kernel.widgets.picture", bounds=_BOUNDS)
    process = helper.start(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for pipe in (process.stdin, process.stdout):
        os.set_blocking(_number(pipe), False)
    return process


def _answer(process: subprocess.Popen[bytes], line: bytes, until: float) -> bytes | None:
    """Send a line, and give the line that comes for it; None where it does not come until then. Raises OSError."""
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
