"""Helpers for tests of the runtime: run a shell script in a container in one line."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cellhold.cli.command import main
from cellhold.container.container import Container
from cellhold.spec.limits import Limits
from cellhold.spec.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from cellhold.spec.outcome import Outcome

RUNTIME = Path(__file__).parents[1] / "runtime"
MIB = 1 << 20
PATIENCE_SECONDS = 30.0  # for what takes milliseconds on a machine with nothing else to do


class Ran(NamedTuple):
    """A container that has ended: how, and what it wrote."""

    outcome: Outcome
    out: str
    err: str


class Reader:
    """A pipe whose output is read while the container runs, so that it never blocks."""

    def __init__(self) -> None:
        reading, self.writing = os.pipe2(os.O_CLOEXEC)
        self._pieces: list[bytes] = []
        self._thread = threading.Thread(target=self._read, args=(reading,))
        self._thread.start()

    def _read(self, reading: int) -> None:
        with os.fdopen(reading, "rb", buffering=0) as file:
            while piece := file.read(65536):
                self._pieces.append(piece)

    def close_writing(self) -> None:
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    @property
    def so_far(self) -> str:
        return b"".join(self._pieces).decode(errors="replace")

    def text(self) -> str:
        """Return all output, once every writer has closed."""
        self.close_writing()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "somebody still holds the output open"
        return self.so_far


def spec(image: Path | str, *args: str, limits: Limits | None = None, **values: Any) -> Spec:
    return Spec(image=str(image), args=args, limits=limits or Limits(), **values)


@contextmanager
def started(wanted: Spec, *, stdin: int | None = None) -> Iterator[tuple[Container, Reader]]:
    """Yield a running container and its output (both streams); remove it in the end."""
    out = Reader()
    try:
        with Container.create(wanted) as box:
            box.start(stdin=stdin, stdout=out.writing, stderr=out.writing)
            out.close_writing()
            yield box, out
    finally:
        out.close_writing()
        out.text()


def run(wanted: Spec, *, stdin: int | None = None) -> Ran:
    """Run it to its end and remove it."""
    out, err = Reader(), Reader()
    try:
        with Container.create(wanted) as box:
            box.start(stdin=stdin, stdout=out.writing, stderr=err.writing)
            outcome = box.wait(PATIENCE_SECONDS * 2)
            return Ran(outcome, out.text(), err.text())
    finally:
        for pipe in (out, err):
            pipe.close_writing()


def shell(image: Path | str, script: str, *, limits: Limits | None = None, **values: Any) -> Ran:
    """Run a script of sh(1)."""
    return run(spec(image, "sh", "-c", script, limits=limits, **values))


def python(script: str, *, limits: Limits | None = None, **values: Any) -> Ran:
    """Run a Python program on the host image."""
    return run(spec("host", "python3", "-I", "-S", "-c", script, limits=limits, **values))


def command(*words: str, **values: Any) -> subprocess.CompletedProcess[str]:
    """Run the `cellhold` command as a person does, from this checkout."""
    return subprocess.run(
        cellhold(*words), capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS * 3, env=environment(), **values
    )


class Said(NamedTuple):
    """A command that has ended: its exit status, and what it wrote."""

    status: int
    out: str
    err: str


def call(capfd: pytest.CaptureFixture[str], *words: str) -> Said:
    """Run the `cellhold` command in this process: where it matters what it says, and not that it is a process."""
    capfd.readouterr()
    try:
        status = main(words)
    except SystemExit as end:
        status = int(end.code or 0)
    said = Said(status, *capfd.readouterr())
    assert "Traceback" not in said.err, (words, said)
    return said


def cellhold(*words: str) -> list[str]:
    """Return the command line of this checkout's `cellhold`."""
    return [sys.executable, "-m", "cellhold.cli", *words]


def environment(**more: str) -> dict[str, str]:
    """Return our environment, with this checkout first on the path."""
    return {**os.environ, "PYTHONPATH": f"{RUNTIME}:{RUNTIME.parent / 'kernel'}:{Path(__file__).parent}", **more}


def eventually(true: Callable[[], object], *, seconds: float = PATIENCE_SECONDS) -> bool:
    """Return whether a condition becomes true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
