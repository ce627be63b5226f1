"""The process of the shell kernel, started by shell_kernel.py.

    cellhold_kernel.shell
        DIRECTORY LIFE COMMANDS CONTROL STDOUT STDERR ASK ASKED SHELL...

DIRECTORY has the sockets, the numbers are descriptors. LIFE is a socket to the host
kernel: it delivers a pidfd of the container's PID 1, then possibly "ended" and how.
When it closes, the host kernel is gone and this process exits.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold_kernel.protocol import connection, messages
from cellhold_kernel.shell.asking import Asking
from cellhold_kernel.shell.driver import Driver
from cellhold_kernel.shell.kernel import ShellKernel
from cellhold_kernel.shell.output import Output, Pace
from cellhold_kernel.shell.sockets import Sockets
from cellhold_kernel.shell.speaker import Speaker
from cellhold_kernel.transport import exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_PIPES = 6
_WORD_MOST = 4096
_FAREWELL_SECONDS = 5.0  # to send the last messages


class Process:
    """The event loop: waits for all parts, and calls each when it is due."""

    def __init__(self, life: int, pipes: Sequence[int], argv: Sequence[str]) -> None:
        """Make the parts.

        life, pipes: descriptors, as in the module's docstring. The sockets are in the
        current directory.
        """
        info = connection.read(Path("connection.json"))
        signer = messages.Signer(info.key, info.signature_scheme)
        commands, control, stdout, stderr, ask, theirs = pipes
        self._life = socket.socket(fileno=life)
        self._driver = Driver(commands, control)
        self._outputs = [Output("stdout", stdout), Output("stderr", stderr)]
        self._pace = Pace()
        self._asking = Asking(ask, theirs)
        self._sockets = Sockets(exchange.NAMES)
        self._speaker = Speaker(self._sockets, signer)
        self._kernel = ShellKernel(argv, self._driver, self._speaker, signer)
        self._has_greeted = False
        self._reads_at = 0.0  # when output is to be read again
        self._ended: str | None = None

    def run(self) -> None:
        """Run until the shell or the host kernel has ended."""
        self._kernel.begin()
        while self._ended is None and not self._sockets.is_lost:
            self._round()
        if self._ended is not None:
            self._farewell(self._ended)

    def _round(self) -> None:
        sources = {fd: (events, callback) for fd, events, callback in self._sources()}
        poll = select.poll()
        for fd, (events, _callback) in sources.items():
            poll.register(fd, events)
        waits = [seconds for seconds in (self._driver.tick(), self._kernel.due(), self._rest() or None) if seconds is not None]
        for fd, _event in poll.poll(min(waits) * 1000 + 1 if waits else None):
            _guarded(sources[fd][1])
        _guarded(self._settle)

    def _sources(self) -> Iterator[tuple[int, int, Callable[[], None]]]:
        """Yield what to wait for: descriptor, poll events, and the function to call."""
        yield self._life.fileno(), select.POLLIN, self._hear
        for fd, channel, writing in self._sockets.sources():
            yield fd, select.POLLIN | (select.POLLOUT if writing else 0), partial(self._receive, channel)
        has_room = self._has_greeted and not self._sockets.is_full  # until the host kernel listens, output waits in its pipes
        for output in self._outputs if has_room and not self._rest() else ():
            if not output.is_over:
                yield output.fd, select.POLLIN, partial(self._read, output)
        if has_room and self._kernel.cell is not None and not self._kernel.asks:
            yield self._asking.fd, select.POLLIN, self._ask
        if self._driver.wants_to_write:
            yield self._driver.commands, select.POLLOUT, self._driver.write
        if not self._driver.is_over:
            yield self._driver.control, select.POLLIN, self._look

    def _settle(self) -> None:
        """Do what follows from what was received."""
        self._kernel.interrupt.tick()
        if self._kernel.is_ready and self._sockets.is_met and not self._has_greeted:
            self._has_greeted = True
            self._speaker.publish("status", {"execution_state": "starting"}, parent={})
        self._kernel.work()
        if self._kernel.ending and self._kernel.cell is None:
            self._driver.close()

    def _rest(self) -> float:
        """Return the seconds until output is read again."""
        return max(self._reads_at - time.monotonic(), 0)

    def _receive(self, channel: str) -> None:
        for parts in self._sockets.receive(channel):
            self._kernel.received(channel, parts)

    def _look(self) -> None:
        """Read the control pipe, and finish what has ended.

        Output that was written before the end is published first; a background job's
        later output is not.
        """
        done = self._driver.read()
        if done is not None:
            if self._kernel.cell is not None:
                self._read_up()
            self._asking.forget()
            self._kernel.done(done)

    def _ask(self) -> None:
        if (question := self._asking.read()) is not None:
            self._kernel.request_input(question, self._asking.answer)

    def _read(self, output: Output) -> None:
        size, text = output.read()
        self._kernel.wrote(output.name, text)
        self._pace.count(size)
        self._reads_at = time.monotonic() + self._pace.rest()

    def _read_up(self) -> None:
        for output in self._outputs:
            left = output.waiting()
            while left > 0:
                size, text = output.read()
                self._kernel.wrote(output.name, text)
                left = left - size if size else 0
            self._kernel.wrote(output.name, output.end())

    def _hear(self) -> None:
        """Read a message of the host kernel; exit if it is gone."""
        word, fds, _flags, _address = socket.recv_fds(self._life, _WORD_MOST, 1)
        if fds:
            self._kernel.interrupt.pid1 = fds[0]
        if not word:
            sys.exit(0)
        kind, _, sentence = word.decode("utf-8", "replace").partition(" ")
        if kind == "ended":
            self._ended = sentence

    def _farewell(self, sentence: str) -> None:
        """Send the last output and how the container ended; then close the sockets.

        The closed sockets tell the host kernel that all was sent.
        """
        until = time.monotonic() + _FAREWELL_SECONDS
        self._read_up()
        self._kernel.ended(sentence)
        while self._sockets.owes and not self._sockets.is_lost and time.monotonic() < until:
            poll = select.poll()
            for fd, channel, writing in self._sockets.sources():
                if writing:
                    poll.register(fd, select.POLLOUT)
                    for _parts in self._sockets.receive(channel):
                        pass
            poll.poll(100)
        self._sockets.close()


def _guarded(callback: Callable[[], None]) -> None:
    """Call a function; an unexpected error goes to the server's log.

    It costs one message, not the notebook.
    """
    try:
        callback()
    except Exception:  # noqa: BLE001  # a kernel's message loop is one of the two borders for that
        traceback.print_exc()


def main() -> None:
    """Parse the command line and run the kernel."""
    directory, life, *rest = sys.argv[1:]
    os.chdir(directory)
    Process(int(life), [int(fd) for fd in rest[:_PIPES]], rest[_PIPES:]).run()


if __name__ == "__main__":
    main()
