"""One instruction of a Dockerfile, and the error that quotes its line.

What it does, and whether it makes sense, is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from e2b_dockerfile_utils import parse_heredoc

from cellhold.errors import InvalidSpec
from cellhold.image.fields import quote
from cellhold.spec import words

if TYPE_CHECKING:
    from collections.abc import Mapping

_TRIPLE = 3  # the parser's form of ENV and LABEL: name, value, and "=" or, in the old form, nothing


@dataclass(frozen=True, kw_only=True)
class Heredoc:
    """A text in the Dockerfile itself.

    content: without the tabs that <<- removes.
    expand: COPY and ADD replace variables in it.
    """

    name: str
    content: str
    expand: bool


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction.

    keyword: in upper case.
    words: as the parser returns them. The words of ONBUILD are one: the instruction
        that it keeps.
    flags: without --, each with its values in order.
    text: as in the file.
    line, end_line: the first is 1.
    origin: the file's name, for errors.
    """

    keyword: str
    words: tuple[str, ...]
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    is_json: bool = False
    heredocs: tuple[Heredoc, ...] = ()
    line: int
    end_line: int
    text: str
    origin: str = "Dockerfile"

    def flag(self, name: str) -> str | None:
        """Return the value of --name=VALUE; None if the flag is missing."""
        return self.flags[name][-1] if name in self.flags else None

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """ENV, LABEL: names and values."""
        return tuple(zip(self.words[::_TRIPLE], self.words[1::_TRIPLE], strict=True))

    @property
    def sources(self) -> tuple[str | Heredoc, ...]:
        """COPY, ADD: what is copied."""
        return tuple(self.heredoc(word) or word for word in self.words[:-1])

    @property
    def destination(self) -> str:
        """COPY, ADD: where to."""
        return self.words[-1]

    def heredoc(self, word: str) -> Heredoc | None:
        """Return the text that the word <<NAME stands for; None for an ordinary word."""
        marker = parse_heredoc(word) if self.heredocs and "<<" in word else None
        return next((one for one in self.heredocs if marker and one.name == marker.name), None)

    def refused(self, reason: str, hint: str | None = None) -> InvalidSpec:
        """Return the error that quotes the instruction's line."""
        return refused(self.origin, (self.line, self.end_line), self.text, reason, hint)


def refused(origin: str, lines: tuple[int, int], text: str, reason: str, hint: str | None = None) -> InvalidSpec:
    """Return the error for these lines of a file.

    lines: the first and the last; the first one reads `text`.
    """
    first, last = lines
    where = f"line {first}" if first == last else f"lines {first} to {last}"
    quoted = quote(text.partition("\n")[0].strip())
    return InvalidSpec(f"cannot use {where} of {_printable(origin)}, {quoted}: {_printable(reason)}", hint=hint)


def _printable(text: str) -> str:
    return words.printable(text)
