"""The lifecycle as a table: state x action -> next state, or why it is refused.

    created --start--> running <--pause/unpause--> paused
       |                 |  stop, kill, end of the program
       |                 v
       +--remove-->   stopped --start--> running
                         |
                         +--remove--> removed

The words and the legal moves are Docker's. This file decides nothing else:
container.py and detached.py perform the actions.
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
    """What a user can ask for; END is what the program itself does."""

    START = "start"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    STOP = "stop"
    KILL = "kill"
    END = "end"
    REMOVE = "remove"


_NEVER_STARTED, _STOPPED = "it was never started", "it is stopped"
_REMOVED, _RESTARTING = "it was removed", "it is about to be started again"
TABLE: dict[Action, dict[State, State | str]] = {
    Action.START: {
        State.CREATED: State.RUNNING,
        State.RUNNING: "it runs already",
        State.PAUSED: "it is paused: unpause it instead",
        State.RESTARTING: _RESTARTING,
        State.STOPPED: State.RUNNING,
        State.REMOVED: _REMOVED,
    },
    Action.PAUSE: {
        State.CREATED: _NEVER_STARTED,
        State.RUNNING: State.PAUSED,
        State.PAUSED: "it is paused already",
        State.RESTARTING: _RESTARTING,
        State.STOPPED: _STOPPED,
        State.REMOVED: _REMOVED,
    },
    Action.UNPAUSE: {
        State.CREATED: _NEVER_STARTED,
        State.RUNNING: "it is not paused",
        State.PAUSED: State.RUNNING,
        State.RESTARTING: _RESTARTING,
        State.STOPPED: _STOPPED,
        State.REMOVED: _REMOVED,
    },
    Action.STOP: {
        State.CREATED: _NEVER_STARTED,
        State.RUNNING: State.STOPPED,
        State.PAUSED: State.STOPPED,
        State.RESTARTING: State.STOPPED,
        State.STOPPED: State.STOPPED,
        State.REMOVED: _REMOVED,
    },
    Action.KILL: {
        State.CREATED: _NEVER_STARTED,
        State.RUNNING: State.STOPPED,
        State.PAUSED: State.STOPPED,
        State.RESTARTING: _RESTARTING,
        State.STOPPED: _STOPPED,
        State.REMOVED: _REMOVED,
    },
    Action.END: {
        State.CREATED: _NEVER_STARTED,
        State.RUNNING: State.STOPPED,
        State.PAUSED: State.STOPPED,
        State.RESTARTING: State.STOPPED,
        State.STOPPED: State.STOPPED,
        State.REMOVED: _REMOVED,
    },
    Action.REMOVE: {
        State.CREATED: State.REMOVED,
        State.RUNNING: "it runs: stop it first",
        State.PAUSED: "it is paused: stop it first",
        State.RESTARTING: f"{_RESTARTING}: stop it first",
        State.STOPPED: State.REMOVED,
        State.REMOVED: State.REMOVED,
    },
}


def after(state: State, action: Action, *, container: str) -> State:
    """Return the state that `action` leads to from `state`.

    Raises NotAllowed, with the reason, if the table has no such move.
    """
    move = TABLE[action][state]
    if isinstance(move, State):
        return move
    raise NotAllowed(f"cannot {action} container {container}: {move}")
