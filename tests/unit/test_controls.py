"""What can be done to a notebook's container in each state: one table, and what refuses in its words."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from cellhold.errors import InvalidSpec, NotAllowed
from cellhold.spec.lifecycle import State
from cellhold_kernel.engine.controls import MOVES, Controls, reason, state_of
from cellhold_kernel.magics import registry
from cellhold_kernel.settings.policy import Policy

if TYPE_CHECKING:
    from cellhold_kernel.engine.session import Session

STATES = C, R, P, S, X = State.CREATED, State.RUNNING, State.PAUSED, State.STOPPED, State.REMOVED  # a notebook's has no restart policy
POSSIBLE = {
    C: set(),
    R: {"pause", "stop", "kill", "restart", "commit"},
    P: {"unpause", "stop", "kill", "restart", "commit"},
    S: {"start", "restart", "commit", "remove"},
    X: {"start"},
}


def in_state(state: State) -> Session:
    """As much of a session as says that."""
    kernel = SimpleNamespace(sandbox=SimpleNamespace(state=state, id="ab12"))
    return cast(
        "Session",
        SimpleNamespace(
            current=kernel if state in (R, P) else None,
            is_coming=state is C,
            stopped=kernel if state is S else None,
            policy=Policy,
            missing={},
        ),
    )


@pytest.mark.parametrize("state", STATES)
def test_what_is_possible_in_each_state(state: State) -> None:
    assert state_of(in_state(state)) is state
    assert {action for action in MOVES if reason(action, state) is None} == POSSIBLE[state]


@pytest.mark.parametrize(
    ("state", "action"), [(state, action) for state, action in product(STATES, MOVES) if action not in POSSIBLE[state]]
)
def test_everything_else_is_refused_with_the_tables_reason(state: State, action: str) -> None:
    controls = Controls(in_state(state))
    with pytest.raises(NotAllowed) as refused:
        controls.commit(["name"]) if action == "commit" else controls.perform(action, [])
    assert str(refused.value) == f"cannot {action} the container: {MOVES[action][state]}"


def test_each_of_them_is_a_word_of_the_magic() -> None:
    assert {word for word, kind in registry.ACTIONS.items() if not kind.is_output} == set(MOVES)


@pytest.mark.parametrize(
    ("action", "arguments", "says"),
    [
        ("kill", ["SIGNONSENSE"], "cannot use kill SIGNONSENSE: no such signal"),
        ("kill", ["KILL", "9"], "cannot use 9: %container kill takes no more words"),
        ("stop", ["soon"], "cannot use stop=soon"),
        ("pause", ["now"], "cannot use now: %container pause takes no more words"),
    ],
)
def test_arguments_that_mean_nothing_are_told(action: str, arguments: list[str], says: str) -> None:
    controls: Any = Controls(in_state(R))
    with pytest.raises(InvalidSpec) as refused:
        controls.perform(action, arguments)
    assert str(refused.value).startswith(says)
    assert not controls.is_stopping
