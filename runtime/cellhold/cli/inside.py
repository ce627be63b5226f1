"""cellhold exec, attach, top, cp: processes and files of a container."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from cellhold.cli import options, table, terminal
from cellhold.cli.attaching import FORWARDED, follow, tell_end
from cellhold.cli.copying import Streams
from cellhold.container import inventory
from cellhold.container.detached import Detached
from cellhold.errors import InvalidSpec
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import argparse

    from cellhold.container.exec import ExecSession


def add(commands: Any) -> None:
    """Add the commands and their flags."""
    entering = commands.add_parser("exec", help="run one more program in a container", description="Run one more program in a container.")
    entering.add_argument("-d", "--detach", action="store_true", help="do not wait for the program")
    entering.add_argument("-i", "--interactive", action="store_true", help="pass on our standard input")
    entering.add_argument("-t", "--tty", action="store_true", help="connect its standard streams to a terminal")
    entering.add_argument("-u", "--user", metavar="USER[:GROUP]", help="the user (default: the container's)")
    entering.add_argument("-w", "--workdir", metavar="DIR", help="the working directory (default: the container's)")
    entering.add_argument(
        "-e", "--env", metavar="NAME[=VALUE]", action="append", default=[], help="add a variable to the container's environment"
    )
    entering.add_argument("container", metavar="CONTAINER")
    entering.add_argument("command", nargs="...", metavar="COMMAND [ARG ...]")
    entering.set_defaults(run=execute)
    attaching = commands.add_parser(
        "attach",
        help="attach to a container's output and input",
        description="Print what a container writes from now on, and write to its input.",
    )
    attaching.add_argument("--no-stdin", action="store_true", help="do not pass on our standard input")
    attaching.add_argument(
        "--detach-keys", metavar="KEYS", default=terminal.KEYS, help=f"keys that leave it running (default: {terminal.KEYS})"
    )
    attaching.add_argument(
        "--sig-proxy", choices=("true", "false"), default="true", help="forward signals to the container (default: true)"
    )
    attaching.add_argument("container", metavar="CONTAINER")
    attaching.set_defaults(run=attach)
    looking = commands.add_parser("top", help="list the processes of a container", description="List the processes of a container.")
    looking.add_argument("container", metavar="CONTAINER")
    looking.set_defaults(run=top)
    copies = commands.add_parser(
        "cp",
        help="copy files to or from a container",
        description="Copy files to or from a container; - is a tar on standard input or output.",
    )
    copies.add_argument("-a", "--archive", action="store_true", help="keep owners and set-user-id bits")
    copies.add_argument("-L", "--follow-link", action="store_true", help="if the source is a symbolic link, copy its target")
    copies.add_argument("-q", "--quiet", action="store_true", help="print nothing (always so)")
    copies.add_argument("source", metavar="[CONTAINER:]SOURCE")
    copies.add_argument("target", metavar="[CONTAINER:]TARGET")
    copies.set_defaults(run=copy)


def execute(arguments: argparse.Namespace) -> int:
    """Run the program; return its status."""
    if arguments.tty and arguments.interactive and not sys.stdin.isatty():
        raise InvalidSpec("cannot use -it: our standard input is not a terminal", hint="-i alone passes it on as it is")
    box = Detached.find(arguments.container)
    options_of_process = {
        "env": options.environment(arguments.env),
        "cwd": arguments.workdir,
        "user": arguments.user,
        "terminal": arguments.tty,
    }
    if arguments.detach:
        box.exec(*arguments.command, **options_of_process).close()
        return 0
    if arguments.tty:
        with box.exec(*arguments.command, **options_of_process) as process:
            terminal.copy(process.terminal, interactive=arguments.interactive)
            return process.wait()
    entered: list[ExecSession] = []
    with ExitStack() as closing:
        streams = closing.enter_context(Streams(interactive=arguments.interactive))
        streams.start(lambda **stdio: entered.append(closing.enter_context(box.exec(*arguments.command, **options_of_process, **stdio))))
        for number in FORWARDED:
            before = signal.signal(number, lambda number, _frame: entered[0].kill(number))
            closing.callback(signal.signal, number, before)
        streams.copy(entered[0])
        return entered[0].wait()


def attach(arguments: argparse.Namespace) -> int:
    """Copy until the container ends; return its status."""
    box = Detached.find(arguments.container)
    spec = box.spec
    status = follow(
        box,
        box.attach(),
        interactive=not arguments.no_stdin and spec.stdin,
        has_terminal=spec.terminal,
        keys=terminal.detach_keys(arguments.detach_keys),
        proxy=arguments.sig_proxy == "true",
    )
    tell_end(box.name, box.outcome)
    return status


def top(arguments: argparse.Namespace) -> int:
    """Print a row for each process, with the host's numbers."""
    rows = [
        {
            "uid": str(one.uid),
            "pid": str(one.pid),
            "ppid": str(one.parent),
            "time": f"{int(one.seconds) // 3600:02d}:{int(one.seconds) // 60 % 60:02d}:{int(one.seconds) % 60:02d}",
            "cmd": one.args,
        }
        for one in inventory.processes(inventory.find(arguments.container, open_home()))
    ]
    table.show(rows, ["uid", "pid", "ppid", "time", "cmd"], form="table")
    return 0


def copy(arguments: argparse.Namespace) -> int:
    """Copy in one direction or the other."""
    from cellhold.container import cp  # noqa: PLC0415  # what other commands do without

    (ours, source), (theirs, target) = _parse_path(arguments.source), _parse_path(arguments.target)
    follow, owners = arguments.follow_link, arguments.archive
    if (ours is None) == (theirs is None):
        raise InvalidSpec(
            "cannot copy: exactly one of the two must be in a container",
            hint="cellhold cp CONTAINER:PATH PATH, or cellhold cp PATH CONTAINER:PATH",
        )
    if theirs is not None:
        box = Detached.find(theirs)
        if source == "-":
            cp.into_from_tar(box, sys.stdin.buffer, target, owners=owners)
        else:
            cp.into(box, source, target, follow=follow, owners=owners)
    elif target == "-":
        cp.out_as_tar(Detached.find(str(ours)), source, sys.stdout.buffer, follow=follow)
    else:
        cp.out(Detached.find(str(ours)), source, target, follow=follow, owners=owners)
    return 0


def _parse_path(text: str) -> tuple[str | None, str]:
    """Parse CONTAINER:PATH as (container, path).

    (None, path) for a text that begins like a path, or has no colon.
    """
    name, colon, path = text.partition(":")
    return (None, text) if not colon or text.startswith(("/", ".")) else (name, path or "/")
