"""How many bytes zmq still holds for one client, or for all subscribers of iopub.

zmq counts messages, not bytes, and reports neither. But it releases a frame's memory
when the frame has left for the last client that it is for, and pyzmq reports that. A
queue is first in, first out: so one marked frame every 256 KiB stands for all before
it.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import zmq

from cellhold_kernel.protocol.messages import size_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold_kernel.protocol.messages import Part

_MARK_EVERY = 256 << 10  # bytes; a mark wakes a thread of pyzmq's, which then wants the interpreter


class SendWindow:
    """Counts for one queue."""

    def __init__(self) -> None:
        self._marks: deque[tuple[zmq.MessageTracker, int, float]] = deque()
        self._marked = self._unmarked = 0

    def mark(self, parts: Sequence[Part]) -> tuple[int, zmq.Frame] | None:
        """Count a message; return the number and the frame of a part that is to be marked."""
        self._unmarked += size_of(parts)
        if self._unmarked < _MARK_EVERY:
            return None
        number = max(at for at, part in enumerate(parts) if len(part))  # zmq keeps nothing of an empty one
        frame = zmq.Frame(parts[number], track=True, copy=False, copy_threshold=0)
        self._marks.append((frame.tracker, self._unmarked, time.monotonic()))
        self._marked += self._unmarked
        self._unmarked = 0
        return number, frame

    @property
    def held(self) -> int:
        """Bytes that have not left yet, as far as they are known."""
        while self._marks and self._marks[0][0].done:
            self._marked -= self._marks.popleft()[1]
        return self._marked

    @property
    def age(self) -> float:
        """For how many seconds the oldest of them wait."""
        return time.monotonic() - self._marks[0][2] if self.held else 0.0
