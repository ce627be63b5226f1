"""What .dockerignore keeps out of a build, by a port of moby's patternmatcher: the last pattern that matches decides.

A pattern that matches a directory matches all below it. Walking, and which file is read, are not its business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from e2b_dockerfile_utils import PatternMatcher

from cellhold.build.instruction import refused

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_KEPT = 10_000  # directories; a walk needs those between the root and where it is


class Ignore(PatternMatcher):
    """patterns: the lines of the file `name`. Paths are relative to the context and clean, as a/b. Raises InvalidSpec.

    The answer for a directory is kept, pattern by pattern, for what lies in it: `matches` begins at the root for each path.
    """

    def __init__(self, patterns: Iterable[str] = (), *, name: str = ".dockerignore") -> None:
        lines = list(patterns)
        for number, line in enumerate(lines, 1):
            _check(line, number, name)
        super().__init__(lines)
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
        return self.may_match_under(path)

    def _kept(self, directory: str) -> tuple[bool, tuple[bool, ...]]:
        missing = []
        while directory and directory not in self._known:
            missing.append(directory)
            directory = directory.rpartition("/")[0]
        answer = self._known[directory] if directory else (False, ())
        if len(self._known) > _MOST_KEPT:
            self._known.clear()
        for one in reversed(missing):
            answer = self._known[one] = self._answer(one, answer[1])
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


def _check(line: str, number: int, name: str) -> None:
    try:
        PatternMatcher([line])
    except ValueError as error:
        raise refused(name, (number, number), line, str(error).rpartition(": ")[2]) from None
