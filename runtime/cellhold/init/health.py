"""The healthcheck of a container (Docker's HEALTHCHECK).

The monitor has PID 1 run a program now and then, and writes the outcome to a file:
status ("starting", "healthy", "unhealthy"), failures in a row, when the last one began,
its status, and the end of its output.
"""

from __future__ import annotations

import _socket
import marshal
import os
import time

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypedDict

    class Check(TypedDict):
        """What to check, and how often. Times in seconds.

        args: what to run; 0 is healthy. retries: failures in a row that make it
        unhealthy.
        """

        args: list[str]
        interval: float
        timeout: float
        start_period: float
        retries: int


_MOST_OUTPUT = 4096
_SIGKILL = b"\x09"
_TIMED_OUT = -1  # Docker's status of a check that took too long


class Health:
    """The health of one container.

    due: when something is to be done next (CLOCK_MONOTONIC).
    """

    def __init__(self, check: Check, ask: Callable[[list[int]], None], write: Callable[[str], None]) -> None:
        """Start with no check running.

        ask: has PID 1 start a process (its descriptors); write: puts the text into the
        file.
        """
        self._check, self._ask, self._write = check, ask, write
        self._begun = time.monotonic()
        self.due = self._begun + check["interval"]
        self._status, self._failures = "starting", 0
        self._channel: _socket.socket | None = None
        self._output = -1
        self._said = b""
        self._started = 0.0
        self._tell(0)

    def act(self) -> list[int]:
        """Begin a check, or end one that takes too long.

        Returns descriptors to poll from now on.
        """
        if self._channel is not None:
            self._channel.send(_SIGKILL, _socket.MSG_DONTWAIT)
            self._ended(_TIMED_OUT, f"it took more than {self._check['timeout']:g} s".encode())
            return []
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
        self._output, writing = os.pipe2(os.O_CLOEXEC)
        wanted = os.memfd_create("health")
        os.write(wanted, marshal.dumps({"args": self._check["args"], "env": {}, "terminal": None, "oom_score_adj": 0}))
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._ask([wanted, theirs.detach(), null, writing, os.dup(writing)])
        self._channel, self._said, self._started = ours, b"", time.time()
        self.due = time.monotonic() + self._check["timeout"]
        return [ours.fileno(), self._output]

    def hear(self, fd: int) -> bool:
        """Read from one of the descriptors; return whether to keep polling it."""
        if fd == self._output:
            piece = os.read(fd, _MOST_OUTPUT)
            self._said = (self._said + piece)[-_MOST_OUTPUT:]
            return bool(piece)
        assert self._channel is not None  # noqa: S101  # for mypy: it is the other descriptor
        words = self._channel.recv(_MOST_OUTPUT).split(b"\t")
        if words[0] == b"ready":
            return True
        self._drain()
        self._ended(int(words[1]) if words[0] in {b"exited", b"notrun"} else 1, self._said or b"\t".join(words[2:]))
        return False

    def _drain(self) -> None:
        """Read what the check has written before it ended: its end can be heard first."""
        os.set_blocking(self._output, False)
        try:
            while piece := os.read(self._output, _MOST_OUTPUT):
                self._said = (self._said + piece)[-_MOST_OUTPUT:]
        except BlockingIOError:
            pass

    def is_mine(self, fd: int) -> bool:
        """Return whether a descriptor belongs to the present check."""
        return self._channel is not None and fd in {self._channel.fileno(), self._output}

    def descriptors(self) -> list[int]:
        """Return the descriptors of the present check."""
        return [] if self._channel is None else [self._channel.fileno(), self._output]

    def _ended(self, status: int, output: bytes) -> None:
        self._said = output[-_MOST_OUTPUT:]
        if status == 0:
            self._status, self._failures = "healthy", 0
        elif self._status != "starting" or time.monotonic() > self._begun + self._check["start_period"]:
            self._failures += 1
            if self._failures >= self._check["retries"]:
                self._status = "unhealthy"
        self._tell(status)
        assert self._channel is not None  # noqa: S101  # as above
        self._channel.close()
        os.close(self._output)
        self._channel, self._output = None, -1
        self.due = time.monotonic() + self._check["interval"]

    def _tell(self, status: int) -> None:
        self._write(f"{self._status}\n{self._failures}\n{self._started}\n{status}\n{self._said.decode(errors='replace')}")
