"""`%%run [FLAGS] IMAGE [COMMAND]`: the rest of the cell runs in a container of its own, and nothing of that is left.

Without a command the cell's lines are a script for the image's `sh`; with one they are its standard
input. The flags are those of `docker run` that gate/run_flags.py lists; the notebook's limits hold
where none is given, and the machine's policy in any case. With -d it goes on by itself, until it is
removed.
"""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from cellhold.cli import options
from cellhold.errors import InvalidSpec
from cellhold_kernel.gate import host_directories, run_flags
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.request import RunRequest
from cellhold_kernel.jobs.run import Run
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.settings import Trust

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold_kernel.engine.session import Session
    from cellhold_kernel.jobs.job import Job

_LINE = re.compile(r"%%run(?![\w.])(.*)")
_SHOWN = 64
_USAGE = "write %%run --memory 64m busybox, and its lines below"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A cell that asks for it. flags: as RunRequest has them. lines: below its first."""

    flags: Mapping[str, Any]
    image: str
    command: tuple[str, ...]
    lines: str


def read(code: str) -> Wanted | None:
    """What a cell asks for; None if it is no such cell. Raises InvalidSpec, also for a flag that no cell has."""
    first, _, rest = code.lstrip("\n").partition("\n")
    match = _LINE.fullmatch(first.rstrip())
    if match is None:
        return None
    try:
        words = shlex.split(match[1])
    except ValueError as error:
        raise InvalidSpec(f"cannot read %%run{escape(match[1], most=_SHOWN)}: {error}", hint="close the quotation mark") from error
    arguments, unknown = _PARSER.parse_known_args(words)
    if unknown:
        raise run_flags.refused(unknown[0])
    given = {name: value for name, value in vars(arguments).items() if value != _PARSER.get_default(name)}
    command = given.pop("command", [])
    run_flags.check(given)
    if not command:
        raise InvalidSpec("cannot run: no image given", hint=_USAGE)
    return Wanted(flags=given, image=command[0], command=tuple(command[1:]), lines=rest)


class _Parser(argparse.ArgumentParser):
    """One that nobody exits for."""

    def error(self, message: str) -> NoReturn:
        """Raise InvalidSpec."""
        raise InvalidSpec(f"cannot read %%run: {escape(message, most=200)}", hint=_USAGE)


def _parser() -> argparse.ArgumentParser:
    """All flags of `cellhold run`, so that those which a cell has not are refused by name."""
    parser = _Parser(prog="%%run", add_help=False, allow_abbrev=False)
    parser.add_argument("-d", "--detach", action="store_true")
    parser.add_argument("--rm", action="store_true")
    parser.add_argument("-i", "--interactive", action="store_true")
    parser.add_argument("--pull", choices=("always", "missing", "never"), default="missing")
    options.add(parser)
    parser.add_argument("command", nargs="...")
    return parser


_PARSER = _parser()


def request(session: Session, wanted: Wanted) -> RunRequest:
    """What the cell asks for, for the gate."""
    return RunRequest(
        settings=session.settings,
        owner=session.owner,
        names=session.names(),
        beside=session.beside(),
        flags=wanted.flags,
        image=wanted.image,
        command=wanted.command,
        lines=wanted.lines,
    )


def begin(session: Session, code: str) -> tuple[Job, str] | None:
    """Begin what a cell asks for, and return what the cell is called for the cell kernel; None if it is no such cell.

    Raises CellholdError.
    """
    wanted = read(code)
    return None if wanted is None else (start(session, wanted), "# %%run")


def start(session: Session, wanted: Wanted) -> Run:
    """Begin to run it. Raises CellholdError for what is refused, and for what is wrong."""
    rules = session.policy()
    return Run(host_directories.opened(authorize(request(session, wanted), Trust.CELL, rules), rules, session.workspace))
