"""`%pip install NAME...`: packages for the running container, no variable is lost.

The words are pip's, and little else is: names with versions go in, a layer of wheels
comes out (images/packages/sets.py). What pip does beyond that (list, freeze, show), it
does in the container: `!pip`.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from cellhold.errors import InvalidSpec
from cellhold_kernel.engine.installing import install
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings import requirements

if TYPE_CHECKING:
    from cellhold_kernel.engine.session import Session
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.settings.requirements import PackageRequirement

_LINE = re.compile(r"%pip(?![\w.])(.*)")
_QUIET = re.compile(r"\s*(?:#.*)?")
_SHOWN = 80
_UPGRADE = frozenset({"-U", "--upgrade"})
_NOTHING = frozenset({"-q", "--quiet"})
_HINT = "%pip install polars 'seaborn>=0.13'; %pip install -U polars; !pip runs the image's own pip in the container"


class Asked(NamedTuple):
    """What a cell's %pip lines ask for.

    more: packages to install. code: the cell for the cell kernel, with the lines as
    comments.
    """

    more: tuple[PackageRequirement, ...]
    is_upgrade: bool
    code: str


def read(code: str) -> Asked | None:
    """Take the %pip lines at the top of a cell.

    None where it begins otherwise. Raises InvalidSpec.
    """
    lines = code.split("\n")
    more: list[PackageRequirement] = []
    is_upgrade = is_pip = False
    for number, line in enumerate(lines):
        if (match := _LINE.fullmatch(line.rstrip("\r"))) is not None:
            is_pip = True
            found, upgrade = _install(match[1])
            more += found
            is_upgrade |= upgrade
            lines[number] = f"# {line}"
        elif not _QUIET.fullmatch(line):
            break
    return Asked(tuple(more), is_upgrade, "\n".join(lines)) if is_pip else None


def _install(text: str) -> tuple[list[PackageRequirement], bool]:
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        raise InvalidSpec(f"cannot read %pip{escape(text, most=_SHOWN)}: {error}", hint="close the quotation mark") from error
    if words[:1] != ["install"]:
        shown = escape(words[0], most=_SHOWN) if words else ""
        raise InvalidSpec(f"cannot do %pip {shown}: %pip install is what there is".replace("  ", " "), hint=_HINT)
    options = [word for word in words[1:] if word.startswith("-")]
    if unknown := [word for word in options if word not in _UPGRADE | _NOTHING]:
        raise InvalidSpec(f"cannot use {escape(unknown[0], most=_SHOWN)} with %pip install: only -U and -q are known", hint=_HINT)
    names = [word for word in words[1:] if not word.startswith("-")]
    if not names:
        raise InvalidSpec("cannot install: no package is named", hint=_HINT)
    return [requirements.parse(name, "%pip install") for name in names], bool(_UPGRADE.intersection(options))


def begin(session: Session, code: str) -> tuple[Job, str] | None:
    """Begin what a cell asks for, and return the cell for the cell kernel.

    None if it is no such cell. Raises CellholdError.
    """
    asked = read(code)
    return None if asked is None else (install(session, asked.more, is_upgrade=asked.is_upgrade), asked.code)
