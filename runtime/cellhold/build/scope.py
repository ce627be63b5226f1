"""The variables of a stage: environment (ENV) and build arguments (ARG).

ENV sees them as they were before it: in `ENV a=1 b=$a`, b has the a of before. ENV
beats ARG wherever it stands, as the reference says; BuildKit itself lets an ARG that
follows win.
"""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from cellhold.build import predefined
from cellhold.build.lexer import Budget, Lexer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.build.instruction import Instruction
    from cellhold.build.stages import Stage
    from cellhold.image.platform import Platform

_EXPANDED = frozenset(("ADD", "COPY", "ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"))
_COPIES = ("ADD", "COPY")
_NAMED = ("ENV", "LABEL")
_TRIPLE = 3


@dataclass(kw_only=True)
class Scope:
    """The variables of one stage.

    base_env: of the image that the stage begins with.
    build_args: of --build-arg.
    platform: what is built for.
    inherited_args: the `args` of the stage that this one is built on.
    escape: the Dockerfile's.
    budget: that of the whole build.
    env: the image's environment so far.
    args: the declared arguments, in order; None: declared, and without a value.
    """

    stage: Stage
    base_env: Mapping[str, str]
    build_args: Mapping[str, str]
    platform: Platform
    inherited_args: Mapping[str, str | None] = field(default_factory=lambda: MappingProxyType({}))
    escape: str = "\\"
    budget: Budget = field(default_factory=Budget)
    env: dict[str, str] = field(init=False)
    args: dict[str, str | None] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with the variables of the base."""
        self.env = dict(self.base_env)
        self.args = dict(self.inherited_args)
        self._given = {name: value for name, value in self.args.items() if value is not None}
        self._inherited = ChainMap(dict(self.stage.global_args), dict(predefined.platforms(self.platform, self.build_args)))

    @property
    def variables(self) -> Mapping[str, str]:
        """All variables that an instruction can name now.

        A Dockerfile may have thousands of both kinds.
        """
        return ChainMap(self.env, self._given)

    def expand(self, instruction: Instruction) -> Instruction:
        """Replace the variables of an instruction, and remove its quotes.

        This is done for the instructions where Docker does: RUN, CMD, ENTRYPOINT,
        SHELL, HEALTHCHECK and ONBUILD are unchanged. The words of ARG become
        NAME=VALUE, or NAME if it has no value. Raises InvalidSpec.
        """
        if instruction.keyword == "ARG":
            return replace(instruction, words=self._arguments(instruction))
        if instruction.keyword not in _EXPANDED:
            return instruction
        lexer = Lexer(variables=self.variables, escape=self.escape, budget=self.budget)
        heredocs = tuple(replace(one, content=lexer.body(one.content, instruction)) if one.expand else one for one in instruction.heredocs)
        flags = {
            name: values if name == "from" else tuple(lexer.word(value, instruction) for value in values)
            for name, values in instruction.flags.items()
        }
        made = replace(instruction, words=_words(instruction, lexer), flags=MappingProxyType(flags), heredocs=heredocs)
        if made.keyword in _NAMED and not all(name for name, _ in made.pairs):
            raise made.refused(f"a name in {made.keyword} is empty once its variables have been replaced")
        return made

    def take(self, instruction: Instruction) -> None:
        """Record an expanded ARG or ENV; other instructions change nothing."""
        if instruction.keyword == "ENV":
            self.env.update(instruction.pairs)
        elif instruction.keyword == "ARG":
            for word in instruction.words:
                name, equals, value = word.partition("=")
                self.args[name] = value if equals else self.args.get(name)
                if equals:
                    self._given[name] = value

    @property
    def run_env(self) -> dict[str, str]:
        """What a program of RUN has in its environment."""
        proxies = {name: value for name, value in self.build_args.items() if name in predefined.PROXIES}
        return {**proxies, **self.variables}

    @property
    def run_key(self) -> tuple[str, ...]:
        """NAME=VALUE of each declared argument.

        RUN depends on them beside the image, and its history begins with them.
        """
        return tuple(f"{name}={self.env.get(name, value or '')}" for name, value in self.args.items())

    def _arguments(self, instruction: Instruction) -> tuple[str, ...]:
        """Declare arguments, one after the other.

        In `ARG a=1 b=$a`, b is 1. A default that is not used is not expanded.
        """
        new: dict[str, str] = {}
        lexer = Lexer(variables=ChainMap(self.env, new, self._given), escape=self.escape, budget=self.budget)
        words = []
        for word in instruction.words:
            name, equals, default = word.partition("=")
            if name in self.build_args:
                new[name] = self.build_args[name]
            elif equals:
                new[name] = lexer.word(default, instruction)
            elif name in self._inherited:
                new[name] = self._inherited[name]
            words.append(f"{name}={new[name]}" if name in new else name)
        return tuple(words)


def _words(instruction: Instruction, lexer: Lexer) -> tuple[str, ...]:
    words = instruction.words
    if instruction.keyword in _NAMED:
        return tuple(word if index % _TRIPLE == _TRIPLE - 1 else lexer.word(word, instruction) for index, word in enumerate(words))
    if instruction.keyword == "EXPOSE":  # the only one that takes a variable for several words
        return tuple(one for word in words for one in lexer.words(word, instruction))
    if instruction.keyword in _COPIES:
        return tuple(word if instruction.heredoc(word) else lexer.word(word, instruction) for word in words)
    return tuple(lexer.word(word, instruction) for word in words)
