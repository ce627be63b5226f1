"""cellhold run, create: run a program in a fresh container.

Its output is copied to ours, and its status is ours. With --rm and without -d the
container belongs to this process and ends with it; otherwise it is kept until it is
removed, as in Docker, and has a monitor while it runs.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from cellhold.cli import options, terminal, transfer
from cellhold.cli.attaching import FORWARDED, HINTS, forward, tell_end
from cellhold.cli.copying import Streams, say
from cellhold.container import trace
from cellhold.container.container import Container
from cellhold.errors import CellholdError, InvalidSpec

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from cellhold.container.detached import Detached
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.spec import Spec

_SIGNALED = 128


def add(commands: Any) -> None:
    """Add the commands and their flags."""
    command = commands.add_parser("run", help="run a program in a fresh container", description="Run a program in a fresh container.")
    command.add_argument("--rm", action="store_true", help="remove the container when it ends; without -d it ends with this command")
    command.add_argument("-d", "--detach", action="store_true", help="run the container in the background, and print its id")
    command.add_argument(
        "--detach-keys", metavar="KEYS", default=terminal.KEYS, help=f"with -it: keys that leave it running (default: {terminal.KEYS})"
    )
    command.add_argument("--trace", action="store_true", help="with --rm: print every step and its time on standard error")
    _add_rest(command)
    command.set_defaults(run=run)
    making = commands.add_parser(
        "create", help="make a container without starting it", description="Make a container without starting it, and print its id."
    )
    making.add_argument("--rm", action="store_true", help="remove the container when it ends")
    _add_rest(making)
    making.set_defaults(run=create)


def _add_rest(command: Any) -> None:
    command.add_argument("-i", "--interactive", action="store_true", help="pass on our standard input")
    command.add_argument(
        "--pull", choices=("always", "missing", "never"), default="missing", help="when to pull the image (default: missing)"
    )
    options.add(command)
    command.add_argument("command", nargs="...", metavar="IMAGE [COMMAND [ARG ...]]", help="image=host: this machine's own programs")


def run(arguments: argparse.Namespace) -> int:
    """Run the program; return its status."""
    if arguments.rm and arguments.restart != "no":
        raise InvalidSpec(f"cannot use --restart {arguments.restart} with --rm: it is removed when it ends", hint="leave one of them out")
    if arguments.trace and (arguments.detach or not arguments.rm):
        raise InvalidSpec(
            "cannot use --trace without --rm, or with -d: the trace ends with this command", hint="cellhold run --rm --trace ..."
        )
    if arguments.tty and arguments.interactive and not arguments.detach and not os.isatty(0):
        raise InvalidSpec("cannot use -it: our standard input is not a terminal", hint="-i alone passes it on as it is")
    spec = _spec(arguments)
    transfer.pull_for_run(spec.image, arguments.pull)
    with unwinding(), _id_file(arguments.cidfile) as tell_id:
        if arguments.rm and not arguments.detach:
            return _run_own(spec, arguments, tell_id)
        from cellhold.cli.attaching import follow as follow_detached  # noqa: PLC0415  # what --rm does without
        from cellhold.container.detached import Detached  # noqa: PLC0415

        keys = terminal.detach_keys(arguments.detach_keys)
        box = Detached.create(spec, auto_remove=arguments.rm)
        tell_id(box.id)
        attached = _started(box, attach=not arguments.detach, once=arguments.interactive, keep=not arguments.rm)
        if attached is None:
            print(box.id, flush=True)
            return 0
        status = follow_detached(box, attached, interactive=arguments.interactive, has_terminal=arguments.tty, keys=keys)
        with suppress(CellholdError):
            tell_end(box.name, box.outcome)
        return status


def _started(box: Detached, *, attach: bool, once: bool, keep: bool) -> Any:
    try:
        return box.start(attach=attach, once=once)
    except BaseException:
        if not keep:
            box.remove(force=True)
        raise


def create(arguments: argparse.Namespace) -> int:
    """Make the container; print its id."""
    from cellhold.container.detached import Detached  # noqa: PLC0415  # as above

    spec = _spec(arguments)
    transfer.pull_for_run(spec.image, arguments.pull)
    with unwinding(), _id_file(arguments.cidfile) as tell_id:
        box = Detached.create(spec, auto_remove=arguments.rm)
        tell_id(box.id)
        print(box.id, flush=True)
    return 0


def _spec(arguments: argparse.Namespace) -> Spec:
    for note in options.notes(arguments):
        say(f"note: {note}\n")
    return options.spec(arguments)


@contextmanager
def _id_file(path: str | None) -> Iterator[Any]:
    """Yield a function that writes the id to the file, which must not exist yet.

    The file is created now. Raises InvalidSpec.
    """
    if path is None:
        yield lambda _id: None
        return
    try:
        file = open(path, "x", encoding="ascii")  # noqa: SIM115  # closed by the block below
    except OSError as error:
        raise InvalidSpec(f"cannot use cidfile={path}: {error.strerror}", hint="name a file that does not exist") from error
    try:
        with file:
            yield lambda text: print(text, end="", file=file, flush=True)
    finally:
        if not os.path.getsize(path):
            os.unlink(path)


def _run_own(spec: Spec, arguments: argparse.Namespace, tell_id: Any) -> int:
    with _free(spec.name):
        container = Container.create(spec)
    try:
        tell_id(container.id)
        outcome = _follow_terminal(container, arguments) if spec.terminal else follow(container, interactive=arguments.interactive)
    finally:
        container.remove(force=True)
        if arguments.trace:
            say(trace.format_trace(container.timings) + "\n")
    tell_end(container.name, outcome)
    if outcome.oom_kills and outcome.why not in HINTS:
        names = f" ({', '.join(outcome.oom_victims)})" if outcome.oom_victims else ""
        say(f"cellhold: {outcome.oom_kills} of its processes{names} reached the memory limit and were killed; the program continued\n")
    return outcome.status


def _free(name: str | None) -> AbstractContextManager[None]:
    """Keep others from taking the name meanwhile.

    Raises InvalidSpec if a container has it.
    """
    if name is None:
        return nullcontext()
    from cellhold.container import names  # noqa: PLC0415  # as above
    from cellhold.store.home import open_home  # noqa: PLC0415

    return names.reserve(name, open_home())


def _follow_terminal(container: Container, arguments: argparse.Namespace) -> Outcome:
    container.start()
    terminal.copy(container.terminal(), interactive=arguments.interactive)
    return container.wait()


@contextmanager
def unwinding() -> Iterator[None]:
    """Undo what is half made if a signal would end us.

    As long as there is no container to forward the signal to.
    """

    def unwind(number: int, _frame: object) -> None:
        for each in taken:
            signal.signal(each, lambda _number, _frame: None)  # once is enough: what takes it back is not to be cut off
        raise SystemExit(_SIGNALED + number)

    taken = [number for number in FORWARDED if signal.getsignal(number) is signal.SIG_DFL]
    with ExitStack() as closing:
        for number in taken:
            closing.callback(signal.signal, number, signal.signal(number, unwind))
        yield


def follow(container: Container, *, interactive: bool) -> Outcome:
    """Start the container; copy bytes both ways until it has ended.

    All its output has been copied then. Signals to us are forwarded to it.
    """
    with ExitStack() as closing:
        streams = closing.enter_context(Streams(interactive=interactive))
        streams.start(container.start)
        for number in FORWARDED:
            before = signal.signal(number, lambda number, _frame: forward(container, number))
            closing.callback(signal.signal, number, before)
        streams.copy(container)
        return container.wait()
