""".dockerignore: what is left out of a build, as moby's patternmatcher does it.

The last pattern that matches decides. A pattern that matches a directory matches all
below it. Walking, and choosing the file to read, are done elsewhere.
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
    """One line of a .dockerignore.

    match: called with a path.
    exclusion: the line begins with !, and includes again what other lines leave out.
    parts: its components.
    """

    match: Callable[[str], bool]
    exclusion: bool
    parts: tuple[str, ...]

    def may_match_under(self, directory: tuple[str, ...]) -> bool:
        """Return whether the pattern may match something below a directory.

        This is judged by its components without a star.
        """
        for part, name in zip(self.parts, directory, strict=False):
            if "**" in part:
                return True
            if not _SPECIAL.search(part) and part != name:
                return False
        return len(self.parts) > len(directory)


class Ignore:
    """The patterns of a .dockerignore.

    patterns: the lines of the file `name`.
    Paths are relative to the context and clean, as a/b. The answer for a directory is
    kept, pattern by pattern, for what lies in it. Raises InvalidSpec.
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
        """Parse the .dockerignore that reads `text`."""
        return cls((line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")), name=name)

    def excludes(self, path: str) -> bool:
        """Return whether a path is left out."""
        directory, slash, _ = path.rpartition("/")
        return self._answer(path, self._answer_for_directory(directory)[1] if slash else ())[0]

    def may_reinclude_under(self, path: str) -> bool:
        """Return whether an excluded directory has to be walked all the same.

        It has if a pattern with ! may match below it.
        """
        directory = tuple(path.split("/"))
        return any(pattern.exclusion and pattern.may_match_under(directory) for pattern in self._patterns)

    def _answer_for_directory(self, directory: str) -> tuple[bool, tuple[bool, ...]]:
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
        """Return whether a path is left out, and which patterns have matched.

        For each pattern, it says whether it has matched here or above; `above`: the
        same for its directory. A pattern that would change nothing is not tried and has
        not matched, which matters below: so it is in moby's.
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
    """Parse a line; None for an empty one or a comment. Raises ValueError."""
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
    """Return a function that tells whether a path matches a clean pattern.

    A pattern without special characters is compared as written; "a/**" by how a path
    begins, "**/a" by how it ends. The exceptions are moby's: "**a" matches "xa", which
    it would not if it were read as all others.
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
