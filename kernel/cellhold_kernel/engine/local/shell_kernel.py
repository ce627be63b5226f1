"""The host kernel's side of a shell kernel: its process, and the shell's pipes.

Used by kernel_sandbox.py. Everything here ends when it is closed, and the process by
itself when the host kernel dies.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from cellhold import helper
from cellhold_kernel.engine import diagnosis
from cellhold_kernel.shell import lines
from cellhold_kernel.transport.backend import Backend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellhold.spec.outcome import Outcome
    from cellhold_kernel.engine.local.container import LocalContainer


_BOUNDS = helper.Bounds(memory_bytes=2 << 30)
_FAREWELL_SECONDS = 2.0  # for what is on its way at the end; it takes milliseconds


class Companion:
    """The process, and the shell's ends of the pipes.

    args: what the container is to run.
    """

    def __init__(self, argv: Sequence[str], *, directory: str, errors: int) -> None:
        """Start the process.

        argv: the shell's. directory: with the sockets. errors: a descriptor for what
        the process writes to its standard error. Raises OSError.
        """
        self.args = lines.start(argv)
        with ExitStack() as undo:
            commands, control, stdout, stderr, nothing = (self._pipe(undo) for _ in range(5))
            ask, theirs = socket.socketpair()
            undo.callback(ask.close)
            undo.callback(theirs.close)
            life, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(far.close)
            undo.callback(life.close)
            os.close(nothing[1])
            nothing[1] = -1
            ours = (far.fileno(), commands[1], control[0], stdout[0], stderr[0], ask.fileno(), theirs.fileno())
            words = helper.python("cellhold_kernel.shell.__main__", directory, *map(str, ours), *argv, bounds=_BOUNDS)
            self._process = helper.start(words, stdout=errors, stderr=errors, pass_fds=ours)
            undo.callback(self._end)
            self._stdio = (commands[0], control[1], control[1])
            self._more = (nothing[0], stdout[1], stderr[1], theirs.fileno())
            self._life = life
            self._pairs = (commands, control, stdout, stderr, nothing)
            self._given = (ask, theirs, far)
            self._undo = undo.pop_all()

    @staticmethod
    def _pipe(undo: ExitStack) -> list[int]:
        pair = list(os.pipe2(os.O_CLOEXEC))

        def close() -> None:
            for number, fd in enumerate(pair):
                if fd >= 0:
                    os.close(fd)
                    pair[number] = -1

        undo.callback(close)
        return pair

    def start(self, container: LocalContainer, *, keep: ExitStack) -> None:
        """Start the shell in the container, and give the process a pidfd to interrupt it.

        keep: as of LocalContainer.start.
        """
        stdin, stdout, stderr = self._stdio
        container.start(stdin=stdin, stdout=stdout, stderr=stderr, more=self._more, keep=keep)
        pid1 = container.signal_fd()
        try:
            with suppress(OSError):  # it ended at once, which somebody else will see
                socket.send_fds(self._life, [b"began"], [pid1])
        finally:
            os.close(pid1)
        for pair in self._pairs:
            for number, fd in enumerate(pair):
                if fd >= 0:
                    os.close(fd)
                    pair[number] = -1
        for one in self._given:
            one.close()

    def report_end(self, outcome: Outcome) -> None:
        """Report the container's end to the process, with a sentence for the cell.

        The sentence is empty where the notebook goes on after that end: the host kernel
        tells the cell itself then.
        """
        sentence = "" if diagnosis.is_survived(outcome) else outcome.sentence()
        with suppress(OSError):
            self._life.send(f"ended {sentence}".encode())

    def close(self) -> None:
        """Kill the process, and close its pipes."""
        self._undo.close()

    def _end(self) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
        self._process.wait()


class ShellBackend(Backend):
    """The sockets of a shell kernel.

    Once the container has ended, its output is still on its way through the process.
    """

    def __init__(self, connected: Mapping[str, socket.socket], *, container: LocalContainer, companion: Companion) -> None:
        """Read from a process that the container's end does not end."""
        super().__init__(connected)
        self._container = container
        self._companion = companion
        self._has_reported = False

    def wait(self, seconds: float) -> bool:
        """Wait as Backend does; after the container's end, for the process to close.

        It closes its sockets when it has sent everything.
        """
        outcome = self._container.poll()
        if outcome is None:
            return super().wait(seconds)
        if not self._has_reported:
            self._has_reported = True
            self._companion.report_end(outcome)
        until = time.monotonic() + _FAREWELL_SECONDS
        while any(stream.broken is None for stream in self.streams.values()) and time.monotonic() < until:
            if super().wait(seconds):
                return True
        return False
