"""Detached containers of a test: made, not started, and removed in the end."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.container import logs
from cellhold.container.detached import Detached
from cellhold.spec.lifecycle import State
from cellhold.spec.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNTING = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done"
STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.1; done"


@contextmanager
def box(image: Path, script: str, **values: object) -> Iterator[Detached]:
    """Yield one that is made, not started; remove it in the end."""
    made = Detached.create(Spec(image=str(image), args=("sh", "-c", script), **values))  # type: ignore[arg-type]
    try:
        yield made
    finally:
        if state(made) is not State.REMOVED:
            made.remove(force=True, with_volumes=True)


def output_of(made: Detached) -> str:
    """Return what it has written to standard output."""
    return b"".join(line.text for line in logs.lines(made) if line.stream == 1).decode()


def state(made: Detached) -> State:
    """Return its current state."""
    return made.state


def monitor_of(made: Detached) -> int:
    """Return the process that is the parent of its PID 1."""
    return int(Path(f"/proc/{made.record.pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()[1])
