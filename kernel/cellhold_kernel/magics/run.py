"""`%%run [FLAGS] IMAGE [COMMAND]`: run a container from the rest of the cell.

The container is removed when it exits. Without a command the cell's lines are a script
for the image's `sh`; with one they are its standard input. The flags are those of
`docker run` that gate/run_flags.py lists; the notebook's limits hold unless a flag sets
another, and the machine's policy in any case. With -d the container runs in the
background until it is removed.
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
    """A cell that runs a container. flags: as in RunRequest. lines: below its first."""

    flags: Mapping[str, Any]
    image: str
    command: tuple[str, ...]
    lines: str


def read(code: str) -> Wanted | None:
    """Parse a cell; None if it is not a %%run cell.

    Raises InvalidSpec, also for a flag that cells do not have.
    """
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
    """A parser that raises instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise InvalidSpec."""
        raise InvalidSpec(f"cannot read %%run: {escape(message, most=200)}", hint=_USAGE)


def _parser() -> argparse.ArgumentParser:
    """Return a parser for all flags of `cellhold run`.

    So the flags that cells do not have are refused by name.
    """
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
    """Return the request to the gate."""
    return RunRequest(
        settings=session.settings,
        owner=session.owner,
        names=session.names(),
        beside=session.quota.containers(),
        flags=wanted.flags,
        image=wanted.image,
        command=wanted.command,
        lines=wanted.lines,
    )


def begin(session: Session, code: str) -> tuple[Job, str] | None:
    """Start a cell's container; return the job and the code for the cell kernel.

    Returns None if it is not a %%run cell. Raises CellholdError.
    """
    wanted = read(code)
    return None if wanted is None else (start(session, wanted), "# %%run")


def start(session: Session, wanted: Wanted) -> Job:
    """Start the job. Raises CellholdError for what is refused or invalid."""
    rules = session.policy()
    granted = authorize(request(session, wanted), Trust.CELL, rules)
    return session.engine.run(host_directories.opened(granted, rules, session.workspace))
