"""A step and its table: performed in order, timed, and named when it fails."""

from __future__ import annotations

import pytest

from cellhold.init.steps import ALL_STEPS
from cellhold.init.steps.step import Step, StepFailed, format_flags, perform
from cellhold.linux import mount, process


def made(name: str, *, fails: bool = False) -> Step[list[str]]:
    def act(state: list[str]) -> None:
        state.append(name)
        if fails:
            raise PermissionError(1, "not permitted")

    return Step(name, act, lambda _plan: "words", lambda _plan: ["call()"])


def test_steps_are_performed_in_their_order_and_timed_one_after_the_other() -> None:
    state: list[str] = []
    timings = perform((made("a"), made("b"), made("c")), state)
    assert state == [name for name, _start, _seconds in timings] == ["a", "b", "c"]
    assert all(seconds >= 0 for _name, _start, seconds in timings)
    assert [start for _name, start, _seconds in timings] == sorted(start for _name, start, _seconds in timings)


def test_the_step_that_fails_is_named_with_its_reason_and_no_other_follows() -> None:
    state: list[str] = []
    with pytest.raises(StepFailed) as caught:
        perform((made("a"), made("b", fails=True), made("c")), state)
    assert state == ["a", "b"]
    assert caught.value.step == "b"
    assert isinstance(caught.value.reason, PermissionError)
    assert caught.value.__cause__ is caught.value.reason


def test_there_is_no_step_without_words_or_without_its_system_calls() -> None:
    with pytest.raises(TypeError):
        Step("a", lambda _state: None)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Step("a", lambda _state: None, lambda _plan: "words")  # type: ignore[call-arg]
    assert all(callable(step.perform) and callable(step.describe) and callable(step.syscalls) for step in ALL_STEPS)


def test_flags_are_formatted_by_the_names_that_their_header_gives_them() -> None:
    assert format_flags(process.CLONE_NEWNS | process.CLONE_NEWPID, process, "CLONE_NEW") == "CLONE_NEWNS|CLONE_NEWPID"
    assert format_flags(mount.MOUNT_ATTR_RDONLY, mount, "MOUNT_ATTR_") == "MOUNT_ATTR_RDONLY"
    assert format_flags(0, mount, "MOUNT_ATTR_") == "0"
