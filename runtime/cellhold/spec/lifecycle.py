"""The lifecycle as one table: state x action -> next state, or the reason for refusal.

    created --start--> running <--pause/unpause--> paused
       |                 |  stop, kill, end of the program
       |                 v
       +--remove-->   stopped --start--> running
                         |
                         +--remove--> removed

Words and legal moves are docker's. This file decides nothing else: `container.py` performs the actions.
"""

from __future__ import annotations

from enum import StrEnum

from cellhold.errors import NotAllowed


class State(StrEnum):
    """What a container is now."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"  # stopped, and to be started again by its restart policy
    STOPPED = "stopped"
    REMOVED = "removed"


class Action(StrEnum):
    """What a person can ask for; `end` is what the program itself does."""

    START = "start"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    STOP = "stop"
    KILL = "kill"
    END = "end"
    REMOVE = "remove"


_C, _R, _P, _A, _S, _X = State
_GONE, _AGAIN = "it was removed", "it is about to be started again"
TABLE: dict[Action, dict[State, State | str]] = {
    Action.START: {_C: _R, _R: "it runs already", _P: "it is paused: unpause it instead", _A: _AGAIN, _S: _R, _X: _GONE},
    Action.PAUSE: {_C: "it was never started", _R: _P, _P: "it is paused already", _A: _AGAIN, _S: "it is stopped", _X: _GONE},
    Action.UNPAUSE: {_C: "it was never started", _R: "it is not paused", _P: _R, _A: _AGAIN, _S: "it is stopped", _X: _GONE},
    Action.STOP: {_C: "it was never started", _R: _S, _P: _S, _A: _S, _S: _S, _X: _GONE},
    Action.KILL: {_C: "it was never started", _R: _S, _P: _S, _A: _AGAIN, _S: "it is stopped", _X: _GONE},
    Action.END: {_C: "it was never started", _R: _S, _P: _S, _A: _S, _S: _S, _X: _GONE},
    Action.REMOVE: {
        _C: _X,
        _R: "it runs: stop it first",
        _P: "it is paused: stop it first",
        _A: f"{_AGAIN}: stop it first",
        _S: _X,
        _X: _X,
    },
}


def after(state: State, action: Action, *, container: str) -> State:
    """The state that `action` leads to from `state`.

    Raises NotAllowed, with the reason, where the table has no such move.
    """
    move = TABLE[action][state]
    if isinstance(move, State):
        return move
    raise NotAllowed(f"cannot {action} container {container}: {move}")
