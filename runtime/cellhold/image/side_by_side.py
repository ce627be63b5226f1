"""Work that threads do side by side, stopped at the first failure or interrupt.

concurrent.futures' executors wait for their threads, and so does the interpreter at its
end: a thread that waits for a registry would keep an interrupted command for minutes.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_STOP_SECONDS = 0.3  # for threads that were stopped to take back what is half done


class Abandoned(Exception):
    """A part ends because the work is stopped.

    Another part has failed, and its error is the one to report.
    """


class SideBySide:
    """Parts of one piece of work, performed by threads.

    stop: called, from the thread that waits, when something has failed; it makes the
        other parts end soon, with any error.
    """

    def __init__(self, *, at_once: int, stop: Callable[[], object]) -> None:
        self._at_once, self._stop = at_once, stop
        self._waiting: SimpleQueue[tuple[Future[None], Callable[[], None]]] = SimpleQueue()
        self._futures: list[Future[None]] = []
        self._first: list[BaseException] = []  # what failed first: what fails after that does so because it was stopped

    def add(self, work: Callable[[], None]) -> Future[None]:
        """Add a part, to begin after those that were added before it."""
        future: Future[None] = Future()
        self._futures.append(future)
        self._waiting.put((future, work))
        return future

    def perform(self) -> None:
        """Perform all parts. Raises the first error of any part.

        A thread that does not end soon after that is abandoned.
        """
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(self._at_once, len(self._futures)))]
        for thread in threads:
            thread.start()
        is_done = False
        try:
            wait(self._futures, return_when=FIRST_EXCEPTION)
            is_done = not self._first
        finally:
            if not is_done:
                self._give_up(threads)
        if self._first:
            raise self._first[0]

    def _give_up(self, threads: Iterable[threading.Thread]) -> None:
        for future in self._futures:
            future.cancel()
        self._stop()
        end = time.monotonic() + _STOP_SECONDS
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _work(self) -> None:
        while True:
            try:
                future, work = self._waiting.get_nowait()
            except Empty:
                return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                work()
            except BaseException as error:  # noqa: BLE001  # raised again by perform()
                if not isinstance(error, Abandoned):
                    self._first.append(error)
                future.set_exception(error)
            else:
                future.set_result(None)
