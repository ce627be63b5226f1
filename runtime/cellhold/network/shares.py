"""Shares of what many ask of one server: nobody has it at the others' expense."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    Work = Callable[[], Coroutine[Any, Any, None]]


class Shares:
    """At most `each` for one asker, and `in_all` together.

    Where that is not enough for all, everybody has the same; one at least.
    """

    def __init__(self, *, each: int, in_all: int) -> None:
        """Nothing is taken yet."""
        self._each, self._in_all = each, in_all
        self._held: Counter[str] = Counter()

    def take(self, asker: str) -> bool:
        """Take one; return False where the asker has its share."""
        askers = len(self._held.keys() | {asker})
        if self._held[asker] >= max(1, min(self._each, self._in_all // askers)):
            return False
        self._held[asker] += 1
        return True

    def give(self, asker: str) -> None:
        """Give one back."""
        self._held[asker] -= 1
        if not self._held[asker]:
            del self._held[asker]


class Turns:
    """Coroutines that run side by side within shares; the rest waits, in a line each."""

    def __init__(self, shares: Shares, *, waiting: int) -> None:
        """waiting: how many may wait in one line."""
        self._shares, self._waiting = shares, waiting
        self._lines: dict[str, deque[Work]] = {}
        self._running: set[asyncio.Task[None]] = set()  # the loop itself keeps weak references

    def put(self, asker: str, work: Work) -> None:
        """Have the work done; it is dropped where the asker's line is full."""
        line = self._lines.setdefault(asker, deque())
        if len(line) < self._waiting:
            line.append(work)
            self._begin(asker)

    def _begin(self, asker: str) -> None:
        line = self._lines[asker]
        while line and self._shares.take(asker):
            task = asyncio.get_running_loop().create_task(line.popleft()())
            self._running.add(task)
            task.add_done_callback(lambda done: self._end(asker, done))
        if not line:
            del self._lines[asker]

    def _end(self, asker: str, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._shares.give(asker)
        if asker in self._lines:
            self._begin(asker)
