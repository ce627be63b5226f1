"""Every cell of the lifecycle table."""

from __future__ import annotations

from itertools import product

import pytest

from cellhold.errors import NotAllowed
from cellhold.spec.lifecycle import TABLE, Action, State, after

C, R, P, A, S, X = State

MOVES = {
    (C, Action.START): R,
    (S, Action.START): R,
    (R, Action.PAUSE): P,
    (P, Action.UNPAUSE): R,
    (R, Action.STOP): S,
    (P, Action.STOP): S,
    (S, Action.STOP): S,
    (A, Action.STOP): S,
    (R, Action.KILL): S,
    (P, Action.KILL): S,
    (R, Action.END): S,
    (P, Action.END): S,
    (S, Action.END): S,
    (A, Action.END): S,
    (C, Action.REMOVE): X,
    (S, Action.REMOVE): X,
    (X, Action.REMOVE): X,
}
REASONS = {
    (R, Action.START): "it runs already",
    (P, Action.START): "it is paused: unpause it instead",
    (P, Action.PAUSE): "it is paused already",
    (S, Action.PAUSE): "it is stopped",
    (R, Action.UNPAUSE): "it is not paused",
    (S, Action.UNPAUSE): "it is stopped",
    (S, Action.KILL): "it is stopped",
    (R, Action.REMOVE): "it runs: stop it first",
    (P, Action.REMOVE): "it is paused: stop it first",
    (A, Action.REMOVE): "it is about to be started again: stop it first",
}


def test_the_table_has_every_cell() -> None:
    assert {(state, action) for action, row in TABLE.items() for state in row} == set(product(State, Action))


@pytest.mark.parametrize(("state", "action"), MOVES)
def test_a_move_leads_to_the_next_state(state: State, action: Action) -> None:
    assert after(state, action, container="box") is MOVES[state, action]


@pytest.mark.parametrize(("state", "action"), sorted(set(product(State, Action)) - MOVES.keys()))
def test_every_other_move_is_refused_with_the_reason(state: State, action: Action) -> None:
    never = {State.RESTARTING: "it is about to be started again", State.CREATED: "it was never started", State.REMOVED: "it was removed"}
    with pytest.raises(NotAllowed) as refused:
        after(state, action, container="box")
    assert str(refused.value) == f"cannot {action} container box: {REASONS.get((state, action)) or never[state]}"
