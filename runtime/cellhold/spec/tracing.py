"""step(): one call feeds the log, `--trace`, the tests and the panel's timeline.

    with step("cgroup.create", "memory.max = 512 MiB"):
        ...

A step has a name (noun.verb), a detail for people, a start (seconds of CLOCK_MONOTONIC,
the same clock in every process of the host) and a duration. Listeners are callables; a
step costs two clock reads if there is none.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Step(NamedTuple):
    """One thing that was done.

    name: "rootfs.pivot". detail: for people. start, seconds: when it began and how long
    it took. where: "host" or "container".
    """

    name: str
    detail: str
    start: float
    seconds: float
    where: str = "host"


_listeners: list[Callable[[Step], None]] = []


def emit(event: Step) -> None:
    """Pass a finished step to every listener."""
    for listener in _listeners:
        listener(event)


@contextmanager
def step(name: str, detail: str = "") -> Iterator[None]:
    """Time the block and report it to the listeners, also if it raises."""
    start = time.monotonic()
    try:
        yield
    finally:
        emit(Step(name, detail, start, time.monotonic() - start))


@contextmanager
def listening(listener: Callable[[Step], None]) -> Iterator[None]:
    """Call `listener` with every Step of this process until the block ends."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
