"""An image on its way, for a cell that waits for it. A process of its own does the work: the host kernel stays small, and answers.

It is `cellhold pull --progress json`, which writes a line of JSON whenever a layer got further. Where its lines are shown is not the
business of this module (relay.py).
"""

from __future__ import annotations

import html
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

from cellhold import quantity
from cellhold.errors import CellholdError, ImageNotFound, ImageRefused, InvalidSpec, NotSupported, RegistryFailed
from cellhold_kernel.tail import plain

_CHUNK = 64 << 10
_LINE_MOST = 4096
_BAR_WIDTH = 24
_ERRORS: dict[str, type[CellholdError]] = {
    kind.__name__: kind for kind in (ImageNotFound, ImageRefused, InvalidSpec, NotSupported, RegistryFailed)
}
_HIDDEN = ("Already exists", "Pull complete")


class Pull:
    """One pull; `close` ends it. rows: digest -> (what is done with the layer, bytes done, bytes in all)."""

    def __init__(self, image: str) -> None:
        """Start it. -P: the notebook's folder is where we are, and nothing of it is to be imported on the host."""
        self.image = image
        self.rows: dict[str, tuple[str, int, int]] = {}
        self._began = time.monotonic()
        self._rest = b""
        self._error: dict[str, object] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cellhold.cli", "pull", "--progress", "json", "--", image],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Jupyter's signals to the kernel's group are not for it
        )
        os.set_blocking(self.fileno(), False)

    def fileno(self) -> int:
        """Readable when there is something to `drain`."""
        assert self._process.stdout is not None  # noqa: S101  # for mypy: it is a pipe
        return self._process.stdout.fileno()

    def drain(self) -> bool:
        """Take in what it says; False once it has ended. Raises the error that it ended with."""
        with suppress(BlockingIOError):
            while chunk := os.read(self.fileno(), _CHUNK):
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                for line in lines:
                    self._note(line)
            self._end()
            return False
        return True

    def close(self) -> None:
        """End it, whatever it does; what it has brought so far stays for the next one. Twice is no error."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
        self._process.communicate()  # which closes the pipe

    def text(self) -> str:
        """How far it is, a line a layer that is on its way."""
        lines = [
            f"{digest}  {doing:<14} {_bar(done, total)} {quantity.size(done)} of {quantity.size(total)}"
            for digest, (doing, done, total) in self.rows.items()
            if doing not in _HIDDEN
        ]
        return "\n".join([self._summary(), *lines])

    def html(self) -> str:
        """The same as a table with a bar a layer. Only numbers and our own words come from outside."""
        rows = "".join(
            f"<tr><td><code>{html.escape(digest)}</code></td><td>{html.escape(doing)}</td>"
            f'<td><progress value="{done}" max="{max(total, 1)}"></progress></td>'
            f"<td>{quantity.size(done)} of {quantity.size(total)}</td></tr>"
            for digest, (doing, done, total) in self.rows.items()
            if doing not in _HIDDEN
        )
        return f"<div>{html.escape(self._summary())}</div>" + (f"<table>{rows}</table>" if rows else "")

    def _summary(self) -> str:
        layers, done = len(self.rows), sum(doing in _HIDDEN for doing, _done, _total in self.rows.values())
        if self._process.poll() is None:
            return f"pulling {plain(self.image)}: {done} of {layers or '?'} layers are here"
        sent = sum(total for doing, _done, total in self.rows.values() if doing == "Pull complete")
        seconds = time.monotonic() - self._began
        return f"pulled {plain(self.image)}: {layers} layers, {quantity.size(sent)} of them new, in {seconds:.1f} s"

    def _note(self, line: bytes) -> None:
        with suppress(ValueError, KeyError, TypeError):
            if line.startswith(b"{") and len(line) < _LINE_MOST:
                said = json.loads(line)
                if "error" in said:
                    self._error = said
                digest = plain(str(said["digest"]).rpartition(":")[2], most=12)
                self.rows[digest] = (plain(str(said["doing"]), most=20), int(said["done_bytes"]), int(said["total_bytes"]))

    def _end(self) -> None:
        if self._process.wait() != 0:
            raise told(self._error or {"sentence": f"cannot pull {self.image}: it was ended ({self._process.returncode})"})


def told(error: dict[str, object]) -> CellholdError:
    """The error that the pull has told in its last line."""
    kind = _ERRORS.get(str(error.get("error")), CellholdError)
    return kind(plain(str(error.get("sentence"))), hint=plain(str(error["hint"])) if error.get("hint") else None)


def _bar(done: int, total: int) -> str:
    filled = round(_BAR_WIDTH * done / total) if total else 0
    return f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}]"
