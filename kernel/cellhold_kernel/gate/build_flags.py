"""The flags of `cellhold build` that %%dockerfile has, one row each.

A flag without a row is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cellhold.errors import InvalidSpec
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN = 64


class Flag(NamedTuple):
    """One flag. why: a cell may have it; has_value: whether a word follows it."""

    why: str
    has_value: bool = True


FLAGS = {
    "--build-arg": Flag("NAME=VALUE: the value is the cell's"),
    "--target": Flag("a stage of the cell's own Dockerfile"),
    "--label": Flag("NAME=VALUE: words for people"),
    "--platform": Flag("an image of the same name"),
    "--no-cache": Flag("its own work, done again", has_value=False),
    "--pull": Flag("images that the policy lists, checked again", has_value=False),
}
_NAMED = ("--build-arg", "--label")
_REFUSED = {  # flags of docker: why they are refused
    "--secret": "no secret of this machine gets into a cell",
    "--ssh": "no secret of this machine gets into a cell",
    "--build-context": "the context is the notebook's folder",
    "--iidfile": "a cell cannot name files of the host",
    "--metadata-file": "a cell cannot name files of the host",
    "--env-file": "a cell cannot name files of the host",
    "--label-file": "a cell cannot name files of the host",
    "--memory": "the notebook's limits hold for each step",
    "--security-opt": "the filter of system calls and no_new_privs are always on",
    "--allow": "every step is isolated",
    "--network": "steps have no network",
    "--tag": "write the name after %%dockerfile",
}


def read(words: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Split words into names and flags ("--build-arg=A=1"). Raises InvalidSpec."""
    names: list[str] = []
    given: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, _ = word.partition("=")
        flag = FLAGS.get(name)
        if flag is not None and flag.has_value:
            if not equals and not left:
                raise InvalidSpec(f"cannot use {name}: it has no value", hint=f"write {name} VALUE")
            given.append(word if equals else f"{word}={left.pop(0)}")
        elif flag is not None and not equals:
            given.append(word)
        elif word.startswith("-"):
            raise _refused(word)
        else:
            names.append(word)
    return names, tuple(given)


def values(given: Sequence[str], flag: str) -> list[str]:
    """Return the values of a flag.

    Raises InvalidSpec for NAME without =VALUE: docker takes the value of this machine's
    environment.
    """
    matches = [value for name, equals, value in (word.partition("=") for word in given) if name == flag and equals]
    if flag in _NAMED and (bare := next((value for value in matches if "=" not in value), None)) is not None:
        shown = escape(bare, most=_SHOWN)
        raise InvalidSpec(
            f"cannot use {flag} {shown}: without a value it means this machine's own, which a build must not see",
            hint=f"{flag} {shown}=VALUE",
        )
    return matches


def check(given: Sequence[str]) -> None:
    """Raise InvalidSpec for a flag without a row."""
    for word in given:
        if word.partition("=")[0] not in FLAGS:
            raise _refused(word)


def _refused(word: str) -> InvalidSpec:
    reason = _REFUSED.get(word.partition("=")[0], "there is no such flag here")
    return InvalidSpec(f"cannot use {escape(word, most=_SHOWN)}: {reason}", hint=f"the flags are {', '.join(FLAGS)}")
