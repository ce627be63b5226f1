"""`%%dockerfile NAME`: the rest of the cell is a Dockerfile, its context the notebook's folder; the image can be used by the next cell.

The limits of the notebook's container hold for each step, the machine's policy for each image that is built on.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec
from cellhold_kernel.gate import build_flags
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.request import BuildRequest
from cellhold_kernel.jobs.build import Build
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.settings import Trust

if TYPE_CHECKING:
    from cellhold_kernel.engine.session import Session
    from cellhold_kernel.jobs.job import Job

_LINE = re.compile(r"%%dockerfile(?![\w.])(.*)")
_USAGE = "write %%dockerfile NAME, and the Dockerfile below it"
_SHOWN = 64


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A cell that asks for a build. flags: of `cellhold build`."""

    name: str
    flags: tuple[str, ...]
    dockerfile: str


def read(code: str) -> Wanted | None:
    """What a cell asks for; None if it is no such cell. Raises InvalidSpec, also for a flag that no cell has."""
    first, _, rest = code.lstrip("\n").partition("\n")
    match = _LINE.fullmatch(first.rstrip())
    if match is None:
        return None
    try:
        words = shlex.split(match[1], comments=True)
    except ValueError as error:
        raise InvalidSpec(f"cannot read %%dockerfile{escape(match[1], most=_SHOWN)}: {error}", hint="close the quotation mark") from error
    names, flags = build_flags.read(words)
    if len(names) != 1:
        raise InvalidSpec(f"cannot build {len(names)} images in one cell: it needs one name", hint=_USAGE)
    return Wanted(name=names[0], flags=flags, dockerfile=rest)


def request(session: Session, wanted: Wanted) -> BuildRequest:
    """What the cell asks for, for the gate."""
    return BuildRequest(
        settings=session.settings,
        owner=session.owner,
        names=session.names(),
        beside=session.beside(),
        name=wanted.name,
        flags=wanted.flags,
        dockerfile=wanted.dockerfile,
    )


def begin(session: Session, code: str) -> tuple[Job, str] | None:
    """Begin what a cell asks for, and return what the cell is called for the cell kernel; None if it is no such cell.

    Raises CellholdError.
    """
    wanted = read(code)
    return None if wanted is None else (start(session, wanted), f"# %%dockerfile {wanted.name}")


def start(session: Session, wanted: Wanted) -> Build:
    """Begin to build. Raises CellholdError for what is refused, and for a Dockerfile that is wrong."""
    granted = authorize(request(session, wanted), Trust.CELL, session.policy())
    return Build(granted, session.build_context(granted))
