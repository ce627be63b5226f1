"""The words that each instruction of a Dockerfile must have.

What they mean, and their variables, are handled later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.build.instruction import Instruction

USAGE = {
    "ADD": "ADD SOURCE... DESTINATION",
    "ARG": "ARG NAME[=DEFAULT]...",
    "CMD": 'CMD COMMAND, or CMD ["PROGRAM", "ARGUMENT"...]; CMD [] for none',
    "COPY": "COPY SOURCE... DESTINATION",
    "ENTRYPOINT": 'ENTRYPOINT COMMAND, or ENTRYPOINT ["PROGRAM", "ARGUMENT"...]; ENTRYPOINT [] for none',
    "ENV": "ENV NAME=VALUE...",
    "EXPOSE": "EXPOSE PORT[/PROTOCOL]...",
    "FROM": "FROM IMAGE, or FROM IMAGE AS NAME",
    "HEALTHCHECK": "HEALTHCHECK CMD COMMAND, or HEALTHCHECK NONE",
    "LABEL": "LABEL NAME=VALUE...",
    "MAINTAINER": "MAINTAINER NAME",
    "ONBUILD": "ONBUILD INSTRUCTION",
    "RUN": 'RUN COMMAND, or RUN ["PROGRAM", "ARGUMENT"...]',
    "SHELL": 'SHELL ["PROGRAM", "ARGUMENT"...]',
    "STOPSIGNAL": "STOPSIGNAL SIGNAL",
    "USER": "USER NAME[:GROUP]",
    "VOLUME": "VOLUME DIRECTORY...",
    "WORKDIR": "WORKDIR DIRECTORY",
}
_WITH_AS = 3
_COPIED = 2
_MAY_CLEAR = ("CMD", "ENTRYPOINT")  # with []


def check(instruction: Instruction) -> None:
    """Check the words. Raises InvalidSpec with the line, and the usage as a hint."""
    reason = _SPECIAL.get(instruction.keyword, _at_least_one)(instruction)
    if reason is not None:
        raise instruction.refused(reason, f"write {USAGE[instruction.keyword]}")
    if any("\0" in word for word in instruction.words):
        raise instruction.refused("a NUL can be in no text")


def _at_least_one(instruction: Instruction) -> str | None:
    if instruction.words or (instruction.is_json and instruction.keyword in _MAY_CLEAR):
        return None
    return f"{instruction.keyword} needs at least one word"


def _from(instruction: Instruction) -> str | None:
    words = instruction.words
    if not words:
        return "FROM needs the name of an image"
    if len(words) == 1 or (len(words) == _WITH_AS and words[1].upper() == "AS"):
        return None
    return f"FROM takes one word, or three with AS, not {len(words)}"


def _copy(instruction: Instruction) -> str | None:
    if len(instruction.words) < _COPIED:
        return f"{instruction.keyword} needs a source and a destination"
    if instruction.heredoc(instruction.destination):
        return "a heredoc cannot be the destination"
    return None


def _names_and_values(instruction: Instruction) -> str | None:
    if not instruction.words:
        return f"{instruction.keyword} needs a name and a value"
    return None if all(name for name, _ in instruction.pairs) else f"a name in {instruction.keyword} is empty"


def _arg(instruction: Instruction) -> str | None:
    return "a name in ARG is empty" if any(word.startswith("=") for word in instruction.words) else _at_least_one(instruction)


def _volume(instruction: Instruction) -> str | None:
    return "a directory in VOLUME is empty" if any(not word.strip() for word in instruction.words) else _at_least_one(instruction)


def _shell(instruction: Instruction) -> str | None:
    return None if instruction.is_json and instruction.words else "SHELL takes a list in JSON"


def _healthcheck(instruction: Instruction) -> str | None:
    kind, *command = instruction.words or ("",)
    if kind.upper() == "NONE":
        return "HEALTHCHECK NONE takes no more words" if command else None
    if kind.upper() != "CMD":
        return f"HEALTHCHECK {kind[:100]} is not known" if kind else "HEALTHCHECK needs CMD or NONE"
    return None if command else "HEALTHCHECK CMD needs a command"


_SPECIAL: dict[str, Callable[[Instruction], str | None]] = {
    "ADD": _copy,
    "ARG": _arg,
    "COPY": _copy,
    "ENV": _names_and_values,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _names_and_values,
    "SHELL": _shell,
    "VOLUME": _volume,
}
