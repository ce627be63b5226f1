"""One run of a container's program: from its exec until its end is reported.

The launcher reports it.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from cellhold.container import exit_status
from cellhold.container.exit_status import End
from cellhold.errors import NotAllowed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellhold.container.start import Started
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.usage import Usage

_ORDERS = (signal.SIGKILL, signal.SIGTERM)  # that make it "killed by user"; an interrupt is for the program to deal with


class Run:
    """What a container has while its program runs.

    Made by container.py when the program is exec'd; closed at its end.

    channel: its life as messages. began, executed: moments of CLOCK_MONOTONIC, of the
    order and of the exec. before: what earlier runs in the same group had used.
    is_ordered: whether somebody ordered its end.
    """

    def __init__(self, started: Started, *, name: str, began: float, before: Usage) -> None:
        """Take over a program that is exec'd.

        name: the container's, for errors.
        """
        self.channel, self.before, self.began = started.channel, before, began
        self.executed = time.monotonic()
        self.is_ordered = False
        self._is_late = False
        self._name = name

    def await_end(self, until: float | None, *, on_timeout: Callable[[], None]) -> End | None:
        """Wait for the end; return it, None if the launcher is gone.

        Called by one thread at a time.

        until: a moment of CLOCK_MONOTONIC. on_timeout: called when its wall time is up,
        before it is killed. Raises TimeoutError.
        """
        while True:
            message = self.channel.receive(None if until is None else until - time.monotonic())
            if message is None:
                if until is not None and time.monotonic() >= until:
                    raise TimeoutError(f"container {self._name} still runs")
            elif message[0] == "timeout":
                self._is_late = True
                on_timeout()
            elif message[0] == "ended":
                return End(message[1], message[2], self._is_late)
            elif message[0] == "lost":
                return None

    def outcome(
        self, end: End | None, usage: Usage, *, limits: Mapping[str, float | None], oom_victims: Callable[[int], tuple[str, ...]]
    ) -> Outcome:
        """Return how the run ended.

        end: as await_end() returned it. usage: of the group, now. For the rest see
        exit_status.outcome().
        """
        used = exit_status.of_run(usage, self.before)
        return exit_status.outcome(
            end,
            ordered=self.is_ordered,
            seconds=time.monotonic() - self.began,
            used=used,
            limits=limits,
            oom_victims=oom_victims(used.oom_kills),
        )

    def signal(self, number: int) -> None:
        """Send PID 1 a signal; SIGKILL ends everything in the container."""
        self.is_ordered = self.is_ordered or number in _ORDERS
        self.channel.signal(number)

    def terminal(self) -> int:
        """Return our end of its terminal, which stays the container's.

        Raises NotAllowed without one.
        """
        if self.channel.terminal < 0:
            raise NotAllowed(f"cannot look at the terminal of container {self._name}: it does not run, or has none")
        return self.channel.terminal

    def signal_fd(self) -> int:
        """Return a pidfd of PID 1, owned by the caller.

        Raises NotAllowed if it has just ended.
        """
        if self.channel.pidfd < 0:
            raise NotAllowed(f"cannot signal container {self._name}: it does not run")
        return os.dup(self.channel.pidfd)

    def exchange(self) -> list[int]:
        """Return what PID 1 has handed over: descriptors, owned by the caller.

        Raises NotAllowed if that is nothing.
        """
        if not self.channel.handed:
            raise NotAllowed(f"cannot look at the exchange of container {self._name}: it does not run, or has none")
        return list(map(os.dup, self.channel.handed))
