"""A Dockerfile as a list of instructions.

Any error in it is reported with its line, before anything is built. The grammar is
BuildKit's, read by a port of its parser. Stages, variables and what the instructions do
are handled elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from e2b_dockerfile_utils import DockerfileSyntaxError, chomp_heredoc_content, parse_dockerfile_ast, parse_words

from cellhold.build import flags, grammar
from cellhold.build.flags import FlagRefused
from cellhold.build.instruction import Heredoc, Instruction, refused
from cellhold.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from e2b_dockerfile_utils import DockerfileAst, DockerfileInstruction

MOST_CHARACTERS = 4 << 20
LONGEST_LINE = (64 << 10) - 1  # BuildKit's: the buffer of Go's scanner
MOST_INSTRUCTIONS = 20_000  # of a file, and of all triggers of an image
MOST_HEREDOCS = 1000  # of one instruction

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(\S+)\s*")
_COMMENTS = re.compile(r"\ufeff?(?:[ \t\v\f\r]*(?:#[^\n]*)?\n)*")
_BLANKS = re.compile(r"[ \t\v\f\r]{2,}(?!\n)")
_FRONTEND = re.compile(r"(?:(?:index\.|registry-1\.)?docker\.io/)?docker/dockerfile(?:-upstream)?(?:[:@]\S+)?")
_ONBUILD = re.compile(r"\s*ONBUILD\s*", re.IGNORECASE)
_ONBUILD_HEREDOC = re.compile(r"\s*ONBUILD\s+(?:RUN|COPY|ADD)\b.*<<", re.IGNORECASE)
_NO_TRIGGERS = ("FROM", "MAINTAINER", "ONBUILD")


@dataclass(frozen=True, kw_only=True)
class Dockerfile:
    """A parsed Dockerfile.

    name: of the file, for errors.
    lines: without their ends.
    escape: the character that its `# escape=` names, or a backslash.
    """

    name: str
    instructions: tuple[Instruction, ...]
    lines: tuple[str, ...]
    escape: str = "\\"

    def refused(self, instruction: Instruction, reason: str, hint: str | None = None) -> InvalidSpec:
        """Return the error for one of its instructions, with the line quoted."""
        return instruction.refused(reason, hint)


def read(text: str, name: str) -> Dockerfile:
    """Parse the Dockerfile that reads `text`. Raises InvalidSpec."""
    made = _read(text, name)
    if not made.instructions:
        raise InvalidSpec(f"cannot use {name}: it has no instruction", hint="a Dockerfile begins with FROM IMAGE")
    first = next((one for one in made.instructions if one.keyword != "ARG"), None)
    if first is None or first.keyword != "FROM":
        begins = first or made.instructions[0]
        raise begins.refused("there is no FROM before it" if first else "there is no FROM in the file", "begin with FROM IMAGE")
    return made


def triggers(texts: Iterable[str], name: str) -> Dockerfile:
    """Parse an image's OnBuild into instructions for the stage built on it.

    Errors call the image `name`. Raises InvalidSpec.
    """
    found = [_read(text, name) for text in texts]
    _check_count(sum(len(each.instructions) for each in found), name)
    made = Dockerfile(
        name=name,
        instructions=tuple(one for each in found for one in each.instructions),
        lines=tuple(one for each in found for one in each.lines),
    )
    for one in made.instructions:
        _check_trigger(one, one)
    return made


def _read(text: str, name: str) -> Dockerfile:
    lines = tuple(line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n"))
    _check_text(text, lines, name)
    ast = _parsed(text, lines, name)
    _check_count(len(ast.instructions), name)
    return Dockerfile(
        name=name,
        instructions=tuple(_instruction(found, ast, lines, name) for found in ast.instructions),
        lines=lines,
        escape=ast.escape_token,
    )


def _check_count(count: int, name: str) -> None:
    if count > MOST_INSTRUCTIONS:
        raise InvalidSpec(f"cannot use {name}: its {count} instructions are more than {MOST_INSTRUCTIONS}")


def _check_text(text: str, lines: tuple[str, ...], name: str) -> None:
    if len(text) > MOST_CHARACTERS:
        raise InvalidSpec(f"cannot use {name}: its {len(text)} characters are more than {MOST_CHARACTERS}")
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            raise refused(name, (number, number), line, f"its {len(line)} characters are more than {LONGEST_LINE}")
        if "\0" in line:
            raise refused(name, (number, number), line, "a NUL can be in no text")
    for number, line in enumerate(lines, 1):
        directive = _DIRECTIVE.fullmatch(line)
        if directive is None:
            return
        if directive[1].lower() == "syntax" and not _FRONTEND.fullmatch(directive[2]):
            raise refused(
                name, (number, number), line, "it asks for another language than Dockerfile's", "docker/dockerfile:1 is the usual one"
            )


def _parsed(text: str, lines: tuple[str, ...], name: str) -> DockerfileAst:
    try:
        return parse_dockerfile_ast(_thinned(text))
    except DockerfileSyntaxError as error:
        raise _complaint(error, lines, name) from None
    except RecursionError:
        raise InvalidSpec(f"cannot use {name}: a list in it is nested too deeply") from None


def _thinned(text: str) -> str:
    """Replace several blanks by one in the comments at the top.

    The parser looks for directives in them, and, if there are many blanks, takes a time
    that grows with their square.
    """
    end = _COMMENTS.match(text).end()  # type: ignore[union-attr]  # it matches nothing as well
    return _BLANKS.sub(" ", text[:end]) + text[end:]


def _complaint(error: DockerfileSyntaxError, lines: tuple[str, ...], name: str) -> InvalidSpec:
    number = error.line or 1
    line = lines[number - 1]
    reason = str(error).partition(": ")[2].removeprefix("Syntax error - ")
    word = (line.split() or [""])[0].upper()
    if not reason.startswith("unknown instruction"):
        hint = f"write {grammar.USAGE[word]}" if word in grammar.USAGE and "heredoc" not in reason else None
        return refused(name, (number, number), line, reason, hint)
    for before, earlier in enumerate(lines[: number - 1], 1):
        if _ONBUILD_HEREDOC.match(earlier):  # the parser takes its text for instructions
            return refused(name, (before, before), earlier, "heredocs in ONBUILD are not supported yet")
    near = get_close_matches(word, grammar.USAGE, n=1)
    hint = f"did you mean {near[0]}?" if near else "the end of a line before it may lack its backslash"
    return refused(name, (number, number), line, f"there is no instruction {reason.rpartition(': ')[2][:100]}", hint)


def _instruction(found: DockerfileInstruction, ast: DockerfileAst, lines: tuple[str, ...], name: str) -> Instruction:
    if len(found.heredocs) > MOST_HEREDOCS:
        lines_ = (found.start_line, found.end_line)
        reason = f"its {len(found.heredocs)} texts (<<NAME) are more than {MOST_HEREDOCS}"
        raise refused(name, lines_, lines[found.start_line - 1], reason)
    bare = Instruction(
        keyword=found.name,
        words=tuple(map(_sound, found.args)),
        is_json=found.json,
        heredocs=tuple(
            Heredoc(name=one.name, content=chomp_heredoc_content(one.content) if one.chomp else one.content, expand=one.expand)
            for one in found.heredocs
        ),
        line=found.start_line,
        end_line=found.end_line,
        text="\n".join(lines[found.start_line - 1 : found.end_line]),
        origin=name,
    )
    if found.name == "ONBUILD":
        bare = _onbuild(bare, found.original, ast.escape_token)
    made = _with_flags(bare, found.flags)
    grammar.check(made)
    return made


def _with_flags(bare: Instruction, given: list[str]) -> Instruction:
    try:
        parsed = flags.parse(bare.keyword, given)
    except FlagRefused as error:
        raise bare.refused(str(error), error.hint) from None
    return replace(bare, flags=parsed)


def _onbuild(bare: Instruction, original: str, escape: str) -> Instruction:
    """Check the instruction that ONBUILD keeps, and make it ONBUILD's only word."""
    kept = _ONBUILD.sub("", original, count=1).strip()
    if kept:
        if any("<<" in word for word in parse_words(kept, escape)) and _ONBUILD_HEREDOC.match(original):
            raise bare.refused("heredocs in ONBUILD are not supported yet")
        directive = "# escape=`\n" if escape == "`" else ""
        try:
            ast = parse_dockerfile_ast(directive + kept)
        except (DockerfileSyntaxError, RecursionError) as error:
            raise bare.refused(f"what ONBUILD keeps is wrong: {str(error).partition(': ')[2]}") from None
        for found in ast.instructions:
            trigger = replace(bare, keyword=found.name, words=tuple(map(_sound, found.args)), is_json=found.json)
            _check_trigger(trigger, bare)
            grammar.check(_with_flags(trigger, found.flags))
    return replace(bare, words=(kept,) if kept else ())


def _check_trigger(trigger: Instruction, kept_by: Instruction) -> None:
    if trigger.keyword in _NO_TRIGGERS:
        raise kept_by.refused(f"ONBUILD can keep no {trigger.keyword}")


def _sound(word: str) -> str:
    r"""Replace halves of a surrogate pair, which JSON can write as \\ud800.

    Go does the same: no system call would take them.
    """
    return word.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
