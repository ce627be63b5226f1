"""What the host kernel waits for: zmq sockets and file descriptors, each with one callback. One thread, no asyncio.

zmq_poll(3) waits for both kinds. A callback is called when its source has something to read, and reads all of it that it wants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import zmq

if TYPE_CHECKING:
    from collections.abc import Callable

    Source = zmq.Socket[bytes] | int


class Loop:
    """Calls back until `stop()`."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._callbacks: dict[Source, Callable[[], None]] = {}
        self.running = True

    def add(self, source: Source, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `source` is readable."""
        self._callbacks[source] = callback
        self._poller.register(source, zmq.POLLIN)

    def remove(self, source: Source) -> None:
        """Wait for `source` no longer; before it is closed. Removing twice is no error."""
        if self._callbacks.pop(source, None) is not None:
            self._poller.unregister(source)

    def stop(self) -> None:
        """Let `run` return after the present round."""
        self.running = False

    def run(self, tick: Callable[[], float | None]) -> None:
        """Call back until stopped; before each wait `tick` does what is due, and says in how many seconds it wants to be called again."""
        while self.running:
            seconds = tick()
            timeout = None if seconds is None else max(0, round(seconds * 1000))
            for source, _event in self._poller.poll(timeout if self.running else 0):
                callback = self._callbacks.get(source)  # an earlier one of this round may have removed it
                if callback is not None:
                    _guarded(callback)


def _guarded(callback: Callable[[], None]) -> None:
    """Call it; what nobody foresaw costs the one message, not the notebook: it is told in the server's log."""
    try:
        callback()
    except Exception:  # noqa: BLE001  # the kernel's message loop is one of the two borders for that
        import traceback  # noqa: PLC0415  # needed once in a blue moon

        traceback.print_exc()
