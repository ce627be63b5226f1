"""`%%dockerfile NAME`: build an image; the context is the notebook's folder.

The next cell can use the image. The limits of the notebook's container hold for each
step, the machine's policy for each image that is used.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, InvalidSpec
from cellhold_kernel.gate import build_flags
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.request import BuildRequest
from cellhold_kernel.jobs.build_context import BuildContext
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.settings import Trust

if TYPE_CHECKING:
    from cellhold_kernel.engine.session import Session
    from cellhold_kernel.gate.granted import GrantedBuild
    from cellhold_kernel.jobs.job import Job

_LINE = re.compile(r"%%dockerfile(?![\w.])(.*)")
_USAGE = "write %%dockerfile NAME, and the Dockerfile below it"
_SHOWN = 64


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A cell that builds. flags: of `cellhold build`."""

    name: str
    flags: tuple[str, ...]
    dockerfile: str


def read(code: str) -> Wanted | None:
    """Parse a cell; None if it is not a %%dockerfile cell.

    Raises InvalidSpec, also for a flag that cells do not have.
    """
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
    """Return the request to the gate."""
    return BuildRequest(
        settings=session.settings,
        owner=session.owner,
        names=session.names(),
        beside=session.quota.containers(),
        name=wanted.name,
        flags=wanted.flags,
        dockerfile=wanted.dockerfile,
    )


def begin(session: Session, code: str) -> tuple[Job, str] | None:
    """Start a cell's build; return it and the code for the cell kernel.

    Returns None if it is not a %%dockerfile cell. Raises CellholdError.
    """
    wanted = read(code)
    return None if wanted is None else (start(session, wanted), f"# %%dockerfile {wanted.name}")


def start(session: Session, wanted: Wanted) -> Job:
    """Start a build.

    Raises CellholdError for a request that is refused, or a Dockerfile that is not
    valid.
    """
    granted = authorize(request(session, wanted), Trust.CELL, session.policy())
    return session.engine.build(granted, _context(session, granted))


def _context(session: Session, granted: GrantedBuild) -> BuildContext:
    """Return what a container is shown of the notebook's folder, or nothing."""
    if session.workspace is None:
        raise CellholdError("cannot build: the notebook's folder, whose files a build copies, is gone")
    mounts = session.workspace.mounts(granted.folder)
    return BuildContext(descriptor=session.workspace.descriptor(), hidden=mounts[0].hidden) if mounts else BuildContext()
