"""Variables while a stage is built; the cases are those of BuildKit's reference and of its own tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cellhold.build import dockerfile, stages
from cellhold.build.scope import Scope
from cellhold.errors import InvalidSpec
from cellhold.image.platform import Platform

if TYPE_CHECKING:
    from cellhold.build.instruction import Instruction

AMD64 = Platform.parse("linux/amd64")


def scope(text: str, *, env: dict[str, str] | None = None, inherited: dict[str, str | None] | None = None, **build_args: str) -> Scope:
    """After all instructions of the first stage of `text`."""
    return performed(text, env=env, inherited=inherited, build_args=build_args)[0]


def performed(
    text: str,
    *,
    env: dict[str, str] | None = None,
    inherited: dict[str, str | None] | None = None,
    build_args: dict[str, str] | None = None,
) -> tuple[Scope, list[Instruction]]:
    file = dockerfile.read(text, "Dockerfile")
    stage = stages.plan(file, build_args or {}, AMD64, "0").target
    made = Scope(
        stage=stage, base_env=env or {}, build_args=build_args or {}, platform=AMD64, inherited_args=inherited or {}, escape=file.escape
    )
    done = []
    for instruction in stage.instructions:
        done.append(made.expand(instruction))
        made.take(done[-1])
    return made, done


def last(text: str, *, env: dict[str, str] | None = None, **build_args: str) -> Instruction:
    return performed(f"FROM scratch\n{text}", env=env, build_args=build_args)[1][-1]


def test_one_env_sees_the_variables_of_before() -> None:
    made = scope("FROM scratch\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc")
    assert made.env == {"abc": "bye", "def": "hello", "ghi": "bye"}


@pytest.mark.parametrize(
    ("text", "env"),
    [
        ('ENV A="x y" B=\'$C\' C="$X"', {"A": "x y", "B": "$C", "C": "was"}),
        ("ENV A=x\\ y B=\\$X", {"A": "x y", "B": "$X"}),
        ("ENV A x  y $X", {"A": "x  y was"}),
        ('ENV A "x" y', {"A": "x y"}),
        ("ENV A=", {"A": ""}),
        ("ENV A=a=b", {"A": "a=b"}),
        ("ENV A=${N} B=x${N}y C=$N-z", {"A": "", "B": "xy", "C": "-z"}),
        ("ENV A=${N:-d} B=${X:-d} C=${E:-d} D=${E-d}", {"A": "d", "B": "was", "C": "d", "D": ""}),
        ("ENV A=${N:+s} B=${X:+s} C=${E:+s} D=${E+s}", {"A": "", "B": "s", "C": "", "D": "s"}),
        ("ENV A=${N:-$X} B=${N:-${E:-deep}}", {"A": "was", "B": "deep"}),
        ("ENV A=${P#*/} B=${P##*/} C=${P%/*} D=${P%%/*}", {"A": "b/c", "B": "c", "C": "a/b", "D": "a"}),
        ("ENV A=${P/\\//-} B=${P//\\//-}", {"A": "a-b/c", "B": "a-b-c"}),
        ("ENV A=${X:?never} B=$$X", {"A": "was", "B": "X"}),
    ],
)
def test_substitution_and_quotes(text: str, env: dict[str, str]) -> None:
    base = {"X": "was", "E": "", "P": "a/b/c"}
    made = scope(f"FROM scratch\n{text}", env=base)
    assert {name: value for name, value in made.env.items() if name not in base} == env


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("COPY $A '$A' /$A/", ("1 2", "$A", "/1 2/")),
        ('COPY ["$A", "b c", "/"]', ("1 2", "b c", "/")),
        ("ADD ${A} \\$A", ("1 2", "$A")),
        ("EXPOSE $A 80/$P", ("1", "2", "80/udp")),
        ("LABEL $P=$A 'q r'=s", ("udp", "1 2", "=", "q r", "s", "=")),
        ("VOLUME /$P /x", ("/udp", "/x")),
        ("USER $P:$P", ("udp:udp",)),
        ("WORKDIR /a/$A", ("/a/1 2",)),
        ("STOPSIGNAL SIG$P", ("SIGudp",)),
        ("RUN echo $A", ("echo $A",)),
        ("CMD echo $A", ("echo $A",)),
        ('ENTRYPOINT ["$A"]', ("$A",)),
        ('SHELL ["$A"]', ("$A",)),
        ("HEALTHCHECK CMD $A", ("CMD", "$A")),
        ("ONBUILD RUN $A", ("RUN $A",)),
    ],
)
def test_each_instruction_has_its_variables_replaced_or_not(line: str, words: tuple[str, ...]) -> None:
    assert last(line, env={"A": "1 2", "P": "udp"}).words == words


def test_flags_are_expanded() -> None:
    found = last("ARG U=7\nCOPY --from=busybox --chown=$U:${G:-8} --chmod=$M a b", env={"M": "755"})
    assert (found.flag("chown"), found.flag("chmod"), found.flag("from")) == ("7:8", "755", "busybox")


@pytest.mark.parametrize(
    ("body", "plain", "quoted"),
    [
        ("\"quotes\" and 'quotes'\n", "\"quotes\" and 'quotes'\n", None),
        ("\\\n", "\n", "\\\n"),
        ("\\\\\n", "\\\n", "\\\\\n"),
        ("\\$A\n", "$A\n", "\\$A\n"),
        ("$A ${N:-b}\n", "1 b\n", "$A ${N:-b}\n"),
        ("", "", ""),
    ],
)
def test_the_text_of_a_heredoc_is_expanded_unless_its_name_is_quoted(body: str, plain: str, quoted: str | None) -> None:
    for word, expected in (("<<EOF", plain), ("<<'EOF'", body if quoted is None else quoted), ('<<"EOF"', body)):
        found = last(f"COPY {word} /x\n{body}EOF", env={"A": "1"})
        assert [one.content for one in found.heredocs] == [expected]
        assert found.sources == found.heredocs
    assert last(f"RUN <<EOF\n{body}EOF").heredocs[0].content == body


def test_args_hold_from_their_line_on() -> None:
    made, (before, _, after) = performed("FROM scratch\nLABEL a=$A\nARG A=1\nLABEL a=$A")
    assert (before.words[1], after.words[1]) == ("", "1")
    assert made.env == {}
    assert made.args == {"A": "1"}


def test_what_is_given_beats_the_default_and_env_beats_both() -> None:
    text = "FROM scratch\nARG A=default\nENV B=$A\nENV A=env\nENV C=$A"
    assert scope(text).env == {"B": "default", "A": "env", "C": "env"}
    assert scope(text, A="given").env == {"B": "given", "A": "env", "C": "env"}
    assert scope("FROM scratch\nARG A=default\nLABEL x=$A", env={"A": "base"}, A="given").run_env["A"] == "base"


def test_a_default_that_is_not_used_is_not_looked_into() -> None:
    assert scope('FROM scratch\nARG A="${B:?must be given}"', A="x").args == {"A": "x"}
    with pytest.raises(InvalidSpec, match=r"line 2 of Dockerfile, .*: B: must be given"):
        scope('FROM scratch\nARG A="${B:?must be given}"')


def test_args_of_one_line_see_each_other() -> None:
    assert scope("FROM scratch\nARG A=1 B=$A-2 C").args == {"A": "1", "B": "1-2", "C": None}


def test_an_arg_of_before_from_is_taken_by_declaring_it_again() -> None:
    text = "ARG A=1 B=2\nFROM scratch\nARG A\nARG B=3\nLABEL a=$A$B"
    assert scope(text).args == {"A": "1", "B": "3"}
    assert scope(text, A="x", B="y").args == {"A": "x", "B": "y"}
    assert scope("ARG A=1\nFROM scratch\nLABEL a=$A").variables == {}


def test_a_stage_has_the_args_of_the_stage_that_it_is_built_on() -> None:
    made = scope("FROM scratch\nARG B=2\nENV X=$A$B", inherited={"A": "1"})
    assert made.env == {"X": "12"}
    assert made.run_key == ("A=1", "B=2")


def test_the_platforms_are_there_once_declared() -> None:
    text = "FROM scratch\nARG TARGETARCH TARGETPLATFORM BUILDOS\nARG TARGETVARIANT"
    assert scope(text).args == {"TARGETARCH": "amd64", "TARGETPLATFORM": "linux/amd64", "BUILDOS": "linux", "TARGETVARIANT": ""}
    assert scope("FROM scratch\nLABEL a=$TARGETARCH").run_env == {}
    assert scope(text, TARGETARCH="other").args["TARGETARCH"] == "other"


def test_run_depends_on_each_declared_arg_with_the_value_that_holds() -> None:
    made = scope("FROM scratch\nARG Z=1\nARG A\nARG E=2\nENV E=3\nARG Z=9")
    assert made.run_key == ("Z=9", "A=", "E=3")
    assert made.run_env == {"Z": "9", "E": "3"}


def test_proxies_need_no_arg_and_do_not_count_unless_they_have_one() -> None:
    made = scope("FROM scratch\nARG A=1", HTTP_PROXY="p", no_proxy="n", OTHER="o")
    assert made.run_env == {"HTTP_PROXY": "p", "no_proxy": "n", "A": "1"}
    assert made.run_key == ("A=1",)
    assert scope("FROM scratch\nARG HTTP_PROXY", HTTP_PROXY="p").run_key == ("HTTP_PROXY=p",)


def test_the_escape_character_of_the_file_counts_in_words_too() -> None:
    made = scope("# escape=`\nFROM scratch\nENV A=c:\\x B=`$A C=${N:-a`}b}")
    assert made.env == {"A": "c:\\x", "B": "$A", "C": "a}b"}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('ENV A="${B:?is needed}"', "line 2 of Dockerfile, .*: B: is needed"),
        ("ENV A=${B?}", "B: is not allowed to be unset"),
        ("ENV A=${B", "missing '}'"),
        ("ENV A=${}", "bad substitution"),
        ("ENV A=${B:x}", "unsupported modifier"),
        ("WORKDIR 'a", "looking for matching single-quote"),
        ("ENV ${N}=x", "a name in ENV is empty"),
        ("COPY <<E /x\n${B:?is needed}\nE", "lines 2 to 4 of Dockerfile, 'COPY <<E /x': B: is needed"),
    ],
)
def test_what_cannot_be_replaced_is_refused_with_the_line(line: str, sentence: str) -> None:
    with pytest.raises(InvalidSpec, match=sentence) as refused:
        last(line)
    assert "failed to process" not in str(refused.value)


def test_variables_that_double_themselves_end_before_memory_does() -> None:
    lines = "\n".join("ENV A=$A$A$A$A" for _ in range(40))
    with pytest.raises(InvalidSpec, match="may have more than 16777216 characters"):
        scope(f"FROM scratch\nENV A=0123456789abcdef\n{lines}")
