"""Run one trial of trials.py in a child process, and report its outcome."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold import helper
from cellhold.doctor.feature import MissingError

if TYPE_CHECKING:
    from collections.abc import Callable

_PROGRAM = Path(__file__).with_name("trials.py")
_SECONDS = 60  # only a hanging one takes that long; on a busy machine a network namespace has taken 10


def trial(name: str, *arguments: str) -> Callable[[], str]:
    """Return an `attempt` that runs the trial `name`.

    What the child prints is the reason of its failure.
    """
    return partial(_run, name, arguments)


def _run(name: str, arguments: tuple[str, ...]) -> str:
    command = [sys.executable, "-I", "-S", str(_PROGRAM), name, *arguments]
    try:
        done = helper.run(command, seconds=_SECONDS)
    except TimeoutError:
        raise MissingError(f"the trial did not end within {_SECONDS} seconds") from None
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0:
        raise MissingError(said or f"the trial ended with status {done.returncode}")
    return said
