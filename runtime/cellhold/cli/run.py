"""cellhold run: one container, its output copied to ours, its status ours."""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from cellhold import story
from cellhold.cli import options
from cellhold.container import Container
from cellhold.outcome import Why

if TYPE_CHECKING:
    import argparse

    from cellhold.outcome import Outcome

_CHUNK = 65536
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_HINTS = {Why.MEMORY: "raise --memory, or use less", Why.TIME: "raise --time"}


def add(commands: Any) -> None:
    """Add the command and its flags."""
    command = commands.add_parser("run", help="run a program in a fresh container", description="Run a program in a fresh container.")
    command.add_argument("--rm", action="store_true", help="remove it when it ends (always so in this version)")
    command.add_argument("-i", "--interactive", action="store_true", help="give it our standard input")
    command.add_argument("--trace", action="store_true", help="tell every step, with its time, on standard error")
    options.add(command)
    command.add_argument("command", nargs="...", metavar="IMAGE [COMMAND [ARG ...]]", help="image=host: this machine's own programs")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it, and return the program's status."""
    container = Container.create(options.spec(arguments))
    try:
        outcome = follow(container, interactive=arguments.interactive)
    finally:
        container.remove(force=True)
        if arguments.trace:
            sys.stderr.write(story.text(container.timings) + "\n")
    if outcome.why in _HINTS:
        sys.stderr.write(f"cellhold: container {container.name} was {outcome.sentence()}\nhint: {_HINTS[outcome.why]}\n")
    elif outcome.oom_kills:
        sys.stderr.write(f"cellhold: {outcome.oom_kills} of its processes reached the memory limit and were killed; the program went on\n")
    return outcome.status


def follow(container: Container, *, interactive: bool) -> Outcome:
    """Start it and copy bytes both ways until it has ended and all its output is here. Signals to us are signals to it."""
    with ExitStack() as closing:
        outputs: dict[int, int] = {}  # where to read -> where to write
        theirs = []
        for ours in (sys.stdout.fileno(), sys.stderr.fileno()):
            reading, writing = os.pipe2(os.O_CLOEXEC)
            outputs[reading] = ours
            theirs.append(writing)
            closing.callback(os.close, reading)
        stdin, feed = os.pipe2(os.O_CLOEXEC) if interactive else (None, -1)
        try:
            container.start(stdin=stdin, stdout=theirs[0], stderr=theirs[1])
        finally:
            for fd in (*theirs, *(() if stdin is None else (stdin,))):
                os.close(fd)
        for number in _FORWARDED:
            before = signal.signal(number, lambda number, _frame: forward(container, number))
            closing.callback(signal.signal, number, before)
        copy(container, outputs, feed)
        return container.wait()


def forward(container: Container, number: int) -> None:
    """Pass a signal on, as docker run does; one that comes after the end is nobody's."""
    with suppress(Exception):
        container.kill(number)


def copy(container: Container, outputs: dict[int, int], feed: int) -> None:
    """Copy until both outputs are at their end."""
    poll = select.poll()
    for reading in outputs:
        poll.register(reading, select.POLLIN)
    poll.register(container.fileno(), select.POLLIN)
    watching = container.fileno()
    if feed >= 0:
        poll.register(sys.stdin.fileno(), select.POLLIN)
    left = set(outputs)
    while left:
        for fd, _events in poll.poll():
            if fd in outputs:
                data = os.read(fd, _CHUNK)
                if data:
                    write_all(outputs[fd], data)
                else:
                    poll.unregister(fd)
                    left.discard(fd)
            elif fd == watching:
                if container.poll() is not None:
                    poll.unregister(watching)
            elif not pump(feed):
                poll.unregister(fd)


def pump(feed: int) -> bool:
    """Copy a piece of our standard input; False at its end, or when the program reads no more."""
    data = os.read(sys.stdin.fileno(), _CHUNK)
    try:
        write_all(feed, data)
    except BrokenPipeError:
        data = b""
    if not data:
        os.close(feed)
    return bool(data)


def write_all(fd: int, data: bytes) -> None:
    """write(2) until all is written."""
    while data:
        data = data[os.write(fd, data) :]
