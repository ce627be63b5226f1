"""The order of files in a session of tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import order


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
