"""The patterns of ${name#pattern}, ${name%pattern} and ${name/pattern/text}.

They have * and ?, and are matched in the time that it takes to read the value. A
pattern is texts of a fixed length with stars between them. The leftmost place of each
text leaves most room for the next, so that none is looked for twice; a regular
expression would try all ways to share the value out among the stars.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_ESCAPED = "*?\\}/"  # the last two are part of ${...}


class Wildcard:
    """One pattern, in BuildKit's syntax.

    There are no brackets, and a backslash removes the meaning of *, ? and itself.
    """

    def __init__(self, texts: list[list[str]]) -> None:
        """Take the texts between the stars, as regular expressions per character."""
        self._texts = texts
        self._expressions = [re.compile("".join(text), re.DOTALL) for text in texts]
        self._backwards = re.compile("".join(reversed(texts[-1])), re.DOTALL)

    @classmethod
    def parse(cls, pattern: str) -> Self:
        """Parse a pattern. Raises ValueError."""
        texts: list[list[str]] = [[]]
        letters = iter(pattern)
        for letter in letters:
            if letter == "*":
                texts.append([])
            elif letter == "?":
                texts[-1].append(".")
            elif letter != "\\":
                texts[-1].append(re.escape(letter))
            elif (escaped := next(letters, "")) and escaped in _ESCAPED:
                texts[-1].append(re.escape(escaped))
            else:
                raise ValueError(f"invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")
        return cls(texts)

    def reversed(self) -> Self:
        """Return the pattern that fits what this one fits, read from its end."""
        return type(self)([text[::-1] for text in reversed(self._texts)])

    def end(self, value: str, start: int, *, greedy: bool) -> int | None:
        """Return where a match that begins at `start` ends; None if there is none.

        That is the latest possible end, or the earliest.
        """
        if self._expressions[0].match(value, start) is None:
            return None
        at = start + len(self._texts[0])
        for number, expression in enumerate(self._expressions[1:], 1):
            if greedy and number == len(self._expressions) - 1:
                return self._last(value, at)
            found = expression.search(value, at)
            if found is None:
                return None
            at = found.end()
        return at

    def _last(self, value: str, at: int) -> int | None:
        """Return the end of the last place of the last text, not before `at`."""
        found = self._backwards.search(value[at:][::-1])
        return None if found is None else len(value) - found.start()

    def replaced(self, value: str, text: str, *, everywhere: bool, spend: Callable[[int], object]) -> str:
        """Return the value with matches replaced by `text`.

        The longest match at the first place is replaced, or that at each place.
        spend: called with the number of characters that each takes; what it raises ends
            the replacing.
        """
        made: list[str] = []
        at = 0
        while (found := self._expressions[0].search(value, at)) is not None:
            end = self.end(value, found.start(), greedy=True)
            if end is None:
                break  # nor at a later place, where there is less behind it
            made += [value[at : found.start()], text]
            spend(len(text))
            made.append(value[end : end + 1] if end == found.start() else "")  # nothing is replaced once at each place
            at = end + (end == found.start())
            if not everywhere or at > len(value) or (at == len(value) and end > found.start()):
                break
        return "".join([*made, value[at:]])


def trimmed(value: str, pattern: str, *, greedy: bool, at_end: bool) -> str:
    """Return the value without what the pattern matches at its beginning or end.

    Raises ValueError.
    """
    wildcard = Wildcard.parse(pattern)
    if at_end:
        wildcard, value = wildcard.reversed(), value[::-1]
    end = wildcard.end(value, 0, greedy=greedy)
    left = value if end is None else value[end:]
    return left[::-1] if at_end else left
