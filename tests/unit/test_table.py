"""Files with a version: older ones are read, newer ones refused, and what cannot be read is neither."""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003  # the forms' annotations are read
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from cellhold.errors import Damaged, NotSupported
from cellhold.store import table

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Part:
    number: int
    ratio: float | None = None


@dataclass(frozen=True, kw_only=True)
class Thing:
    name: str
    parts: tuple[Part, ...] = ()
    pair: tuple[int, int] = (0, 0)
    labels: Mapping[str, str] = field(default_factory=dict)
    flags: frozenset[str] | None = None
    is_new: bool = False
    more: dict[str, Any] = field(default_factory=dict)


def renamed(members: dict[str, Any]) -> dict[str, Any]:
    """Layout 1 called the name a title."""
    return {**members, "name": members["title"]}


FORM = table.Form(kind=Thing, version=2, steps={**table.BEFORE_VERSIONS, 1: renamed}, check=lambda _thing: None)


def read(path: Path, members: object) -> Thing:
    path.write_text(json.dumps(members))
    return FORM.read(path, "thing x", hint="throw it away")


def test_values_come_back_as_their_types(tmp_path: Path) -> None:
    members = {
        "name": "x",
        "parts": [{"number": 1, "ratio": 2}, {"number": 2, "new": 1}],
        "pair": [1, 2],
        "labels": {"a": "b"},
        "flags": ["f"],
    }
    found = read(tmp_path / "t", {**members, "version": 2, "unheard": [1], "more": 5})
    assert (found.parts, found.pair, found.flags) == ((Part(number=1, ratio=2), Part(number=2)), (1, 2), frozenset("f"))
    assert found.more == {"unheard": [1], "more": 5}


def test_each_older_layout_is_read_by_the_steps_in_between(tmp_path: Path) -> None:
    for old in ({"title": "x"}, {"title": "x", "version": 0}, {"title": "x", "version": 1}):
        assert read(tmp_path / "t", old).name == "x"


def test_a_newer_one_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotSupported, match=r"cannot read thing x: a later version of Cellhold has made it \(layout 3"):
        read(tmp_path / "t", {"version": 3})


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({}, "name is missing"),
        ({"name": 1}, "name is not a text"),
        ({"name": "x", "is_new": 1}, "is_new is not true or false"),
        ({"name": "x", "parts": {}}, "parts is not a list"),
        ({"name": "x", "parts": [1]}, "part is not an object"),
        ({"name": "x", "parts": [{"number": True}]}, "number is not a whole number"),
        ({"name": "x", "parts": [{"number": 1 << 70}]}, "number is too large"),
        ({"name": "x", "parts": [{"number": 1.5}]}, "number is not a whole number"),
        ({"name": "x", "parts": [{"number": 1, "ratio": "2"}]}, "ratio is not a number"),
        ({"name": "x", "pair": [1]}, "pair has not 2 values"),
        ({"name": "x", "labels": {"a": 1}}, "labels.a is not a text"),
        ({"name": "x", "labels": []}, "labels is not an object"),
        ({"name": "x", "version": True}, "its version is not a number"),
        ({"name": "x", "version": -1}, "its version is not a number"),
        ([], "it is not a JSON object"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, members: object, reason: str) -> None:
    with pytest.raises(Damaged, match=f"cannot read thing x: .*t is damaged: {reason}") as refused:
        read(tmp_path / "t", members if isinstance(members, list) else {"version": 2, **members})  # type: ignore[dict-item]
    assert refused.value.hint == "throw it away"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\0" * 100, "it is empty"),
        (b'{"name": "x"', "it is not JSON"),
        (b'{"name": "\xff"}', "it is not JSON"),
        (b'{"name": "x", "parts": NaN}', "it is not JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b"1" * 10_000, "it is not JSON"),
    ],
)
def test_bytes_that_are_no_table_are_damage(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(Damaged, match=reason):
        FORM.read(tmp_path / "t", "thing x", hint="")


def test_none_is_none_and_what_may_not_be_read_is_damage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FORM.read(tmp_path / "t", "thing x", hint="")
    (tmp_path / "t").mkdir()
    with pytest.raises(Damaged, match="not a regular file"):
        FORM.read(tmp_path / "t", "thing x", hint="")
    (tmp_path / "link").symlink_to(tmp_path / "t")
    with pytest.raises(Damaged, match="Too many levels of symbolic links"):
        FORM.read(tmp_path / "link", "thing x", hint="")
