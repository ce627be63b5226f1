"""Words of a Dockerfile, their variables replaced and their quotes removed.

Escapes are removed too; a port of BuildKit's lexer does it. Which words, and which
variables there are, is decided in scope.py and stages.py. The port's own way with
patterns takes a time that grows with any power of a value's length, so that `${...}` is
read here (wildcards.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from e2b_dockerfile_utils.lexer import _Scanner, _ShellWord

from cellhold.build.wildcards import Wildcard, trimmed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellhold.build.instruction import Instruction

_T = TypeVar("_T")

MOST_CHARACTERS = 16 << 20  # an ENV that doubles itself in each line would need all memory
_DEEPEST = 50  # ${a:-${b:-...}}
_TOO_MANY = f"with its variables replaced it may have more than {MOST_CHARACTERS} characters"


class Budget:
    """How many characters of variables may still be inserted in one Dockerfile.

    All lines share it, since a line with twice the value of the line before it doubles
    what all of them take.
    """

    def __init__(self) -> None:
        """Start with the whole budget."""
        self.left = MOST_CHARACTERS

    def spend(self, count: int) -> None:
        """Take from the budget. Raises ValueError if too little is left."""
        self.left -= count
        if self.left < 0:
            raise ValueError(_TOO_MANY)


@dataclass(frozen=True, kw_only=True)
class Lexer:
    """Expands words.

    variables: the defined ones; others are empty.
    escape: the Dockerfile's escape character.
    """

    variables: Mapping[str, str]
    escape: str = "\\"
    budget: Budget = field(default_factory=Budget)

    def word(self, text: str, instruction: Instruction) -> str:
        """Expand `text` to one word. Raises InvalidSpec with the instruction's line."""
        return self._read(text, instruction, lambda word: word.process_stop_on(None, False)[0])

    def words(self, text: str, instruction: Instruction) -> list[str]:
        """Expand `text`, and split it into words after its variables are replaced."""
        return self._read(text, instruction, lambda word: word.process_stop_on(None, False)[1])

    def body(self, text: str, instruction: Instruction) -> str:
        """Expand a heredoc's content.

        Quotes mean nothing in it, and a backslash is its escape whatever the
        Dockerfile's is.
        """
        return self._read(text, instruction, lambda word: word.process_stop_on(None, False)[0], is_body=True)

    def _read(self, text: str, instruction: Instruction, process: Callable[[_Word], _T], *, is_body: bool = False) -> _T:
        try:
            return process(_Word(text, "\\" if is_body else self.escape, self.variables, self.budget, has_quotes=not is_body))
        except ValueError as error:
            raise instruction.refused(str(error).removeprefix("syntax error: ")) from None


class _Word(_ShellWord):
    """A word while it is read."""

    def __init__(self, text: str, escape: str, variables: Mapping[str, str], budget: Budget, *, has_quotes: bool) -> None:
        super().__init__(_Scanner(text), escape, False, False, not has_quotes, variables, False)
        self._budget = budget
        self._depth = 0

    def process_stop_on(self, stop_char: str | None, raw_escapes: bool) -> tuple[str, list[str]]:  # noqa: FBT001  # the port's
        """Process a word as the port does, with a bounded depth of nesting."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f"its substitutions are nested more than {_DEEPEST - 1} deep")
        try:
            return super().process_stop_on(stop_char, raw_escapes)
        finally:
            self._depth -= 1

    def _process_dollar(self) -> str:
        self._scanner.next()
        if self._scanner.peek() != "{":
            name = self._process_name()
            return self._value(name) or "" if name else "$"
        self._scanner.next()
        if self._scanner.peek() in ("{", "}", ":"):
            raise ValueError("bad substitution")
        name, modifier = self._process_name(), self._scanner.next()
        if modifier == "}":
            return self._value(name) or ""
        if modifier == "/":
            return self._replaced(name)
        if_empty = modifier == ":"
        if if_empty:
            modifier = self._scanner.next()
        if modifier is None:
            raise ValueError("missing '}'")
        if modifier not in ("-+?" if if_empty else "-+?#%"):
            raise ValueError(f"unsupported modifier ({':' * if_empty}{modifier}) in substitution")
        word = self._process_stop_on_or_missing_brace("}", modifier in "#%")
        return self._modified(name, modifier, word, if_empty=if_empty)

    def _value(self, name: str) -> str | None:
        value = self._env.get(name)
        self._budget.spend(len(value or ""))
        return value

    def _modified(self, name: str, modifier: str, word: str, *, if_empty: bool) -> str:
        value = self._value(name)
        is_unset = value is None or (if_empty and not value)
        if modifier == "-":
            return word if is_unset else value or ""
        if modifier == "+":
            return "" if is_unset else word
        if modifier == "?":
            if is_unset:
                kind = "unset" if value is None else "empty"
                raise ValueError(f"{name}: {word or f'is not allowed to be {kind}'}")
            return value or ""
        greedy = word.startswith(modifier)
        return trimmed(value or "", word[1:] if greedy else word, greedy=greedy, at_end=modifier == "%")

    def _replaced(self, name: str) -> str:
        everywhere = self._scanner.peek() == "/"
        if everywhere:
            self._scanner.next()
        try:
            pattern = self.process_stop_on("/", True)[0]
        except ValueError:
            if self._scanner.peek() is None:
                raise ValueError("missing '/' in ${}") from None
            raise
        text = self._process_stop_on_or_missing_brace("}", True)
        wildcard, value = Wildcard.parse(pattern), self._value(name) or ""
        return wildcard.replaced(value, text, everywhere=everywhere, spend=self._budget.spend)
