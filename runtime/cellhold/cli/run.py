"""cellhold run: one container, its output copied to ours, its status ours."""

from __future__ import annotations

import signal
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from cellhold import story
from cellhold.cli import options, transfer
from cellhold.cli.copying import Streams, say
from cellhold.container import Container
from cellhold.errors import NotAllowed
from cellhold.outcome import Why

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from cellhold.outcome import Outcome

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_SIGNALED = 128
_HINTS = {Why.MEMORY: "raise --memory, or use less", Why.TIME: "raise --time", Why.LOST: "run it again; what it wrote is gone"}


def add(commands: Any) -> None:
    """Add the command and its flags."""
    command = commands.add_parser("run", help="run a program in a fresh container", description="Run a program in a fresh container.")
    command.add_argument("--rm", action="store_true", help="remove it when it ends (always so in this version)")
    command.add_argument("-i", "--interactive", action="store_true", help="give it our standard input")
    command.add_argument("--trace", action="store_true", help="tell every step, with its time, on standard error")
    command.add_argument(
        "--pull", choices=("always", "missing", "never"), default="missing", help="when to get the image (default: missing)"
    )
    options.add(command)
    command.add_argument("command", nargs="...", metavar="IMAGE [COMMAND [ARG ...]]", help="image=host: this machine's own programs")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it, and return the program's status."""
    spec = options.spec(arguments)
    transfer.pull_for_run(spec.image, arguments.pull)
    with unwinding():
        container = Container.create(spec)
        try:
            outcome = follow(container, interactive=arguments.interactive)
        finally:
            container.remove(force=True)
            if arguments.trace:
                say(story.text(container.timings) + "\n")
    if outcome.why in _HINTS:
        was = "" if outcome.why is Why.LOST else "was "
        say(f"cellhold: container {container.name} {was}{outcome.sentence()}\nhint: {_HINTS[outcome.why]}\n")
    elif outcome.oom_kills:
        names = f" ({', '.join(outcome.oom_victims)})" if outcome.oom_victims else ""
        say(f"cellhold: {outcome.oom_kills} of its processes{names} reached the memory limit and were killed; the program went on\n")
    return outcome.status


@contextmanager
def unwinding() -> Iterator[None]:
    """Where there is no container yet to pass it on to, a signal that would end us takes back what is half made first."""

    def unwind(number: int, _frame: object) -> None:
        for each in taken:
            signal.signal(each, lambda _number, _frame: None)  # once is enough: what takes it back is not to be cut off
        raise SystemExit(_SIGNALED + number)

    taken = [number for number in _FORWARDED if signal.getsignal(number) is signal.SIG_DFL]
    with ExitStack() as closing:
        for number in taken:
            closing.callback(signal.signal, number, signal.signal(number, unwind))
        yield


def follow(container: Container, *, interactive: bool) -> Outcome:
    """Start it and copy bytes both ways until it has ended and all its output is here. Signals to us are signals to it."""
    with ExitStack() as closing:
        streams = closing.enter_context(Streams(interactive=interactive))
        streams.start(container)
        for number in _FORWARDED:
            before = signal.signal(number, lambda number, _frame: forward(container, number))
            closing.callback(signal.signal, number, before)
        streams.copy(container)
        return container.wait()


def forward(container: Container, number: int) -> None:
    """Pass a signal on, as docker run does; one that comes after the end is nobody's."""
    with suppress(NotAllowed):
        container.kill(number)
