"""Patterns for names and paths.

They are matched in a time that grows with the pattern times the name, and no faster. A
regular expression of Python's tries each way to share a name out among the stars of
`*a*a*a*ab`: hours, for one file. A pattern here is a row of parts, each a gap and a
text of a fixed length that follows it; the places where the texts can end are found one
text after the other, each once.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterator

    Spans = list[tuple[int, int]]  # of places in a name, both ends included, in order

LONGEST = 4096  # characters: no path is longer (PATH_MAX)
NOTHING, WITHIN, ANYTHING, DIRECTORIES = "", "[^/]*", ".*", "(.*/)?"  # the gaps, as regular expressions have them
_ONE = "[^/]"
_SLASH = re.compile("/")


class _Part:
    """A gap, and the text behind it. crosses: the text may have a slash in it."""

    def __init__(self, gap: str) -> None:
        """Begin with an empty text behind the gap."""
        self.gap = gap
        self.characters: list[str] = []
        self.crosses = False

    def close(self) -> None:
        """Complete the text: nothing is appended to it any more."""
        self.length = len(self.characters)
        self.expression = re.compile("".join(self.characters), re.DOTALL)
        self.crosses = any(re.fullmatch(one, "/", re.DOTALL) for one in self.characters)


class Glob:
    """gap(), text(): what the pattern has, in its order; then matches()."""

    def __init__(self) -> None:
        """Make the empty pattern, which matches the empty name."""
        self._parts = [_Part(NOTHING)]
        self._least = -1

    def gap(self, gap: str) -> None:
        """Append a gap."""
        self._parts.append(_Part(gap))

    def text(self, one: str) -> None:
        """Append a regular expression for one character."""
        self._parts[-1].characters.append(one)

    def matches(self, name: str) -> bool:
        """Return whether all of the name fits."""
        if self._least < 0:
            for part in self._parts:
                part.close()
            self._least = sum(part.length for part in self._parts)
        last = self._parts[-1]
        if len(name) < self._least or last.expression.match(name, len(name) - last.length) is None:
            return False
        spans = [(0, 0)]
        for part, after in zip(self._parts, [*self._parts[1:], None], strict=True):
            spans = _widened(part.gap, spans, name)
            if after is None:
                return any(start <= len(name) - part.length <= end for start, end in spans)
            if part.length:
                spans = _merged([(place + part.length,) * 2 for place in _places(part, spans, name, after.gap)])
            if not spans:
                break
        return False


def _widened(gap: str, spans: Spans, name: str) -> Spans:
    """Return the places behind a gap that begins at one of `spans`."""
    first = spans[0][0]
    if gap == NOTHING:
        return spans
    if gap == ANYTHING:
        return [(first, len(name))]
    if gap == DIRECTORIES:
        slashes = ((place.end(), place.end()) for place in _SLASH.finditer(name, first))
        return _merged(sorted([*spans, *slashes]))
    found: Spans = []
    for start, end in spans:
        if not found or end > found[-1][1]:
            slash = name.find("/", end)
            found.append((start, len(name) if slash < 0 else slash))
    return _merged(found)


def _merged(spans: Spans) -> Spans:
    found: Spans = []
    for start, end in spans:
        if found and start <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _places(part: _Part, spans: Spans, name: str, after: str) -> Iterator[int]:
    """Yield where the text of a part begins; after: the gap behind it.

    If that is a star, the first place in a directory is enough: what is behind the
    others is behind that one, too.
    """  # one sentence
    for start, end in spans:
        place = start
        while (found := part.expression.search(name, place, end + part.length)) is not None:
            yield found.start()
            place = found.start() + 1
            if after == ANYTHING:
                return
            if after == WITHIN and not part.crosses:
                slash = name.find("/", place)
                if slash < 0:
                    return
                place = slash


def name_pattern(pattern: str) -> Glob:
    """Parse one component of a pattern, in the syntax of Go's filepath.Match.

    That is * ? [a-z] [^a] and a backslash before any of them. Raises ValueError.
    """
    made, left = Glob(), Letters(pattern)
    for letter in left:
        if letter == "*":
            made.gap(WITHIN)
        else:
            made.text(one(letter, left))
    return made


class Letters:
    """The characters of a pattern, one after the other."""

    def __init__(self, pattern: str) -> None:
        """Take the pattern. Raises ValueError if it is too long for any path."""
        if len(pattern) > LONGEST:
            raise ValueError(f"its {len(pattern)} characters are more than {LONGEST}")
        self._pattern = pattern
        self._at = 0

    def __iter__(self) -> Iterator[str]:
        """Yield the remaining letters; those that are taken meanwhile are skipped."""
        while self._at < len(self._pattern):
            yield self.take()

    def take(self) -> str:
        """Return the next letter. Raises ValueError at the end."""
        if self._at >= len(self._pattern):
            raise ValueError("it ends too early")
        self._at += 1
        return self._pattern[self._at - 1]

    def skip(self, letter: str) -> bool:
        """Take the letter if it is next; return whether it was."""
        has = self._pattern[self._at : self._at + 1] == letter
        self._at += has
        return has

    @property
    def is_at_end(self) -> bool:
        """Whether no letter is left."""
        return self._at >= len(self._pattern)


def one(letter: str, left: Letters) -> str:
    """Return the regular expression for one character: of ? a class, or itself.

    What more belongs to it is taken. Raises ValueError.
    """
    if letter == "?":
        return _ONE
    if letter == "[":
        return _class(left)
    return re.escape(left.take() if letter == "\\" else letter)


def _class(left: Letters) -> str:
    """Return the rest of a class: [^]RANGE...].

    A range is LETTER or LETTER-LETTER (filepath.Match).
    """
    made = "[^" if left.skip("^") else "["
    first = True
    while first or not left.skip("]"):
        low = high = _of_class(left)
        if left.skip("-"):
            high = _of_class(left)
        if low > high:
            raise ValueError(f"the range {low}-{high} is empty")
        made += f"{re.escape(low)}-{re.escape(high)}"
        first = False
    return made + "]"


def _of_class(left: Letters) -> str:
    if left.is_at_end:
        raise ValueError("a '[' is not closed")
    letter = left.take()
    if letter in "]-":
        raise ValueError("a '[' is not closed, or a range in it has no end")
    letter = left.take() if letter == "\\" else letter
    if left.is_at_end:
        raise ValueError("a '[' is not closed")
    return letter
