"""Names of users and groups of an image as numbers.

They are needed for --chown, and for the owner of a WORKDIR. /etc/passwd and /etc/group
are the image's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec
from cellhold.image import layer_queries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MOST_BYTES = 1 << 20
_HIGHEST = 65535  # of a container's ids
_LONGEST = 1000  # digits: int() refuses thousands of them


def owner(text: str, trees: Sequence[Path]) -> tuple[int, int]:
    """Return uid and gid of "user", "user:group", "1000" or "1000:1000".

    Without a group, a name has its own group, and a number the group of the same
    number. Raises InvalidSpec for a name that the image does not have.
    """
    user, colon, group = text.partition(":")
    uid, own = _user(user, trees)
    return uid, _group(group, trees) if colon and group else own


def _user(text: str, trees: Sequence[Path]) -> tuple[int, int]:
    if not text:
        return 0, 0  # ":group"
    if text.isdecimal():
        return _number(text), _number(text)
    for words in _lines("etc/passwd", trees):
        if words[0] == text and len(words) > 3 and words[2].isdecimal() and words[3].isdecimal():  # noqa: PLR2004  # passwd(5)
            return _number(words[2]), _number(words[3])
    raise InvalidSpec(f"cannot use the user {text!r}: the image's /etc/passwd does not have it", hint="write its number")


def _group(text: str, trees: Sequence[Path]) -> int:
    if text.isdecimal():
        return _number(text)
    for words in _lines("etc/group", trees):
        if words[0] == text and len(words) > 2 and words[2].isdecimal():  # noqa: PLR2004  # group(5)
            return _number(words[2])
    raise InvalidSpec(f"cannot use the group {text!r}: the image's /etc/group does not have it", hint="write its number")


def _number(text: str) -> int:
    number = int(text) if len(text) < _LONGEST else _HIGHEST + 1
    if number > _HIGHEST:
        raise InvalidSpec(f"cannot use the id {text[:20]}: a container has those up to {_HIGHEST}")
    return number


def _lines(path: str, trees: Sequence[Path]) -> list[list[str]]:
    content = layer_queries.content(trees, path.encode(), _MOST_BYTES) or b""
    return [line.split(":") for line in content.decode(errors="replace").splitlines()]
