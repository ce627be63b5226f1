"""The host kernel's event loop: zmq sockets and descriptors, a callback each.

One thread, no asyncio. zmq_poll(3) waits for both kinds. A callback is called when its
source has something to read, or room to be written to where that was requested
(`listen`).
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import zmq

    Source = zmq.Socket[bytes] | int

_READABLE, _WRITABLE = 1, 2  # ZMQ_POLLIN, ZMQ_POLLOUT


class Loop:
    """Calls back until `stop()`."""

    def __init__(self) -> None:
        self._callbacks: dict[Source, Callable[[], None]] = {}
        self._events: dict[Source, int] = {}
        self._again: dict[Source, None] = {}
        self.running = True

    def add(self, source: Source, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `source` is readable."""
        self._callbacks[source] = callback
        self._events[source] = _READABLE

    def listen(self, source: Source, *, reading: bool, writing: bool) -> None:
        """Call back when `source` can be read, or written, or neither for now.

        Does nothing where it was removed.
        """
        if source in self._events:
            self._events[source] = (_READABLE if reading else 0) | (_WRITABLE if writing else 0)

    def again(self, source: Source) -> None:
        """Call back in the next round, whatever polling says.

        More is there than the last call has dealt with, and polling does not show it.
        """
        self._again[source] = None

    def remove(self, source: Source) -> None:
        """Stop waiting for `source`, before it is closed. Removing twice is not an error."""
        self._callbacks.pop(source, None)
        self._events.pop(source, None)

    def stop(self) -> None:
        """Let `run` return after the present round."""
        self.running = False

    def run(self, tick: Callable[[], float | None]) -> None:
        """Call back until stopped.

        tick: called before each wait; does what is due, and returns the seconds until
        it is to be called again, or None.
        """
        from zmq import zmq_poll  # noqa: PLC0415  # 20 ms, which the first container is not to wait for

        while self.running:
            seconds = tick()
            again, self._again = self._again, {}
            timeout = None if seconds is None else max(0, ceil(seconds * 1000))  # down, the rest would be rounds of no time at all
            polled = [(source, events) for source, events in self._events.items() if events]
            ready = zmq_poll(polled, (-1 if timeout is None else timeout) if self.running and not again else 0)
            callbacks = {source: self._callbacks.get(source) for source in again | dict.fromkeys(source for source, _event in ready)}
            for source, callback in callbacks.items():
                # An earlier one of this round may have removed it, and closed it: then
                # its number may be another file's by now.
                if callback is not None and self._callbacks.get(source) is callback:
                    guarded(callback)


def guarded(callback: Callable[[], None]) -> bool:
    """Call `callback`, log an unexpected exception, and return whether it went well.

    Such an exception costs the one message, not the notebook; it goes to the server's
    log.
    """
    try:
        callback()
    except Exception:  # noqa: BLE001  # the kernel's message loop is one of the two borders for that
        import traceback  # noqa: PLC0415  # rarely used: imported here to keep start-up fast

        traceback.print_exc()
        return False
    return True
