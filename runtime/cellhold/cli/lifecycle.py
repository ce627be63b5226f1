"""cellhold start, stop, rm ...: what can be done to containers, from any process."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cellhold.cli import options, terminal
from cellhold.cli.copying import say
from cellhold.cli.screen import sentences
from cellhold.container import damaged, inventory
from cellhold.container.detached import Detached
from cellhold.container.recovery import sweep
from cellhold.errors import CellholdError, ContainerNotFound, Damaged, InvalidSpec
from cellhold.spec import fields
from cellhold.spec.lifecycle import State
from cellhold.spec.units import parse_seconds, parse_signal
from cellhold.store import spec_codec
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from cellhold.store.home import Home

FAILED = 1  # docker's, where some of several went wrong


def add(commands: Any) -> None:
    """Add the commands and their flags."""
    starting = _several(commands, "start", "start containers", "Start containers that do not run.", start)
    starting.add_argument("-a", "--attach", action="store_true", help="print what it writes until it ends, and return its status")
    starting.add_argument("-i", "--interactive", action="store_true", help="pass on our standard input, too")
    starting.add_argument(
        "--detach-keys", metavar="KEYS", default=terminal.KEYS, help=f"keys that leave it running (default: {terminal.KEYS})"
    )
    for word, what, act in (("stop", "stop containers", stop), ("restart", "stop containers and start them again", restart)):
        command = _several(commands, word, what, f"{what[0].upper()}{what[1:]}: send the stop signal, then SIGKILL.", act)
        command.add_argument("-t", "--time", "--timeout", metavar="SECONDS", help="time before SIGKILL (default: the container's, else 10)")
    killing = _several(commands, "kill", "send containers a signal", "Send containers SIGKILL, or another signal.", kill)
    killing.add_argument("-s", "--signal", metavar="SIGNAL", default="KILL", help="the signal's name or number (default: KILL)")
    _several(commands, "pause", "freeze containers", "Freeze every process of containers.", pause)
    _several(commands, "unpause", "thaw paused containers", "Thaw paused containers.", unpause)
    _several(commands, "wait", "wait until containers have ended", "Wait until containers have ended, and print their exit statuses.", wait)
    removing = _several(commands, "rm", "remove containers", "Remove containers that do not run, and what they have written.", remove)
    removing.add_argument("-f", "--force", action="store_true", help="kill containers that run; ignore containers that do not exist")
    removing.add_argument("-v", "--volumes", action="store_true", help="remove their anonymous volumes, too")
    naming = commands.add_parser("rename", help="rename a container", description="Rename a container.")
    naming.add_argument("container", metavar="CONTAINER")
    naming.add_argument("name", metavar="NAME")
    naming.set_defaults(run=rename)
    changing = _several(
        commands,
        "update",
        "set new limits for containers",
        "Set new limits for containers, also while they run.",
        update,
    )
    options.add_limits(changing)
    changing.add_argument("--restart", metavar="POLICY", help="set another restart policy")


def _several(commands: Any, word: str, what: str, description: str, act: Callable[[argparse.Namespace], int]) -> Any:
    command = commands.add_parser(word, help=what, description=description)
    command.add_argument("container", nargs="+", metavar="CONTAINER")
    command.set_defaults(run=act)
    return command


def start(arguments: argparse.Namespace) -> int:
    """Start each; -a: attach to it."""
    if not (arguments.attach or arguments.interactive):
        return each(arguments.container, lambda text: Detached.find(text).start())
    if len(arguments.container) > 1:
        raise InvalidSpec("cannot attach to several containers at once", hint="start them without -a")
    from cellhold.cli.attaching import follow, tell_end  # noqa: PLC0415  # what other commands do without

    box = Detached.find(arguments.container[0])
    spec = box.spec
    attached = box.start(attach=True) or box.attach()
    status = follow(
        box,
        attached,
        interactive=arguments.interactive and spec.stdin,
        has_terminal=spec.terminal,
        keys=terminal.detach_keys(arguments.detach_keys),
    )
    tell_end(box.name, box.outcome)
    return status


def stop(arguments: argparse.Namespace) -> int:
    """Stop each, also those that belong to a process."""
    grace = None if arguments.time is None else parse_seconds(arguments.time, key="time", or_none=True)
    return each(arguments.container, lambda text: _stop(text, grace))


def _stop(text: str, grace: float | None) -> None:
    record = inventory.find(text, open_home())
    if record.kept:
        Detached(record.id).stop(grace)
    else:
        inventory.stop(record, 10.0 if grace is None else grace)


def restart(arguments: argparse.Namespace) -> int:
    """Restart each."""
    grace = None if arguments.time is None else parse_seconds(arguments.time, key="time", or_none=True)
    return each(arguments.container, lambda text: Detached.find(text).restart(grace))


def kill(arguments: argparse.Namespace) -> int:
    """Send each the signal, also those that belong to a process."""
    number = parse_signal(arguments.signal)
    return each(arguments.container, lambda text: _kill(text, number))


def _kill(text: str, number: int) -> None:
    record = inventory.find(text, open_home())
    if record.kept:
        Detached(record.id).kill(number)
    else:
        inventory.send(record, number)


def pause(arguments: argparse.Namespace) -> int:
    """Freeze each."""
    return each(arguments.container, lambda text: Detached.find(text).pause())


def unpause(arguments: argparse.Namespace) -> int:
    """Thaw each."""
    return each(arguments.container, lambda text: Detached.find(text).unpause())


def wait(arguments: argparse.Namespace) -> int:
    """Wait for each in turn; print its status."""
    return each(arguments.container, _wait)


def _wait(text: str) -> int:
    box = Detached.find(text)
    return 0 if box.state is State.CREATED else box.wait().status  # docker's 0, of one that was never started


def remove(arguments: argparse.Namespace) -> int:
    """Remove each; what a crash has left is removed first."""
    home = open_home()
    sweep(home)
    return each(arguments.container, lambda text: _remove(text, home, force=arguments.force, with_volumes=arguments.volumes))


def _remove(text: str, home: Home, *, force: bool, with_volumes: bool) -> None:
    try:
        record = inventory.find(text, home)
    except ContainerNotFound:
        if not force:
            raise
        return
    except Damaged:
        broken = damaged.find(text, home)
        if not force or broken is None:
            raise
        damaged.remove(broken, home)
        return
    if record.kept or not force:
        Detached.find(record.id, home).remove(force=force, with_volumes=with_volumes)
    else:
        inventory.remove_own(record, home)


def rename(arguments: argparse.Namespace) -> int:
    """Rename the container."""
    Detached.find(arguments.container).rename(arguments.name)
    return 0


def update(arguments: argparse.Namespace) -> int:
    """Set the limits that are named; the others stay."""
    return each(arguments.container, lambda text: _update(Detached.find(text), arguments))


def _update(box: Detached, arguments: argparse.Namespace) -> None:
    present = spec_codec.limits_from_json(box.record.spec["limits"])
    box.update(replace(present, **fields.parse_flags(vars(arguments))), restart=arguments.restart)


def each(texts: list[str], act: Callable[[str], object]) -> int:
    """Perform `act` on each; print its name as the user wrote it, or its result.

    An error is printed, and the others go on.
    """
    failed = 0
    home = open_home()
    for text in texts:
        try:
            with home.written():
                came = act(text)
        except CellholdError as error:
            say(sentences(error))
            failed = FAILED
        else:
            print(came if isinstance(came, int) else text, flush=True)
    return failed
