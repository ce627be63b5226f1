"""What a hostile Dockerfile, .dockerignore or context costs grows as it grows, or is refused with the bound.

Of what grew with a power, the time of four times as much is compared (16 times as much, where it grew with the square); what grew with
any power of a text's length ends at all.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from cellhold.build import dockerfile, sources, stages
from cellhold.build.builder import build
from cellhold.build.context import Context
from cellhold.build.ignore import Ignore
from cellhold.build.lexer import Lexer
from cellhold.build.options import Options
from cellhold.errors import InvalidSpec
from cellhold.image.platform import Platform
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FROM = "FROM scratch\n"
ONCE = dockerfile.read(f"{FROM}ENV a=b\n", "Dockerfile").instructions[-1]
SECONDS = 10.0  # for what would take hours otherwise


@pytest.fixture
def built(tmp_path: Path) -> Callable[[str], None]:
    """Builds an image of a text."""
    home = open_home(tmp_path / "store")
    (tmp_path / "context").mkdir()

    def made(text: str) -> None:
        build(text, "Dockerfile", Context(tmp_path / "context"), home, Options(names=()))

    return made


def seconds(act: Callable[[], object]) -> float:
    """Of a processor, the least of two times."""
    taken = []
    for _ in range(2):
        began = time.process_time()
        act()
        taken.append(time.process_time() - began)
    return min(taken)


def lines(form: str, count: int) -> str:
    return "".join(form.format(number, number - 1) + "\n" for number in range(1, count + 1))


@pytest.mark.parametrize(
    "form",
    ["ENV v{0}=1", "ENV v{0}=$v{1}", "ENV v=$v{0}", "LABEL l{0}=1", "ARG a{0}=1", "ARG a{0}=$a{1}", "ONBUILD CMD x{0}", 'CMD ["{0}"]'],
)
def test_four_times_as_many_lines_do_not_take_sixteen_times_as_long(built: Callable[[str], None], form: str) -> None:
    few, many = (f"{FROM}ENV v0=1\nARG a0=1\n{lines(form, count)}" for count in (600, 2400))
    assert seconds(lambda: built(many)) < 9 * seconds(lambda: built(few)) + 0.1


@pytest.mark.parametrize("form", ["ARG a{0}=1", "ARG a{0}=$a{1}"])
def test_arguments_before_the_first_stage_take_no_longer_each(form: str) -> None:
    few, many = (dockerfile.read(f"ARG a0=1\n{lines(form, count)}{FROM}", "D") for count in (2000, 8000))
    assert seconds(lambda: plan(many)) < 9 * seconds(lambda: plan(few)) + 0.1


def plan(file: dockerfile.Dockerfile) -> stages.Plan:
    return stages.plan(file, {}, Platform.parse("linux/amd64"), None)


@pytest.mark.parametrize(
    "text",
    [
        f"{FROM}RUN x \\\n{{}}z\n".format("y \\\n" * 100_000),
        f"{FROM}RUN x \\\n{{}}z\n".format("#y\n" * 100_000),
        f"{FROM}RUN <<E\n{{}}E\n".format("y\n" * 100_000),
        f"#a=x{' ' * 60_000}y\n{FROM}",
        f"# syntax = docker/dockerfile:1\n#{' ' * 60_000}b = c{' ' * 200}d\n{FROM}",
        f"{FROM}ENV {' '.join(f'v{number}=1' for number in range(6000))}\n",
        f"{FROM}RUN {' '.join(['<'] * 30_000)}\n",
    ],
    ids=["continued lines", "comments in between", "a long text", "blanks", "blanks after a directive", "one line", "brackets"],
)
def test_long_files_are_read_in_their_time(text: str) -> None:
    assert seconds(lambda: dockerfile.read(text, "Dockerfile")) < SECONDS


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        (FROM + "ENV a=b\n" * 20_000, "its 20001 instructions are more than 20000"),
        ("ARG a=b\n" * 200_000 + FROM, "its 200001 instructions are more than 20000"),
        (FROM * 1001, "its 1001 stages are more than 1000"),
        (f"{FROM}ENV {' '.join(f'a{number}=b' for number in range(8000))}\n" * 1, ""),
        (
            f"{FROM}" + "".join(f"ENV {' '.join(f'a{line}b{number}=c' for number in range(3000))}\n" for line in range(7)),
            "entries in Env then, which are more than 20000",
        ),
        (f"{FROM}VOLUME {' '.join(f'/v{number}' for number in range(5000))}\n", "5000 entries in Volumes then, which are more than 128"),
        (f"{FROM}{lines('VOLUME /v{0}', 200)}", "129 entries in Volumes then, which are more than 128"),
        (
            f"{FROM}COPY {' '.join(f'<<a{number}' for number in range(1500))} /x/\n{lines('a{1}', 1500)}",
            r"its 1500 texts \(<<NAME\) are more than 1000",
        ),
        (f"{FROM}ENV a={'${b:-' * 60}x{'}' * 60}\n", "nested more than 49 deep"),
        (f"ARG a={'x' * 4000}\n{lines('ARG b=$a$a$a$a$a$a$a$a$a$a', 1000)}{FROM}", "may have more than 16777216 characters"),
        (f"{FROM}ENV a={'x' * 9000} b={'y' * 9000}\nENV c=${{a//x/$b}}\n", "may have more than 16777216 characters"),
        (f"{FROM}EXPOSE {' '.join(['1-65535'] * 3)}\n" + "EXPOSE 1-65535\n" * 100, "the history of the image"),
    ],
)
def test_what_would_be_too_much_is_refused_with_the_bound(built: Callable[[str], None], text: str, bound: str) -> None:
    began = time.process_time()
    if bound:
        with pytest.raises(InvalidSpec, match=bound):
            built(text)
    else:
        built(text)
    assert time.process_time() - began < 3 * SECONDS


def test_arguments_that_each_stage_has_are_bounded_in_all(built: Callable[[str], None]) -> None:
    text = f"FROM scratch AS s\n{lines('ARG a{0}=1', 10_000)}" + "".join(f"FROM s AS s{number}\n" for number in range(200))
    copies = "".join(f"COPY --from=s{number} x /\n" for number in range(200))
    with pytest.raises(InvalidSpec, match="its stages have more than 1000000 variables in all"):
        built(f"{text}FROM scratch\n{copies}")


# ------------------------------------------------------------------------------------------------------------------ patterns


@pytest.mark.parametrize(
    "word",
    ["${v#*a*a*a*a*b}", "${v##*a*a*a*a*b}", "${v%b*a*a*a*a*}", "${v%%b*a*a*a*a*}", "${v/*a*a*a*ab/x}", "${v//*a*a*a*ab/x}", "${v//a*b/x}"],
)
def test_a_pattern_in_a_variable_takes_the_time_to_read_its_value(word: str) -> None:
    value = "a" * 100_000
    began = time.process_time()
    assert Lexer(variables={"v": value}).word(word, ONCE) == value
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("${v#*/}", "b/c.tar.gz"),
        ("${v##*/}", "c.tar.gz"),
        ("${v%.*}", "a/b/c.tar"),
        ("${v%%.*}", "a/b/c"),
        ("${v#?}", "/b/c.tar.gz"),
        ("${v##*}", ""),
        ("${v/\\//-}", "a-b/c.tar.gz"),
        ("${v//\\//-}", "a-b-c.tar.gz"),
        ("${v//*/x}", "x"),
        ("${v/b*r/x}", "a/x.gz"),
        ("${v//?.?/x}", "a/b/xaxz"),
        ("${v//x/y}", "a/b/c.tar.gz"),
    ],
)
def test_a_pattern_takes_the_shortest_or_the_longest(word: str, value: str) -> None:
    assert Lexer(variables={"v": "a/b/c.tar.gz"}).word(word, ONCE) == value


@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*a*ab", "a*" * 100 + "b", "?*" * 60 + "b", "[a-b]*[a-c]*[a-d]*[a-e]*c"])
def test_a_pattern_for_names_takes_no_time_whatever_the_names(tmp_path: Path, pattern: str) -> None:
    for length in range(150, 250):
        (tmp_path / ("a" * length)).touch()
    began = time.process_time()
    with pytest.raises(InvalidSpec, match="has no such file"):
        sources.matches(pattern, [tmp_path], is_left_out=lambda _path, _is_directory: False, where="it")
    for line in (pattern, f"**/{pattern}", f"{pattern}/**/x", "**a" * 50 + "/b"):
        ignore = Ignore([line])
        assert not any(ignore.excludes("/".join(["a" * length] * 12)) for length in range(200, 250))
    assert time.process_time() - began < 3 * SECONDS


def test_links_that_lead_to_their_directory_are_not_ways_to_be_counted(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"l{number}").symlink_to(".")
    (tmp_path / "file").touch()
    began = time.process_time()
    found = sources.matches("*/" * 20 + "f*", [tmp_path], is_left_out=lambda _path, _is_directory: False, where="it")
    assert [(os.path.basename(one.called), one.path) for one in found] == [(b"file", b"file")]
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", "a ab [x] *"),
        ("a*", "a ab"),
        ("?", "a *"),
        ("[a-c]*", "a ab"),
        ("[^a]*", "[x] *"),
        ("\\*", "*"),
        ("\\[x]", "[x]"),
        ("*b", "ab"),
        ("[\\]x]", ""),
    ],
)
def test_names_are_matched_as_go_matches_them(tmp_path: Path, pattern: str, names: str) -> None:
    for name in ("a", "ab", "[x]", "*"):
        (tmp_path / name).touch()

    def found() -> set[str]:
        matches = sources.matches(pattern, [tmp_path], is_left_out=lambda _path, _is_directory: False, where="it")
        return {os.fsdecode(one.called) for one in matches}

    if names:
        assert found() == set(names.split())
    else:
        with pytest.raises(InvalidSpec, match="has no such file"):
            found()


@pytest.mark.parametrize(
    ("pattern", "reason"), [("[", "not closed"), ("[]", "not closed"), ("[a-]", "not closed"), ("[b-a]", "b-a is empty")]
)
def test_what_is_no_pattern_is_refused(tmp_path: Path, pattern: str, reason: str) -> None:
    with pytest.raises(InvalidSpec, match=reason):
        sources.matches(pattern, [tmp_path], is_left_out=lambda _path, _is_directory: False, where="it")


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("a\n" * 10_001, "its 10001 patterns are more than 10000"),
        ("b\n" + "a" * 5000, "cannot use line 2 of .dockerignore, .*: its 5000 characters are more than 4096"),
    ],
)
def test_a_dockerignore_is_bounded(text: str, bound: str) -> None:
    with pytest.raises(InvalidSpec, match=bound):
        Ignore.read(text)
