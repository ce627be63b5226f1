"""Control of the notebook's container beside running cells: pause, stop and so on.

%container's words and the panel's buttons both end here, and are refused with the
reason of the same table. Words and legal moves are docker's (cellhold.spec.lifecycle);
a notebook's own are `start` without a container, and `restart`, which make a fresh one.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, InvalidSpec, NotAllowed
from cellhold.spec.lifecycle import TABLE, Action, State
from cellhold.spec.units import parse_seconds, parse_signal
from cellhold_kernel.engine.base import Feature
from cellhold_kernel.engine.diagnosis import Diagnosis
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.request import ActionRequest, CommitRequest
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.settings import Trust

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellhold.spec.outcome import Outcome
    from cellhold_kernel.engine.holder import Holder
    from cellhold_kernel.gate.granted import GrantedAction
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.protocol.messages import Message

GRACE_SECONDS = 10.0  # docker's, between SIGTERM and SIGKILL
RESTART, COMMIT = "restart", "commit"
_SIGNAL_SECONDS = 2.0  # a container that ends so soon after a signal has ended by it
FRESH = Diagnosis("note", "the container was removed", "this one is fresh, its variables and files are gone")
_STARTING = "it is being started"
_STARTING_BESIDE = "a fresh one is being started"
_REMOVED = "it was removed: start a fresh one"
MOVES: dict[str, dict[State, State | str]] = {
    "start": {**TABLE[Action.START], State.CREATED: _STARTING, State.REMOVED: State.RUNNING},
    "pause": {**TABLE[Action.PAUSE], State.CREATED: _STARTING, State.REMOVED: _REMOVED},
    "unpause": {**TABLE[Action.UNPAUSE], State.CREATED: _STARTING, State.REMOVED: _REMOVED},
    "stop": {**TABLE[Action.STOP], State.CREATED: _STARTING, State.STOPPED: "it is stopped", State.REMOVED: _REMOVED},
    "kill": {**TABLE[Action.KILL], State.CREATED: _STARTING, State.REMOVED: _REMOVED},
    RESTART: {
        State.CREATED: _STARTING,
        State.RUNNING: State.RUNNING,
        State.PAUSED: State.RUNNING,
        State.RESTARTING: _STARTING,
        State.STOPPED: State.RUNNING,
        State.REMOVED: _REMOVED,
    },
    COMMIT: {
        State.CREATED: _STARTING,
        State.RUNNING: State.RUNNING,
        State.PAUSED: State.PAUSED,
        State.RESTARTING: _STARTING,
        State.STOPPED: State.STOPPED,
        State.REMOVED: _REMOVED,
    },
    "remove": {**TABLE[Action.REMOVE], State.CREATED: _STARTING, State.REMOVED: "it was removed"},
}
NEEDS = {"pause": Feature.PAUSE, "unpause": Feature.PAUSE, "stop": Feature.RESUME, "kill": Feature.RESUME, COMMIT: Feature.COMMIT}


@dataclass(frozen=True, kw_only=True)
class Order:
    """An order that ends the container.

    message: the cell that waits for that, if one does. until: the moment from which an
    end has another reason.
    """

    action: str
    message: Message | None
    until: float


def state_of(session: Holder) -> State:
    """Return the state of the notebook's container; CREATED while it comes up."""
    if session.current is not None:
        return session.current.sandbox.state
    if session.is_coming:
        return State.CREATED
    return State.REMOVED if session.stopped is None else State.STOPPED


def reason(action: str, state: State, missing: Mapping[Feature, str] = MappingProxyType({})) -> str | None:
    """Return why an action is not possible now; None where it is.

    missing: what the engine lacks.
    """
    if (need := NEEDS.get(action)) is not None and need in missing:
        return missing[need]
    move = MOVES[action][state]
    return None if isinstance(move, State) else move


class Controls:
    """The actions on a session's container: done at once, or by ending it."""

    def __init__(self, session: Holder) -> None:
        """Order nothing yet."""
        self._session = session
        self._order: Order | None = None
        self._kill_at: float | None = None
        self._is_removed = False

    def reason(self, action: str) -> str | None:
        """Return why it is not possible now, None where it is."""
        if action == RESTART and self._session.is_coming and self._session.current is not None:
            return _STARTING_BESIDE
        return reason(action, state_of(self._session), self._session.missing)

    def check(self, action: str) -> None:
        """Raise NotAllowed with the reason where the action is not possible now.

        It is not where the table has no such move, and while the container is being
        stopped.
        """
        why = "it is being stopped" if self.is_stopping and action != "kill" else self.reason(action)
        if why is not None:
            raise NotAllowed(f"cannot {action} the container: {why}")

    def perform(self, action: str, arguments: Sequence[str], message: Message | None = None) -> str | None:
        """Perform `action` and return a message for the user.

        Returns None where the message follows once the container has ended (`ended`).
        Raises NotAllowed with the reason, InvalidSpec for wrong arguments, NotSupported
        where the host cannot.
        """
        asked = ActionRequest(action=action, arguments=tuple(arguments))
        return self._perform(authorize(asked, Trust.CELL, self._session.policy()), message)

    def _perform(self, granted: GrantedAction, message: Message | None) -> str | None:
        action, arguments = granted.action, granted.arguments
        self.check(action)
        match action:
            case "pause" | "unpause":
                return self._freeze(action, arguments)
            case "stop":
                self._stop(arguments, message)
                return None
            case "kill":
                return self._kill(arguments, message)
            case "start":
                _no_more(action, arguments)
                self._session.resume()
                self._is_removed = False
                return None
            case "restart":
                _no_more(action, arguments)
                self._session.begin()
                return None
            case _:
                _no_more(action, arguments)
                self._session.remove_stopped()
                self._session.failure = CellholdError("no container runs: it was removed")
                self._is_removed = True
                return "the container was removed, with all that it had written; the next cell starts a fresh one"

    def commit(self, arguments: Sequence[str]) -> Job:
        """Begin to make an image of the container. Raises NotAllowed, InvalidSpec."""
        self.check(COMMIT)
        if len(arguments) != 1:
            raise InvalidSpec(f"cannot commit to {len(arguments)} names: it needs one", hint="%container commit NAME[:TAG]")
        kernel = self._session.current or self._session.stopped
        assert kernel is not None  # noqa: S101  # as above
        session = self._session
        asked = CommitRequest(owner=session.owner, names=session.names(), container=kernel.sandbox.id, name=arguments[0])
        return session.commit(authorize(asked, Trust.CELL, session.policy()))

    def take_removed(self) -> bool:
        """Return once whether the container was removed on its user's order.

        The next cell gets a fresh one then.
        """
        removed, self._is_removed = self._is_removed, False
        return removed

    def _freeze(self, action: str, arguments: Sequence[str]) -> str:
        _no_more(action, arguments)
        kernel = self._session.current
        assert kernel is not None  # noqa: S101  # for mypy: the table has no such move without one
        if action == "pause":
            kernel.sandbox.pause()
            return f"container {kernel.sandbox.id} is paused: running cells are frozen until %container unpause"
        kernel.sandbox.unpause()
        return f"container {kernel.sandbox.id} goes on"

    def _stop(self, arguments: Sequence[str], message: Message | None) -> None:
        grace = parse_seconds(arguments[0], key="stop", or_none=True) if arguments else GRACE_SECONDS
        _no_more("stop", arguments[1:])
        kernel = self._session.current
        assert kernel is not None  # noqa: S101  # as above
        self._kill_at = time.monotonic() + grace
        self._order = Order(action="stop", message=message, until=self._kill_at + GRACE_SECONDS)
        kernel.sandbox.kill(signal.SIGTERM)
        if kernel.sandbox.state is State.PAUSED:
            kernel.sandbox.unpause()

    def _kill(self, arguments: Sequence[str], message: Message | None) -> str | None:
        number = parse_signal(arguments[0]) if arguments else signal.SIGKILL
        _no_more("kill", arguments[1:])
        kernel = self._session.current
        assert kernel is not None  # noqa: S101  # as above
        ends = number == signal.SIGKILL
        waiting = self._order.message if self._order is not None and ends else None
        self._order = Order(action="kill", message=message or waiting if ends else None, until=time.monotonic() + _SIGNAL_SECONDS)
        kernel.sandbox.kill(number)
        return None if ends else f"{number.name} was sent to container {kernel.sandbox.id}"

    @property
    def is_stopping(self) -> bool:
        """Whether the container is on its way down."""
        return self._kill_at is not None

    def tick(self) -> float | None:
        """Kill what did not stop within its grace period; return the seconds until then."""
        if self._kill_at is None or self._session.current is None:
            return None
        left = self._kill_at - time.monotonic()
        if left <= 0:
            self._kill_at = time.monotonic() + GRACE_SECONDS
            self._session.current.sandbox.kill()
        return max(left, 0.01)

    @property
    def grace_left(self) -> float | None:
        """Seconds until SIGKILL; None unless it is being stopped."""
        return None if self._kill_at is None else max(self._kill_at - time.monotonic(), 0.0)

    def ended(self) -> Order | None:
        """Return the order that the container has ended by, None if there was none."""
        order, self._order, self._kill_at = self._order, None, None
        return order if order is not None and time.monotonic() < order.until else None


def replaced(*, cell: int | None) -> Diagnosis:
    """Return what the cell that ran is told when a fresh container takes the place."""
    whose = "the container" if cell is None else f"cell {cell} was ended: the container"
    return Diagnosis("ContainerRestarted", f"{whose} was replaced by a fresh one", "run the cells that it needs again")


def diagnose(order: Order, outcome: Outcome, *, cell: int | None) -> Diagnosis:
    """Return what the cell that ran is told of an end that was ordered."""
    whose = "the container" if cell is None else f"cell {cell}"
    past = {"stop": "stopped", "kill": "killed"}[order.action]
    hint = "%container start goes on with its files, %container restart makes a fresh one; the variables are gone"
    return Diagnosis(f"Container{past.capitalize()}", f"{whose} was {past} by %container {order.action}, {summary(outcome)}", hint)


def summary(outcome: Outcome) -> str:
    """Format how it ended: "status 143 (SIGTERM), after 12 s"."""
    name = f" ({signal.Signals(outcome.signal).name})" if outcome.signal else ""
    return f"status {outcome.status}{name}, after {outcome.seconds:.1f} s"


def stopped_error() -> CellholdError:
    """Return the error of a cell that finds the container stopped."""
    return CellholdError(
        "cannot run the cell: the container is stopped",
        hint="%container start goes on with its files, %container restart makes a fresh one",
    )


def _no_more(action: str, arguments: Sequence[str]) -> None:
    if arguments:
        raise InvalidSpec(f"cannot use {escape(arguments[0], most=40)}: %container {action} takes no more words")
