"""What .dockerignore keeps out of a build, as moby's patternmatcher understands it: the last pattern that matches decides.

A pattern that matches a directory matches all below it. Walking, and which file is read, are not its business.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from cellhold.build.instruction import refused
from cellhold.errors import InvalidSpec
from cellhold.layer.worker.glob import ANYTHING, DIRECTORIES, WITHIN, Glob, Letters, one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MOST_KEPT = 10_000  # directories; a walk needs those between the root and where it is
_MOST_PATTERNS = 10_000  # each is tried with each file
_SPECIAL = re.compile(r"[*?\[\\]")


@dataclass
class Pattern:
    """match: with a path. exclusion: it begins with !, and takes back what others leave out. parts: its components."""

    match: Callable[[str], bool]
    exclusion: bool
    parts: tuple[str, ...]

    def may_match_under(self, directory: tuple[str, ...]) -> bool:
        """Whether it may match something below a directory, as far as its components without a star tell."""
        for part, name in zip(self.parts, directory, strict=False):
            if "**" in part:
                return True
            if not _SPECIAL.search(part) and part != name:
                return False
        return len(self.parts) > len(directory)


class Ignore:
    """patterns: the lines of the file `name`. Paths are relative to the context and clean, as a/b. Raises InvalidSpec.

    The answer for a directory is kept, pattern by pattern, for what lies in it.
    """

    def __init__(self, patterns: Iterable[str] = (), *, name: str = ".dockerignore") -> None:
        self._patterns: list[Pattern] = []
        for number, line in enumerate(patterns, 1):
            try:
                found = _pattern(line)
            except ValueError as error:
                raise refused(name, (number, number), line, str(error)) from None
            self._patterns += [] if found is None else [found]
        if len(self._patterns) > _MOST_PATTERNS:
            raise InvalidSpec(f"cannot use {name}: its {len(self._patterns)} patterns are more than {_MOST_PATTERNS}")
        self._known: dict[str, tuple[bool, tuple[bool, ...]]] = {}

    @classmethod
    def read(cls, text: str, *, name: str = ".dockerignore") -> Self:
        """The file that reads `text`."""
        return cls((line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")), name=name)

    def excludes(self, path: str) -> bool:
        """Whether it is left out."""
        directory, slash, _ = path.rpartition("/")
        return self._answer(path, self._kept(directory)[1] if slash else ())[0]

    def may_reinclude_under(self, path: str) -> bool:
        """Whether a directory that is left out has to be walked all the same, since a pattern with ! may match below it."""
        directory = tuple(path.split("/"))
        return any(pattern.exclusion and pattern.may_match_under(directory) for pattern in self._patterns)

    def _kept(self, directory: str) -> tuple[bool, tuple[bool, ...]]:
        missing = []
        while directory and directory not in self._known:
            missing.append(directory)
            directory = directory.rpartition("/")[0]
        answer = self._known[directory] if directory else (False, ())
        if len(self._known) > _MOST_KEPT:
            self._known.clear()
        for one_ in reversed(missing):
            answer = self._known[one_] = self._answer(one_, answer[1])
        return answer

    def _answer(self, path: str, above: tuple[bool, ...]) -> tuple[bool, tuple[bool, ...]]:
        """Whether it is left out, and for each pattern whether it has matched here or above; `above`: the same of its directory.

        A pattern that would change nothing is not tried and has not matched, which matters below: so it is in moby's.
        """
        excluded, matched = False, []
        for number, pattern in enumerate(self._patterns):
            match = bool(above) and above[number]
            match = match or (pattern.exclusion == excluded and pattern.match(path))
            matched.append(match)
            if match:
                excluded = not pattern.exclusion
        return excluded, tuple(matched)


def _pattern(line: str) -> Pattern | None:
    """A line of the file; None for an empty one or a comment. Raises ValueError."""
    text = "" if line.startswith("#") else line.strip()
    if not text:
        return None
    exclusion = text.startswith("!")
    if exclusion:
        text = text[1:].strip()
        if not text:
            raise ValueError("there is nothing behind the !")
    text = posixpath.normpath(re.sub("/+", "/", text))
    if len(text) > 1:
        text = text.removeprefix("/")
    return Pattern(match=_matcher(text), exclusion=exclusion, parts=tuple(text.split("/")))


def _matcher(text: str) -> Callable[[str], bool]:
    """What a clean pattern matches: as written where nothing in it is special; "a/**" by how it begins, "**/a" by how it ends.

    The exceptions are moby's: "**a" matches "xa", which it would not if it were read as all others.
    """
    whole = _glob(text)
    rest = text.replace("**", "", 1)
    if not _SPECIAL.search(text) and "]" not in text:
        return text.__eq__
    if not _SPECIAL.search(rest) and "]" not in rest:
        if text.startswith("**"):
            end = text[2:]
            return lambda path: path.endswith(end) or (end.startswith("/") and path == end[1:])
        if text.endswith("**"):
            begin = text[:-2]
            return lambda path: path.startswith(begin)
    return whole.matches


def _glob(text: str) -> Glob:
    made, left = Glob(), Letters(text)
    for letter in left:
        if letter != "*":
            made.text(one(letter, left))
        elif not left.skip("*"):
            made.gap(WITHIN)
        else:
            left.skip("/")  # "**/" is "**"
            made.gap(ANYTHING if left.is_at_end else DIRECTORIES)
    return made
