"""The stages of a Dockerfile that an image needs, in order.

Performing them is done elsewhere: what is wrong is reported before that. As in
BuildKit, FROM names an earlier stage or an image, never a later stage: an image may
have the name that a later stage takes.
"""

from __future__ import annotations

import re
from collections import ChainMap
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

from cellhold.build import predefined
from cellhold.build.lexer import Lexer
from cellhold.errors import InvalidSpec
from cellhold.image.fields import quote
from cellhold.image.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cellhold.build.dockerfile import Dockerfile
    from cellhold.build.instruction import Instruction

SCRATCH = "scratch"
MOST_STAGES = 1000  # what each has of the ones before it is kept until all are built
_NAME = re.compile(r"[a-z][a-z0-9._-]*")
_WITH_AS = 3


@dataclass(frozen=True, kw_only=True)
class Stage:
    """From one FROM (`instruction`) to the next.

    base: an image's name, or "scratch", with variables replaced.
    base_stage: the number of the earlier stage that `base` names.
    platform: of --platform.
    global_args: what is declared before the first FROM.
    copies_from: for each --from= that names a stage, as it is written, the stage's
        number; others name images.
    """

    number: int
    name: str | None
    base: str
    base_stage: int | None
    platform: Platform | None
    instruction: Instruction
    instructions: tuple[Instruction, ...]
    global_args: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    copies_from: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    @property
    def needs(self) -> frozenset[int]:
        """The numbers of the stages that have to be there first."""
        base = () if self.base_stage is None else (self.base_stage,)
        return frozenset((*base, *self.copies_from.values()))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to build.

    stages: those that the target needs, in order; the last one is the target.
    declared: the names of all ARGs in the file.
    """

    dockerfile: Dockerfile
    stages: tuple[Stage, ...]
    declared: frozenset[str]

    @property
    def target(self) -> Stage:
        """What becomes the image."""
        return self.stages[-1]

    def unused_build_args(self, given: Iterable[str], triggers: Iterable[Instruction] = ()) -> tuple[str, ...]:
        """Return the names of build arguments that no ARG declares.

        triggers: ONBUILD instructions of base images, which may declare some, too.
        """
        known = self.declared | _declared(triggers) | predefined.EXPECTED
        return tuple(name for name in given if name not in known)


def plan(dockerfile: Dockerfile, build_args: Mapping[str, str], platform: Platform, target: str | None) -> Plan:
    """Return what to build for `target`.

    target: a stage's name or number; None: the last one. Raises InvalidSpec.
    """
    starts = [index for index, one in enumerate(dockerfile.instructions) if one.keyword == "FROM"]
    parts = [dockerfile.instructions[start:end] for start, end in pairwise([*starts, len(dockerfile.instructions)])]
    known = predefined.platforms(platform, build_args)
    declared = _global_args(dockerfile, dockerfile.instructions[: starts[0]], build_args, known)
    if len(parts) > MOST_STAGES:
        raise InvalidSpec(f"cannot use {dockerfile.name}: its {len(parts)} stages are more than {MOST_STAGES}")
    lexer = Lexer(variables=ChainMap(declared, dict(known)), escape=dockerfile.escape)
    names: dict[str, int] = {}
    stages: list[Stage] = []
    for number, (first, *rest) in enumerate(parts):
        stage = _stage(first, rest, number, names, lexer)
        stages.append(replace(stage, global_args=MappingProxyType(declared)))
        if stage.name:
            names[stage.name] = number
    stages = [replace(stage, copies_from=_copied(stage, names, len(stages))) for stage in stages]
    wanted = stages[-1] if target is None else _target(target, stages, names, dockerfile)
    return Plan(dockerfile=dockerfile, stages=_needed(wanted, stages), declared=_declared(dockerfile.instructions))


def _global_args(
    dockerfile: Dockerfile, instructions: Iterable[Instruction], build_args: Mapping[str, str], known: Mapping[str, str]
) -> dict[str, str]:
    declared: dict[str, str] = {}
    lexer = Lexer(variables=ChainMap(declared, dict(known)), escape=dockerfile.escape)
    for instruction in instructions:
        new: dict[str, str] = {}  # the words of a line see what was declared before it
        for word in instruction.words:
            name, equals, default = word.partition("=")
            if name in build_args:
                new[name] = build_args[name]
            elif equals:
                new[name] = lexer.word(default, instruction)
            elif name in known:
                new[name] = known[name]
        declared |= new
    return declared


def _stage(first: Instruction, rest: Iterable[Instruction], number: int, names: Mapping[str, int], lexer: Lexer) -> Stage:
    """Return the stage; names: of the stages before it."""
    name = first.words[2].lower() if len(first.words) == _WITH_AS else None
    if name is not None and not _NAME.fullmatch(name):
        raise first.refused(f"{quote(name)} is not a stage's name", "it begins with a letter, and has letters, digits, '.', '_' and '-'")
    if name in names:
        raise first.refused(f"another stage is called {name}")
    base = lexer.word(first.words[0], first)
    if not base:
        raise first.refused(f"the image's name, {first.words[0]}, is empty", "give its variable a default before FROM: ARG NAME=VALUE")
    return Stage(
        number=number,
        name=name,
        base=base,
        base_stage=None if base == SCRATCH else names.get(base.lower()),
        platform=_platform(first, lexer),
        instruction=first,
        instructions=tuple(rest),
    )


def _platform(first: Instruction, lexer: Lexer) -> Platform | None:
    text = first.flag("platform")
    if text is None:
        return None
    try:
        return Platform.parse(lexer.word(text, first))
    except InvalidSpec as error:
        raise first.refused(str(error), error.hint) from None


def _copied(stage: Stage, names: Mapping[str, int], count: int) -> Mapping[str, int]:
    found = {}
    for instruction in stage.instructions:
        text = instruction.flag("from")
        if instruction.keyword != "COPY" or text is None:
            continue
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < len("100000") else names.get(text.lower())
        if number is None:
            continue
        if number >= count:
            raise instruction.refused(f"there is no stage {number}", f"the stages are numbered from 0 to {count - 1}")
        if number >= stage.number:
            which = "this stage itself" if number == stage.number else "a later stage"
            raise instruction.refused(f"--from={text} is {which}", "a stage can copy from those before it only")
        found[text] = number
    return MappingProxyType(found)


def _target(target: str, stages: Sequence[Stage], names: Mapping[str, int], dockerfile: Dockerfile) -> Stage:
    number = names.get(target.lower())
    if number is None and target.isascii() and target.isdecimal() and target in map(str, range(len(stages))):
        number = int(target)
    if number is None:
        last = stages[-1]
        known = ", ".join(stage.name or str(stage.number) for stage in stages)
        where = f"{dockerfile.name} (its last stage begins in line {last.instruction.line})"
        raise InvalidSpec(f"cannot build the target {quote(target)}: {where} has no such stage", hint=f"its stages: {known[:1000]}")
    return stages[number]


def _needed(wanted: Stage, stages: Sequence[Stage]) -> tuple[Stage, ...]:
    needed, missing = set(), [wanted.number]
    while missing:
        number = missing.pop()
        if number not in needed:
            needed.add(number)
            missing.extend(stages[number].needs)
    return tuple(stages[number] for number in sorted(needed))


def _declared(instructions: Iterable[Instruction]) -> frozenset[str]:
    found: list[str] = []
    for instruction in instructions:
        if instruction.keyword == "ARG":
            found.extend(instruction.words)
        elif instruction.keyword == "ONBUILD" and instruction.words[0][:3].upper() == "ARG":
            found.extend(instruction.words[0].split()[1:])
    return frozenset(word.partition("=")[0] for word in found)
