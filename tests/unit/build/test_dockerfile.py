"""A Dockerfile, read: instructions with their lines, flags and heredocs; each complaint quotes the line that it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cellhold.build import dockerfile
from cellhold.build.instruction import Heredoc
from cellhold.errors import InvalidSpec

if TYPE_CHECKING:
    from cellhold.build.instruction import Instruction


def read(text: str) -> tuple[Instruction, ...]:
    return dockerfile.read(text, "Dockerfile").instructions


def second(line: str) -> Instruction:
    return read(f"FROM scratch\n{line}\n")[1]


def complaint(text: str) -> InvalidSpec:
    with pytest.raises(InvalidSpec) as refused:
        dockerfile.read(text, "Dockerfile")
    assert str(refused.value).isprintable()
    return refused.value


def test_instructions_know_their_lines_and_their_text() -> None:
    _, run, copy = read("FROM scratch\n\n# a comment\nrun one && \\\n  # inside\n  two\nCOPY a b\n")
    assert (run.keyword, run.line, run.end_line, run.words) == ("RUN", 4, 6, ("one &&   two",))
    assert run.text == "run one && \\\n  # inside\n  two"
    assert (copy.line, copy.end_line) == (7, 7)


@pytest.mark.parametrize(
    ("line", "words", "is_json"),
    [
        ("CMD echo hi", ("echo hi",), False),
        ('CMD ["echo", "hi"]', ("echo", "hi"), True),
        ("CMD []", (), True),
        ("CMD ['echo']", ("['echo']",), False),
        ('CMD ["echo"] # no comment', ('["echo"] # no comment',), False),
        ('RUN ["a", "\\ud83d\\ude00\\ud800"]', ("a", "\N{GRINNING FACE}\N{REPLACEMENT CHARACTER}"), True),
        ('ENV A="x y" B=z', ("A", '"x y"', "=", "B", "z", "="), False),
        ("ENV A x  y", ("A", "x  y", ""), False),
        ("LABEL a.b=c", ("a.b", "c", "="), False),
        ("ARG A B=c", ("A", "B=c"), False),
        ("EXPOSE 80 53/udp", ("80", "53/udp"), False),
        ('VOLUME ["/a b"]', ("/a b",), True),
        ("VOLUME /a /b", ("/a", "/b"), False),
        ('COPY ["a b", "/c/"]', ("a b", "/c/"), True),
        ("USER  a:b ", ("a:b",), False),
        ("ONBUILD  run  x", ("run  x",), False),
        ("HEALTHCHECK NONE", ("NONE",), False),
        ('HEALTHCHECK CMD ["a"]', ("CMD", "a"), True),
    ],
)
def test_words_are_those_of_buildkits_parser(line: str, words: tuple[str, ...], is_json: bool) -> None:  # noqa: FBT001  # what is expected
    found = second(line)
    assert (found.words, found.is_json) == (words, is_json)


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("COPY --from=a --chown=1:2 --chmod=644 --link x y", {"from": "a", "chown": "1:2", "chmod": "644", "link": "true"}),
        ("COPY --link=false x y", {}),
        ('ADD --chown="a b" x y', {"chown": "a b"}),
        ("RUN --network=none x", {"network": "none"}),
        ("RUN --network=default x", {"network": "default"}),
        ("HEALTHCHECK --interval=5s --retries=3 CMD --x", {"interval": "5s", "retries": "3"}),
    ],
)
def test_flags_have_names_and_values(line: str, flags: dict[str, str]) -> None:
    found = second(line)
    assert {name: found.flag(name) for name in found.flags} == flags


def test_heredocs_keep_their_text_and_say_whether_variables_in_it_count() -> None:
    copy = second('COPY <<-ONE <<"TWO" plain /d/\n\ta $x\n\tONE\n\tb\nTWO')
    one, two = Heredoc(name="ONE", content="a $x\n", expand=True), Heredoc(name="TWO", content="\tb\n", expand=False)
    assert copy.heredocs == (one, two)
    assert copy.sources == (one, two, "plain")
    assert copy.destination == "/d/"
    assert (copy.line, copy.end_line) == (2, 6)


def test_the_escape_character_of_the_file_is_obeyed() -> None:
    made = dockerfile.read("# escape=`\nFROM scratch\nRUN a `\n b c:\\\n", "Dockerfile")
    assert made.escape == "`"
    assert made.instructions[1].words == ("a  b c:\\",)


def test_windows_line_ends_and_a_byte_order_mark_are_nothing() -> None:
    made = dockerfile.read("\ufeff# syntax=docker/dockerfile:1.7-labs\r\nFROM scratch\r\nRUN a\r\n", "Dockerfile")
    assert [one.text for one in made.instructions] == ["FROM scratch", "RUN a"]


@pytest.mark.parametrize(
    ("text", "sentence", "hint"),
    [
        ("", "cannot use Dockerfile: it has no instruction", "FROM"),
        ("# only this\n", "it has no instruction", "FROM"),
        ("RUN x", "cannot use line 1 of Dockerfile, 'RUN x': there is no FROM before it", "FROM"),
        ("ARG A\n", "there is no FROM in the file", "FROM"),
        ("FROM a\n\nRNU x", "cannot use line 3 of Dockerfile, 'RNU x': there is no instruction RNU", "did you mean RUN?"),
        ("FROM a\nRUN a &&\n  make x\n", "cannot use line 3 of Dockerfile, 'make x': there is no instruction make", "backslash"),
        ("FROM", "FROM needs the name of an image", "AS NAME"),
        ("FROM a b", "FROM takes one word, or three with AS, not 2", "AS NAME"),
        ("FROM a is b", "FROM takes one word, or three with AS, not 3", "AS NAME"),
        ("FROM a\nCOPY x", "COPY needs a source and a destination", "COPY SOURCE... DESTINATION"),
        ("FROM a\nADD x", "ADD needs a source and a destination", "ADD SOURCE... DESTINATION"),
        ("FROM a\nCOPY x <<E\nE", "lines 2 to 3 of Dockerfile, 'COPY x <<E': a heredoc cannot be the destination", "COPY SOURCE"),
        ("FROM a\nRUN", "RUN needs at least one word", "RUN COMMAND"),
        ("FROM a\nRUN []", "RUN needs at least one word", "RUN COMMAND"),
        ("FROM a\nENV A", "ENV must have two arguments", "ENV NAME=VALUE"),
        ("FROM a\nENV A=b c", 'can\'t find = in "c"', "ENV NAME=VALUE"),
        ("FROM a\nENV =b", "a name in ENV is empty", "ENV NAME=VALUE"),
        ("FROM a\nLABEL", "LABEL needs a name and a value", "LABEL NAME=VALUE"),
        ("FROM a\nARG =b", "a name in ARG is empty", "ARG NAME"),
        ("FROM a\nSHELL /bin/sh -c", "SHELL takes a list in JSON", 'SHELL ["PROGRAM"'),
        ("FROM a\nSHELL []", "SHELL takes a list in JSON", 'SHELL ["PROGRAM"'),
        ('FROM a\nVOLUME [""]', "a directory in VOLUME is empty", "VOLUME DIRECTORY"),
        ("FROM a\nWORKDIR", "WORKDIR needs at least one word", "WORKDIR DIRECTORY"),
        ("FROM a\nHEALTHCHECK", "HEALTHCHECK needs CMD or NONE", "HEALTHCHECK CMD"),
        ("FROM a\nHEALTHCHECK RUN x", "HEALTHCHECK RUN is not known", "HEALTHCHECK CMD"),
        ("FROM a\nHEALTHCHECK CMD", "HEALTHCHECK CMD needs a command", "HEALTHCHECK CMD"),
        ("FROM a\nHEALTHCHECK NONE x", "HEALTHCHECK NONE takes no more words", "HEALTHCHECK NONE"),
        ("FROM a\nCMD [1]", "Only strings are supported in JSON arrays", "CMD COMMAND"),
        ('FROM a\nCMD ["\\u0000"]', "a NUL can be in no text", None),
        ("FROM a\nRUN a\0b", "a NUL can be in no text", None),
        ("FROM a\nRUN <<E\nx", "cannot use line 2 of Dockerfile, 'RUN <<E': unterminated heredoc", None),
        ("FROM a\nCOPY --frm=x a b", "COPY has no flag --frm", "did you mean --from?"),
        ("FROM a\nCMD --help", "CMD has no flags, --help", None),
        ("FROM a\nCOPY --from a b", "--from has no value", "--from=VALUE"),
        ("FROM a\nCOPY --from=x --from=y a b", "--from is there twice", None),
        ("FROM a\nCOPY --from=$x a b", "variables are not replaced in --from", "FROM $IMAGE AS"),
        ("FROM a\nCOPY --link=maybe a b", "--link is on or off, not 'maybe'", "--link=true"),
        ("FROM a\nCOPY --parents a b", "COPY --parents is not supported yet", None),
        ("FROM a\nCOPY --exclude=x a b", "COPY --exclude is not supported yet", None),
        ("FROM a\nRUN --mount=type=cache,target=/x a", "RUN --mount is not supported yet", None),
        ("FROM a\nRUN --security=insecure a", "RUN --security is not supported yet", None),
        ("FROM a\nRUN --network=host a", "RUN --network=host is not supported yet", "none"),
        ("FROM a\nONBUILD", "ONBUILD needs at least one word", "ONBUILD INSTRUCTION"),
        ("FROM a\nONBUILD FROM b", "'ONBUILD FROM b': ONBUILD can keep no FROM", None),
        ("FROM a\nONBUILD onbuild RUN b", "ONBUILD can keep no ONBUILD", None),
        ("FROM a\nONBUILD MAINTAINER b", "ONBUILD can keep no MAINTAINER", None),
        ("FROM a\nONBUILD RNU b", "what ONBUILD keeps is wrong: unknown instruction: RNU", None),
        ("FROM a\nONBUILD COPY b", "'ONBUILD COPY b': COPY needs a source and a destination", "COPY SOURCE"),
        ("FROM a\nONBUILD RUN <<E\nmake\nE", "line 2 of Dockerfile, 'ONBUILD RUN <<E': heredocs in ONBUILD are not supported yet", None),
        ("# escape=\\\n# escape=`\nFROM a", "line 2 of Dockerfile, '# escape=`': only one escape parser directive can be used", None),
        ("# escape=x\nFROM a", "invalid escape token 'x'", None),
        ("# syntax=somebody/language\nFROM a", "it asks for another language than Dockerfile's", "docker/dockerfile:1"),
        ("FROM a\nRUN " + "x" * 70_000, "its 70004 characters are more than 65535", None),
        ("FROM a\n\x1b[31m x", "'\\x1b[31m x': there is no instruction", "backslash"),
        ("FROM a\nCMD " + "[" * 60_000, "is nested too deeply", None),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, sentence: str, hint: str | None) -> None:
    error = complaint(text)
    assert sentence in str(error)
    assert (hint in str(error.hint)) if hint else error.hint is None


def test_a_line_can_be_refused_later_too() -> None:
    made = dockerfile.read("FROM scratch\nCOPY a \\\n  b /c\n", "sub/Dockerfile")
    error = made.refused(made.instructions[1], "a is not there", "is it spelt right?")
    assert str(error) == "cannot use lines 2 to 3 of sub/Dockerfile, 'COPY a \\\\': a is not there"
    assert error.hint == "is it spelt right?"


def test_what_an_image_has_kept_with_onbuild_is_read_like_a_dockerfile() -> None:
    made = dockerfile.triggers(["RUN make", "COPY <<E /x\ny\nE", "ARG A=1"], "ONBUILD of lab/base")
    assert [one.keyword for one in made.instructions] == ["RUN", "COPY", "ARG"]
    assert made.instructions[1].heredocs[0].content == "y\n"
    for text in ("FROM evil", "ONBUILD RUN x", "RUN a\nFROM evil"):
        with pytest.raises(InvalidSpec, match=r"of ONBUILD of lab/base, .*: ONBUILD can keep no"):
            dockerfile.triggers([text], "ONBUILD of lab/base")
