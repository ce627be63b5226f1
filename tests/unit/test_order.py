"""The order of files in a session of tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import order

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Item:
    """As much of pytest's as is looked at."""

    nodeid: str


def sorted_by(known: dict[str, float], *nodeids: str) -> list[str]:
    items: list[Any] = [Item(nodeid) for nodeid in nodeids]
    return [item.nodeid for item in order.longest_first(items, known)]


def test_the_file_that_took_longest_begins_and_its_tests_keep_their_order() -> None:
    known = {"tests/unit/test_a.py": 1.0, "tests/unit/test_b.py": 9.0}
    assert sorted_by(known, "tests/unit/test_a.py::test_2", "tests/unit/test_b.py::test_2", "tests/unit/test_b.py::test_1") == [
        "tests/unit/test_b.py::test_2",
        "tests/unit/test_b.py::test_1",
        "tests/unit/test_a.py::test_2",
    ]


def test_a_file_that_never_ran_is_guessed_by_what_its_tests_start() -> None:
    unknown = ["tests/unit/test_c.py::test_1", "tests/kernel/test_k.py::test_1", "tests/browser/test_p.py::test_1"]
    assert sorted_by({"tests/unit/test_long.py": 20.0}, *unknown, "tests/unit/test_long.py::test_1") == [
        "tests/browser/test_p.py::test_1",
        "tests/unit/test_long.py::test_1",
        "tests/kernel/test_k.py::test_1",
        "tests/unit/test_c.py::test_1",
    ]


def test_what_files_took_is_kept_by_their_markers_and_half_a_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "cache/seconds.json"
    assert order.read(path, "not slow") == {}
    order.keep(path, "not slow", {"tests/unit/test_a.py": 1.04, "tests/unit/test_b.py": 9.0})
    order.keep(path, "not slow", {"tests/unit/test_b.py": 8.0})
    order.keep(path, "slow", {"tests/unit/test_b.py": 100.0})
    assert order.read(path, "not slow") == {"tests/unit/test_a.py": 1.0, "tests/unit/test_b.py": 8.0}
    assert [left.name for left in path.parent.iterdir()] == ["seconds.json"]
    path.write_text(path.read_text()[:10])
    assert order.read(path, "not slow") == {}
