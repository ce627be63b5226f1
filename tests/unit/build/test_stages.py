"""Which stages an image needs, and what FROM and --from mean in them."""

from __future__ import annotations

import pytest

from cellhold.build import dockerfile, stages
from cellhold.errors import InvalidSpec
from cellhold.image.platform import Platform

AMD64 = Platform.parse("linux/amd64")


def plan(text: str, *, target: str | None = None, platform: Platform = AMD64, **build_args: str) -> stages.Plan:
    return stages.plan(dockerfile.read(text, "Dockerfile"), build_args, platform, target)


THREE = """
FROM debian AS Tools
RUN make tools
FROM scratch AS unused
COPY x y
FROM tools
COPY --from=TOOLS a b
COPY --from=busybox c d
COPY --from=0 e f
"""


def test_only_what_the_target_needs_is_built_in_order() -> None:
    made = plan(THREE)
    assert [stage.number for stage in made.stages] == [0, 2]
    tools, last = made.stages
    assert (tools.name, tools.base, tools.base_stage) == ("tools", "debian", None)
    assert (last.name, last.base, last.base_stage, last.copies_from) == (None, "tools", 0, {"TOOLS": 0, "0": 0})
    assert made.target is last


@pytest.mark.parametrize(("target", "numbers"), [("tools", [0]), ("UNUSED", [1]), ("1", [1]), ("2", [0, 2])])
def test_a_target_is_named_or_numbered(target: str, numbers: list[int]) -> None:
    assert [stage.number for stage in plan(THREE, target=target).stages] == numbers


@pytest.mark.parametrize("target", ["nonsuch", "3", "-1", "01", "\N{SUPERSCRIPT TWO}", ""])
def test_a_target_that_is_none_is_refused_with_those_there_are(target: str) -> None:
    with pytest.raises(InvalidSpec, match="has no such stage") as refused:
        plan(THREE, target=target)
    assert refused.value.hint == "its stages: tools, unused, 2"


def test_what_is_needed_through_another_stage_is_needed() -> None:
    made = plan("FROM a AS one\nFROM b AS two\nCOPY --from=one x y\nFROM c AS three\nFROM scratch\nCOPY --from=two x y")
    assert [stage.number for stage in made.stages] == [0, 1, 3]


def test_an_image_may_be_called_like_a_later_stage() -> None:
    made = plan("FROM debian AS base\nFROM busybox AS debian\nFROM base\nCOPY --from=debian x y")
    assert [(stage.base, stage.base_stage) for stage in made.stages] == [("debian", None), ("busybox", None), ("base", 0)]


def test_args_before_the_first_from_are_for_from() -> None:
    text = "ARG BASE=debian\nARG TAG=12 SUFFIX=-slim\nARG WHOLE=$BASE:${TAG}${SUFFIX}\nARG EMPTY\nFROM ${WHOLE} AS x"
    (stage,) = plan(text).stages
    assert stage.base == "debian:12-slim"
    assert stage.global_args == {"BASE": "debian", "TAG": "12", "SUFFIX": "-slim", "WHOLE": "debian:12-slim"}
    assert plan(text, TAG="13", EMPTY="now").stages[0].global_args["EMPTY"] == "now"
    assert plan(text, TAG="13").stages[0].base == "debian:13-slim"
    assert plan("ARG A\nFROM ${A:-busybox}", B="x").stages[0].base == "busybox"


def test_the_platform_can_be_named_by_variables_nobody_declared() -> None:
    arm = Platform.parse("linux/arm/v7")
    build, last = plan("FROM --platform=$BUILDPLATFORM a-$TARGETARCH$TARGETVARIANT AS b\nFROM b", platform=arm).stages
    assert (build.platform, build.base) == (Platform.host(), "a-armv7")
    assert last.platform is None
    assert plan("FROM --platform=linux/arm64 a").stages[0].platform == Platform.parse("linux/arm64")
    assert plan("FROM a-$TARGETARCH", TARGETARCH="mine").stages[0].base == "a-mine"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("FROM a AS x\nFROM b AS X", "line 2 of Dockerfile, 'FROM b AS X': another stage is called x"),
        ("FROM a AS 1x", "'1x' is not a stage's name"),
        ("FROM a AS x/y", "'x/y' is not a stage's name"),
        ("FROM $NOTHING", r"the image's name, \$NOTHING, is empty"),
        ("FROM ${A:?say-which}", "line 1 of Dockerfile, .*: A: say-which"),
        ("FROM ${A", "missing '}'"),
        ("ARG A=${B:?none}\nFROM a", "line 1 of Dockerfile, .*: B: none"),
        ("FROM --platform=$NOTHING a", "cannot use platform=''"),
        ("FROM --platform=linux a", "line 1 of Dockerfile, .* no OS/ARCHITECTURE"),
        ("FROM a AS x\nCOPY --from=x a b", "line 2 of Dockerfile, .*: --from=x is this stage itself"),
        ("FROM a\nCOPY --from=later a b\nFROM b AS later", "line 2 of Dockerfile, .*: --from=later is a later stage"),
        ("FROM a\nCOPY --from=1 a b\nFROM b", "--from=1 is a later stage"),
        ("FROM a\nCOPY --from=7 a b", "there is no stage 7"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_line(text: str, sentence: str) -> None:
    with pytest.raises(InvalidSpec, match=sentence):
        plan(text)


def test_build_arguments_that_no_arg_declares_are_named() -> None:
    made = plan("ARG A\nFROM scratch\nARG B=1 C\nONBUILD ARG D")
    given = dict.fromkeys(("A", "B", "C", "D", "E", "http_proxy", "F"), "x")
    assert made.unused_build_args(given) == ("E", "F")
    assert made.unused_build_args(given, dockerfile.triggers(["ARG E"], "x").instructions) == ("F",)
