"""`%%dockerfile NAME`: the rest of the cell is a Dockerfile, its context the notebook's folder; the image can be used by the next cell.

The limits of the notebook's container hold for each step, the machine's policy for each image that is built on.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold import image
from cellhold.errors import CellholdError, InvalidSpec
from cellhold_kernel import flags
from cellhold_kernel.building import Build
from cellhold_kernel.tail import plain

if TYPE_CHECKING:
    from cellhold_kernel.policy import Policy
    from cellhold_kernel.session import Session

_LINE = re.compile(r"%%dockerfile(?![\w.])(.*)")
_WITH_VALUE = ("--build-arg", "--target", "--label", "--platform")
_SWITCHES = ("--no-cache", "--pull")
_USAGE = "write %%dockerfile NAME, and the Dockerfile below it"
_SHOWN = 64


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A cell that asks for a build. flags: of `cellhold build`."""

    name: str
    flags: tuple[str, ...]
    dockerfile: str


def read(code: str) -> Wanted | None:
    """What a cell asks for; None if it is no such cell. Raises InvalidSpec."""
    first, _, rest = code.lstrip("\n").partition("\n")
    match = _LINE.fullmatch(first.rstrip())
    if match is None:
        return None
    try:
        words = shlex.split(match[1], comments=True)
    except ValueError as error:
        raise InvalidSpec(f"cannot read %%dockerfile{plain(match[1], most=_SHOWN)}: {error}", hint="close the quotation mark") from error
    names: list[str] = []
    given: list[str] = []
    while words:
        word = words.pop(0)
        flag = word.partition("=")[0]
        if flag in _WITH_VALUE:
            if "=" not in word and not words:
                raise InvalidSpec(f"cannot use {flag}: it has no value", hint=f"write {flag} VALUE")
            given.append(word if "=" in word else f"{word}={words.pop(0)}")
        elif word in _SWITCHES:
            given.append(word)
        elif word.startswith("-"):
            known = ", ".join((*_WITH_VALUE, *_SWITCHES))
            raise InvalidSpec(f"cannot use {plain(word, most=_SHOWN)}: there is no such flag here", hint=f"the flags are {known}")
        else:
            names.append(word)
    if len(names) != 1:
        raise InvalidSpec(f"cannot build {len(names)} images in one cell: it needs one name", hint=_USAGE)
    return Wanted(name=names[0], flags=tuple(given), dockerfile=rest)


def start(session: Session, wanted: Wanted) -> Build:
    """Begin to build. Raises CellholdError for what the policy refuses, and for a Dockerfile that is wrong."""
    rules = session.policy()
    rules.check_image(wanted.name)
    _check_bases(wanted, rules)
    try:
        context = Path.cwd()
    except FileNotFoundError as error:
        raise CellholdError("cannot build: the notebook's folder, whose files a build copies, is gone") from error
    return Build(wanted.name, wanted.dockerfile, context, [*wanted.flags, *flags.of(session.settings.spec(rules).limits)])


def _check_bases(wanted: Wanted, rules: Policy) -> None:
    from cellhold.build import dockerfile, stages  # noqa: PLC0415  # a parser, which no other cell needs
    from cellhold.image.platform import Platform  # noqa: PLC0415

    given = dict(flag.partition("=")[2].partition("=")[::2] for flag in wanted.flags if flag.startswith("--build-arg="))
    target = next((flag.partition("=")[2] for flag in wanted.flags if flag.startswith("--target=")), None)
    plan = stages.plan(dockerfile.read(wanted.dockerfile, "Dockerfile"), given, Platform.host(), target)
    for stage in plan.stages:
        if stage.base_stage is None and stage.base != stages.SCRATCH:
            rules.check_image(stage.base)
        for instruction in stage.instructions:
            name = instruction.flag("from")
            if name is not None and name not in stage.copies_from and image.is_oci(name):
                rules.check_image(name)
