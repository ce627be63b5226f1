"""The errors: one tree, each of them one sentence and a hint."""

from __future__ import annotations

import inspect

import pytest

from cellhold import errors
from cellhold.errors import CellholdError, CommandNotRun, InvalidSpec, SetupFailed

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_a_cellhold_error_and_drawn_at_the_top_of_the_file(kind: type) -> None:
    assert issubclass(kind, CellholdError)
    assert kind.__name__ in str(errors.__doc__)


def test_the_hint_is_apart_from_the_sentence_and_a_note() -> None:
    error = InvalidSpec("cannot use x=1: no", hint="x=2")
    assert (str(error), error.hint, error.__notes__) == ("cannot use x=1: no", "x=2", ["hint: x=2"])


def test_without_a_hint_there_is_no_note() -> None:
    assert not hasattr(CellholdError("cannot"), "__notes__")


def test_a_failed_step_and_a_program_that_does_not_start_say_which_and_how() -> None:
    assert (SetupFailed("x", step="rootfs.pivot", errno=22).step, SetupFailed("x", step="s").errno) == ("rootfs.pivot", 0)
    assert CommandNotRun("x", status=127).status == 127
