"""The flags of `cellhold build` that a cell has with %%dockerfile, one row each; what has no row is not to be had."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cellhold.errors import InvalidSpec
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN = 64


class Flag(NamedTuple):
    """One flag. why: it can be had; has_value: whether a word follows it."""

    why: str
    has_value: bool = True


FLAGS = {
    "--build-arg": Flag("NAME=VALUE: the value is the cell's"),
    "--target": Flag("a stage of the cell's own Dockerfile"),
    "--label": Flag("NAME=VALUE: words for people"),
    "--platform": Flag("an image of the same name"),
    "--no-cache": Flag("its own work done anew", has_value=False),
    "--pull": Flag("images that the policy lists, asked for anew", has_value=False),
}
_NAMED = ("--build-arg", "--label")
_REFUSED = {  # of docker's, why not
    "--secret": "nothing of this machine's gets into a cell",
    "--ssh": "nothing of this machine's gets into a cell",
    "--build-context": "a build sees what the notebook's folder shows",
    "--iidfile": "a cell cannot name files of the host",
    "--metadata-file": "a cell cannot name files of the host",
    "--env-file": "a cell cannot name files of the host",
    "--label-file": "a cell cannot name files of the host",
    "--memory": "the notebook's limits are those of each step",
    "--security-opt": "the filter of system calls and no_new_privs are always on",
    "--allow": "there is no step without walls",
    "--network": "steps have no network",
    "--tag": "the name stands behind %%dockerfile",
}


def read(words: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """The words that are no flags, and the flags as "--build-arg=A=1". Raises InvalidSpec."""
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
    """The values that a flag was given. Raises InvalidSpec for a name without one: it would be this machine's own."""
    found = [value for name, equals, value in (word.partition("=") for word in given) if name == flag and equals]
    if flag in _NAMED and (bare := next((value for value in found if "=" not in value), None)) is not None:
        shown = escape(bare, most=_SHOWN)
        raise InvalidSpec(
            f"cannot use {flag} {shown}: without a value it is this machine's own, and nothing of that gets into a build",
            hint=f"{flag} {shown}=VALUE",
        )
    return found


def check(given: Sequence[str]) -> None:
    """Raise InvalidSpec for a flag without a row."""
    for word in given:
        if word.partition("=")[0] not in FLAGS:
            raise _refused(word)


def _refused(word: str) -> InvalidSpec:
    reason = _REFUSED.get(word.partition("=")[0], "there is no such flag here")
    return InvalidSpec(f"cannot use {escape(word, most=_SHOWN)}: {reason}", hint=f"the flags are {', '.join(FLAGS)}")
