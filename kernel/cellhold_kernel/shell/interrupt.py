"""Interrupt what the shell runs: on request, and once it has begun to run."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold.linux.pidfd import TO_GROUP, pidfd_send_value

if TYPE_CHECKING:
    from cellhold_kernel.shell.driver import Driver

_REPEAT_SECONDS = 0.5


class Interrupt:
    """SIGINT for one cell at a time, sent through the container's PID 1.

    pid1: its pidfd, or -1. has_been_sent: to the current cell. repeats: whether it must
    be sent again, as to busybox: that checks for an interrupt after a command, so a
    command that was about to start does not get it.
    """

    def __init__(self, driver: Driver) -> None:
        """Start without a pending interrupt."""
        self.pid1 = -1
        self.has_been_sent = self.repeats = False
        self._is_wanted = False
        self._repeats_at: float | None = None
        self._driver = driver

    @property
    def due_at(self) -> float | None:
        """When to call `tick` again, by time.monotonic(); None if nothing is due."""
        return self._repeats_at

    def begin(self) -> None:
        """Reset for a cell that begins."""
        self.has_been_sent = self._is_wanted = False

    def end(self) -> None:
        """Stop repeating: the cell has ended."""
        self._repeats_at = None

    def want(self) -> None:
        """Interrupt the cell as soon as it runs."""
        self._is_wanted = True
        self.tick()

    def tick(self) -> None:
        """Send what is due.

        It waits until the cell has begun: otherwise the shell would drop half of the
        cell's line, and run the rest.
        """
        now = time.monotonic()
        if self._is_wanted and self._driver.has_begun:
            self._is_wanted = False
            self.has_been_sent = True
            self.send(signal.SIGINT)
            if self.repeats:
                self._repeats_at = now + _REPEAT_SECONDS
        elif self._repeats_at is not None and self._repeats_at <= now:
            self._repeats_at = None
            self.send(signal.SIGINT)

    def send(self, number: int) -> None:
        """Send a signal to the shell's process group; do nothing if it has ended."""
        if self.pid1 >= 0:
            with suppress(OSError):
                pidfd_send_value(self.pid1, number, TO_GROUP)
