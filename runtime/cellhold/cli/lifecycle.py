"""cellhold start, stop, restart, kill, pause, unpause, wait, rm, rename, update: what can be done to containers, from any process."""

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
    starting.add_argument("-a", "--attach", action="store_true", help="show what it writes until it ends, and give its status")
    starting.add_argument("-i", "--interactive", action="store_true", help="and give it our standard input")
    starting.add_argument("--detach-keys", metavar="KEYS", default=terminal.KEYS, help=f"default: {terminal.KEYS}")
    for word, what, act in (("stop", "end containers", stop), ("restart", "stop containers and start them again", restart)):
        command = _several(commands, word, what, f"{what[0].upper()}{what[1:]}: the stop signal, and SIGKILL after a while.", act)
        command.add_argument("-t", "--time", "--timeout", metavar="SECONDS", help="how long to wait (default: 10, or its own)")
    killing = _several(commands, "kill", "send containers a signal", "Send SIGKILL, or another signal.", kill)
    killing.add_argument("-s", "--signal", metavar="SIGNAL", default="KILL", help="name or number (default: KILL)")
    _several(commands, "pause", "freeze containers", "Freeze every process of a container where it is.", pause)
    _several(commands, "unpause", "let paused containers go on", "Let paused containers go on.", unpause)
    _several(commands, "wait", "wait for containers' ends", "Wait until containers have ended, and print their statuses.", wait)
    removing = _several(commands, "rm", "remove containers", "Remove containers that do not run, and what they have written.", remove)
    removing.add_argument("-f", "--force", action="store_true", help="kill those that run; those that are not there are no error")
    removing.add_argument("-v", "--volumes", action="store_true", help="their anonymous volumes, too")
    naming = commands.add_parser("rename", help="call a container something else", description="Call a container something else.")
    naming.add_argument("container", metavar="CONTAINER")
    naming.add_argument("name", metavar="NAME")
    naming.set_defaults(run=rename)
    changing = _several(commands, "update", "new limits for containers", "Set new limits, at once, also while they run.", update)
    options.add_limits(changing)
    changing.add_argument("--restart", metavar="POLICY", help="another restart policy")


def _several(commands: Any, word: str, what: str, description: str, act: Callable[[argparse.Namespace], int]) -> Any:
    command = commands.add_parser(word, help=what, description=description)
    command.add_argument("container", nargs="+", metavar="CONTAINER")
    command.set_defaults(run=act)
    return command


def start(arguments: argparse.Namespace) -> int:
    """Start each; -a: show one's output."""
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
    """End each; those that are a process's own, too."""
    grace = None if arguments.time is None else parse_seconds(arguments.time, key="time", or_none=True)
    return each(arguments.container, lambda text: _stop(text, grace))


def _stop(text: str, grace: float | None) -> None:
    known = inventory.find(text, open_home())
    if known.kept:
        Detached(known.id).stop(grace)
    else:
        inventory.stop(known, 10.0 if grace is None else grace)


def restart(arguments: argparse.Namespace) -> int:
    """Stop and start each."""
    grace = None if arguments.time is None else parse_seconds(arguments.time, key="time", or_none=True)
    return each(arguments.container, lambda text: Detached.find(text).restart(grace))


def kill(arguments: argparse.Namespace) -> int:
    """Send each the signal; those that are a process's own, too."""
    number = parse_signal(arguments.signal)
    return each(arguments.container, lambda text: _kill(text, number))


def _kill(text: str, number: int) -> None:
    known = inventory.find(text, open_home())
    if known.kept:
        Detached(known.id).kill(number)
    else:
        inventory.send(known, number)


def pause(arguments: argparse.Namespace) -> int:
    """Freeze each."""
    return each(arguments.container, lambda text: Detached.find(text).pause())


def unpause(arguments: argparse.Namespace) -> int:
    """Let each go on."""
    return each(arguments.container, lambda text: Detached.find(text).unpause())


def wait(arguments: argparse.Namespace) -> int:
    """Print each one's status, in their order."""
    return each(arguments.container, _wait)


def _wait(text: str) -> int:
    box = Detached.find(text)
    return 0 if box.state is State.CREATED else box.wait().status  # docker's 0, of one that was never started


def remove(arguments: argparse.Namespace) -> int:
    """Remove each; what a crash has left goes first."""
    home = open_home()
    sweep(home)
    return each(arguments.container, lambda text: _remove(text, home, force=arguments.force, with_volumes=arguments.volumes))


def _remove(text: str, home: Home, *, force: bool, with_volumes: bool) -> None:
    try:
        known = inventory.find(text, home)
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
    if known.kept or not force:
        Detached.find(known.id, home).remove(force=force, with_volumes=with_volumes)
    else:
        inventory.remove_own(known, home)


def rename(arguments: argparse.Namespace) -> int:
    """Call it that."""
    Detached.find(arguments.container).rename(arguments.name)
    return 0


def update(arguments: argparse.Namespace) -> int:
    """Set those limits that are given; the others stay."""
    return each(arguments.container, lambda text: _update(Detached.find(text), arguments))


def _update(box: Detached, arguments: argparse.Namespace) -> None:
    present = spec_codec.limits_from_json(box.record.spec["limits"])
    box.update(replace(present, **fields.parse_flags(vars(arguments))), restart=arguments.restart)


def each(texts: list[str], act: Callable[[str], object]) -> int:
    """Do it to each, and say its name as it was given, or what came of it; what goes wrong with one is told, and the others go on."""
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
