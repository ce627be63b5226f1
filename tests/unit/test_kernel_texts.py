"""What the host kernel says of a container's end, and how it shows what came from inside."""

from __future__ import annotations

import os

import pytest

from cellhold.spec.outcome import Outcome, Why
from cellhold_kernel.engine import diagnosis
from cellhold_kernel.protocol.text import OutputTail, escape


def outcome(why: Why, **more: object) -> Outcome:
    return Outcome(**{"status": 137, "signal": 9, "seconds": 1.0, "why": why, **more})  # type: ignore[arg-type]


def test_a_memory_kill_names_cell_limit_peak_and_remedy() -> None:
    end = outcome(Why.MEMORY, memory_limit_bytes=512 << 20, memory_peak_bytes=511 << 20)
    assert diagnosis.of_end(end, cell=7).lines == [
        "MemoryLimitExceeded: cell 7 was killed: the container reached its memory limit of 512 MiB (peak 511 MiB)",
        "hint: the container was replaced by a fresh one and its variables are gone; %container memory=1g raises the limit",
    ]


def test_the_time_limit_is_named_as_well() -> None:
    end = outcome(Why.TIME, time_limit_seconds=30.0)
    assert diagnosis.of_end(end, cell=2).sentence == "cell 2 was killed: the container reached its wall-time limit of 30s"
    assert "%container time=60s" in diagnosis.of_end(end, cell=2).hint


def test_between_cells_it_is_the_container_that_was_killed() -> None:
    assert diagnosis.of_end(outcome(Why.KILLED), cell=None).sentence == "the container was killed by user"


@pytest.mark.parametrize(
    ("why", "survived"), [(Why.MEMORY, True), (Why.TIME, True), (Why.KILLED, True), (Why.LOST, True), (Why.EXITED, False)]
)
def test_only_a_program_that_ended_by_itself_ends_the_kernel(why: Why, *, survived: bool) -> None:
    assert diagnosis.is_survived(outcome(why)) is survived


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü 漢", "plain äöü 漢"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("a\x07b\x00c\rd", "a\\x07b\\x00c\\rd"),
        ("\u202eabc", "\\u202eabc"),
        ("\x9b31m", "\\x9b31m"),
        ("x" * 1000, "x" * 500),
    ],
)
def test_what_came_from_inside_is_shown_without_what_a_terminal_obeys(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_the_last_of_a_programs_output_is_kept_and_no_more() -> None:
    tail = OutputTail()
    for number in range(3000):
        os.write(tail.writer, b"%059d\n" % number)
        tail.drain()
    tail.close_writer()
    assert tail.last(2) == [f"{2998:059d}", f"{2999:059d}"]
    assert len(tail._kept) == 64 << 10
    assert not tail.drain()
    tail.close()
    tail.close()
