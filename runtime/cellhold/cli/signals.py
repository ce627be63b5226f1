"""A signal that ends a command, whatever the command waits for.

What is half done is undone, and then the process ends.

Used around commands that fetch, build, load or send images. Those that have a
container's program to forward signals to (run, start, exec) do that themselves.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE_SECONDS = 0.7  # for taking things back; what is left then is a crash's, and the next command clears it
_SIGNALED = 128


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP interrupt the block, and end the process.

    Once the block is left, the process exits with 128 and the signal's number.

    A process whose main thread does not come back in time (a resolver that does not
    answer, a pipe that nobody reads) is ended without it. Ignored signals stay ignored.
    In a thread that is not the main one this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        came.append(number)
        if len(came) == 1:  # once is enough: what takes things back is not to be cut off
            raise KeyboardInterrupt

    taken = [number for number in _ENDING if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    with _watched(taken):
        before = {number: signal.signal(number, interrupt) for number in taken}
        try:
            yield
        finally:
            if came:  # not by sys.exit(): a daemon thread may hold the lock of a stream that would be flushed
                os._exit(_SIGNALED + came[0])
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _watched(numbers: list[signal.Signals]) -> Iterator[None]:
    """End the process if a signal has come and the block is not left in time.

    By a thread.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # written to by the handler in C, at once
    watch = threading.Thread(target=_watch, args=(reader, numbers), daemon=True)
    watch.start()
    try:
        yield
    finally:
        with suppress(ValueError):
            signal.set_wakeup_fd(before)
        os.close(writer)
        watch.join()


def _watch(reader: int, numbers: list[signal.Signals]) -> None:
    while came := os.read(reader, 1):
        if came[0] in numbers:
            time.sleep(_GRACE_SECONDS)
            os._exit(_SIGNALED + came[0])
    os.close(reader)
