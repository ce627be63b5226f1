"""Words of a Dockerfile with their variables replaced and their quotes and escapes taken away, by a port of BuildKit's lexer.

Which words, and which variables there are, is scope.py's and stages.py's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from e2b_dockerfile_utils import ShellLex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellhold.build.instruction import Instruction

_T = TypeVar("_T")

MOST_CHARACTERS = 16 << 20  # an ENV that doubles itself in each line would need all memory


@dataclass(frozen=True, kw_only=True)
class Lexer:
    """variables: those there are; others are empty. escape: the Dockerfile's escape character."""

    variables: Mapping[str, str]
    escape: str = "\\"

    def word(self, text: str, instruction: Instruction) -> str:
        """`text` as one word. Raises InvalidSpec with the instruction's line."""
        lexer = ShellLex(self.escape, env=self.variables, skip_unset_env=False)
        return self._read(lexer.process_word, text, instruction)

    def words(self, text: str, instruction: Instruction) -> list[str]:
        """`text` as the words that it is after its variables have been replaced."""
        lexer = ShellLex(self.escape, env=self.variables, skip_unset_env=False)
        return self._read(lexer.process_words, text, instruction)

    def body(self, text: str, instruction: Instruction) -> str:
        """A heredoc's content: quotes mean nothing in it, and a backslash is its escape whatever the Dockerfile's is."""
        lexer = ShellLex("\\", env=self.variables, skip_unset_env=False, skip_process_quotes=True)
        return self._read(lexer.process_word, text, instruction)

    def _read(self, process: Callable[[str], _T], text: str, instruction: Instruction) -> _T:
        longest = max(map(len, self.variables.values()), default=0)
        if len(text) + text.count("$") * longest > MOST_CHARACTERS:
            raise instruction.refused(f"with its variables replaced it may have more than {MOST_CHARACTERS} characters")
        try:
            return process(text)
        except ValueError as error:
            raise instruction.refused(str(error).removeprefix(f"failed to process {text!r}: ").removeprefix("syntax error: ")) from None
