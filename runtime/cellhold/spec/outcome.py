"""How a container ended, and why, in words that a person understands."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum

from cellhold.spec.units import duration, size


class Why(StrEnum):
    """The reason why a container ended."""

    EXITED = "exited"  # the program ended by itself, or by a signal that nobody of ours sent
    KILLED = "killed by user"  # stop() or kill()
    MEMORY = "memory limit"
    TIME = "wall-time limit"
    LOST = "lost"  # the process that watched it is gone; it was ended with it


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a container's main process ended.

    status: as Docker and shells define it, 0..255; 128 + the signal's number if a
    signal ended it. signal: the number, or None. oom_kills: how many of its processes
    the kernel killed at the memory limit (the main one may have survived that).
    oom_victims: their names, as far as they are known. memory_limit_bytes: None = no
    limit. memory_peak_bytes: None = this kernel does not report it.
    """

    status: int
    signal: int | None
    why: Why
    seconds: float
    oom_kills: int = 0
    oom_victims: tuple[str, ...] = ()
    memory_limit_bytes: int | None = None
    memory_peak_bytes: int | None = None
    cpu_seconds: float = 0.0
    time_limit_seconds: float | None = None

    def sentence(self) -> str:
        """Return one sentence for people.

        For example: "killed: it reached its memory limit of 64 MiB (peak 64 MiB)".
        """
        if self.why is Why.MEMORY:
            peak = f" (peak {size(self.memory_peak_bytes)})" if self.memory_peak_bytes else ""
            limit = f"its memory limit of {size(self.memory_limit_bytes)}" if self.memory_limit_bytes else "the host's memory"
            return f"killed: it reached {limit}{peak}"
        if self.why is Why.TIME:
            return f"killed: it reached its wall-time limit of {duration(self.time_limit_seconds or self.seconds)}"
        if self.why is Why.KILLED:
            return "killed by user" if self.signal else f"stopped by user with status {self.status}"
        if self.why is Why.LOST:
            return "ended together with the process that watched it"
        if self.signal is not None:
            return f"ended by signal {self.signal} ({signal_name(self.signal)})"
        return f"exited with status {self.status}"


def signal_name(number: int) -> str:
    """Return the name of a signal, SIGTERM for 15.

    "unknown" for a number without a name (real-time signals).
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
