"""What is read and written now, and what has to wait.

So nobody who does not read fills this process's memory. Towards Jupyter frontend.py
counts and decides; towards the container each stream (zmtp.py) knows when it is full.
Here the loop is told to wait only for what can be dealt with.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold_kernel.engine.cell_kernel import CellKernel
    from cellhold_kernel.engine.session import Session
    from cellhold_kernel.transport.frontend import Frontend
    from cellhold_kernel.transport.loop import Loop

_SOON_SECONDS = 0.5  # a client that reads has read in that time
_SHORT_SECONDS, _LONG_SECONDS = 0.002, 0.05  # zmq tells nobody when it has sent something, so we look


class Flow:
    """Between a front and a session's containers."""

    def __init__(self, frontend: Frontend, session: Session, loop: Loop, holds: Callable[[], bool] = lambda: False) -> None:
        """Regulate what `loop` waits for.

        holds: whether the end of a cell waits, and nothing more of the cell kernel is
        read.
        """
        self._frontend = frontend
        self._session = session
        self._loop = loop
        self._holds = holds
        self._waits_since: float | None = None

    def takes(self, kernel: CellKernel, channel: str, *, is_over: bool = False) -> bool:
        """Whether the next message of a cell kernel's channel may be read.

        Ask before each: this also decides whether it may be large. is_over: the cell
        kernel has ended; what is left is what its sockets hold, and that is not much.
        """
        if kernel.backend is not None:
            kernel.backend.room.is_open = is_over or self._frontend.has_room
        return is_over or (self._frontend.takes(channel) and not self._holds())

    def regulate(self, *, is_crowded: bool) -> float | None:
        """Tell the loop; return the seconds until the next look, or None.

        is_crowded: whether Jupyter's cells have to wait outside.
        """
        waits = False
        for kernel in (self._session.current, self._session.coming):
            for channel, stream in kernel.backend.streams.items() if kernel is not None and kernel.backend is not None else ():
                takes = kernel is not None and self.takes(kernel, channel) and not stream.waits_for_room
                alive = stream.broken is None
                self._loop.listen(stream.fileno(), reading=takes and alive, writing=stream.wants_to_write)
                waits = waits or (alive and not takes)
                if takes and stream.has_more:
                    self._loop.again(stream.fileno())
        for channel in ("shell", "control", "stdin"):
            reading = not (self._is_full(channel) or (is_crowded and channel == "shell"))
            self._loop.listen(self._frontend.sockets[channel], reading=reading, writing=False)
        if not waits and not self._frontend.leaves_out:
            self._waits_since = None
            return None
        now = time.monotonic()
        self._waits_since = self._waits_since or now
        self._frontend.look()
        return _SHORT_SECONDS if now - self._waits_since < _SOON_SECONDS else _LONG_SECONDS

    def _is_full(self, channel: str) -> bool:
        """Whether so much waits for the cell kernel to read that Jupyter has to wait, too."""
        current = self._session.current
        return current is not None and current.backend is not None and current.backend.streams[channel].is_full
