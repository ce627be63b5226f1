"""The lines `%container ...`, `%limits ...`, `%network ...` at the top of a cell.

They have key=value words, or an action (`%container pause`). The rest of the cell runs
in the container that they describe. The language in the container gets them as
comments, so that line numbers, history and cell numbers stay the same.
"""

from __future__ import annotations

import re
import shlex
import tokenize
from io import StringIO
from typing import NamedTuple

from cellhold.errors import InvalidSpec
from cellhold_kernel.magics.registry import ACTIONS, LINES, WORDS
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings import settings

_LINE = re.compile(rf"%({'|'.join((*LINES, *WORDS))})(?![\w.])(.*)")
_QUIET = re.compile(r"\s*(?:#.*)?")
_SHOWN = 64


class Asked(NamedTuple):
    """The magic lines of a cell.

    magics: name -> key -> text, empty = show. code: for the cell kernel. action: a word
    of ACTIONS and its arguments.
    """

    magics: dict[str, dict[str, str]]
    code: str
    action: tuple[str, ...] = ()


def encodable(code: str) -> str:
    """Return the cell's code if UTF-8 can encode it, which JSON does not ensure.

    Raises InvalidSpec.
    """
    try:
        code.encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(code[error.start]):04X}"
        raise InvalidSpec(
            f"cannot read the cell: character {error.start + 1} is {half}, half of a surrogate pair",
            hint="type it again: it is not a character",
        ) from error
    return code


def read(code: str) -> Asked | None:
    """Parse a cell's magic lines; None if it has none.

    Raises InvalidSpec for a line that cannot be parsed, or is not at the top.
    """
    lines = code.split("\n")
    magics: dict[str, dict[str, str]] = {}
    actions: list[tuple[str, ...]] = []
    top = 0
    for number, line in enumerate(lines):
        if match := _line(line):
            if action := _action(match[1], match[2]):
                actions.append(action)
            else:
                magics.setdefault(match[1], {}).update(assignments(match[1], match[2]))
            top = number + 1
        elif not _QUIET.fullmatch(line):
            break
    rest = lines[top:]
    if not _is_other_magic(rest) and (name := _misplaced("\n".join(rest))):
        raise InvalidSpec(
            f"cannot use %{name} here: a %{name} line has to be at the top of its cell", hint="move it up, or into a cell of its own"
        )
    if len(actions) + len(magics) > 1 and actions:
        raise InvalidSpec(f"cannot use %container {actions[0][0]} here: no other %container, %limits or %network line can stand beside it")
    if not magics and not actions:
        return None
    action = actions[0] if actions else ()
    if _is_other_magic(rest):  # %%time must be the first line of what the cell kernel gets
        return Asked(magics, "\n".join(rest), action)
    return Asked(magics, "\n".join([f"# {line}" if _line(line) else line for line in lines[:top]] + rest), action)


def alone(code: str) -> tuple[str, ...]:
    """Return the action of a cell that has nothing else, or ()."""
    match = _line(code.strip())
    try:
        return _action(match[1], match[2]) if match else ()
    except InvalidSpec:
        return ()


def _words(name: str, line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise InvalidSpec(f"cannot read %{name}{escape(line, most=_SHOWN)}: {error}", hint="close the quotation mark") from error


def _action(name: str, line: str) -> tuple[str, ...]:
    words = _words(name, line)
    if name in WORDS:
        return (name, *words)
    return tuple(words) if name == "container" and words and words[0] in ACTIONS else ()


def assignments(name: str, line: str) -> dict[str, str]:
    """Parse the key=value words of a line, quoted as in a shell. Raises InvalidSpec.

    The values of a key that may be repeated are joined.
    """
    texts: dict[str, str] = {}
    for word in _words(name, line):
        key, equals, text = word.removeprefix("--").partition("=")
        if not equals:
            raise InvalidSpec(f"cannot use {escape(word, most=_SHOWN)}: not a key=value", hint=_usage(name))
        if key not in settings.KEYS:
            raise settings.unknown(key)
        texts[key] = f"{texts[key]} {text}" if key in texts and key in settings.REPEATED else text
    return texts


def _usage(name: str) -> str:
    usage = "write %network egress=internet" if name == "network" else f"write %{name} memory=512m cpus=1.5"
    return f"{usage}, or one of {', '.join(ACTIONS)}" if name == "container" else usage


def _line(line: str) -> re.Match[str] | None:
    return _LINE.fullmatch(line.rstrip("\r"))


def _is_other_magic(rest: list[str]) -> bool:
    first = next((line for line in rest if line.strip()), "")
    return first.startswith("%%")


def _misplaced(code: str) -> str | None:
    """Return the name of the first magic line outside of a string, or None.

    Only a string of several lines can contain such a line.
    """
    marked = {number: match[1] for number, line in enumerate(code.split("\n"), start=1) if (match := _line(line))}
    if not marked:
        return None
    inside: set[int] = set()
    try:
        for token in tokenize.generate_tokens(StringIO(code).readline):
            inside.update(range(token.start[0] + 1, token.end[0] + 1))
    except (tokenize.TokenError, SyntaxError):
        pass  # not Python, or incomplete: the tokens until here count
    return next((name for number, name in marked.items() if number not in inside), None)
