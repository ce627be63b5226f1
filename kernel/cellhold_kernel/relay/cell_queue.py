"""The messages that wait, in the order in which they came, and what they wait for.

Whether one may go is decided by phase.py; what going means, by relay.py.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from cellhold.spec.lifecycle import State
from cellhold_kernel.magics import lines, registry
from cellhold_kernel.protocol import messages
from cellhold_kernel.relay.phase import Asking, Situation, Verdict, decide
from cellhold_kernel.relay.replies import is_silent, stops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cellhold.errors import CellholdError
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.protocol.messages import Message
    from cellhold_kernel.relay.parts import Parts
    from cellhold_kernel.relay.pending import Request

_HELD_MOST = 1000  # messages that wait for the container to come
_HELD_BYTES_MOST = 16 << 20


class Replacement(NamedTuple):
    """A cell that waits for the container it has asked for.

    code: for the cell kernel, once it is there.
    """

    message: Message
    code: str


class JobCell(NamedTuple):
    """A cell that waits for a process."""

    message: Message
    job: Job


class CellQueue:
    """What has come from Jupyter and has to wait.

    replacing, working: the cell that everything behind it waits for. closes_at: when
    the cell kernel is ended that Jupyter has asked to end.
    """

    def __init__(self, parts: Parts, deliver: Callable[[Verdict, str, Message], None]) -> None:
        """deliver: does what was decided of a message. It is called from `pump`."""
        self._session = parts.session
        self._controls = parts.controls
        self._requests = parts.requests
        self._answers = parts.answers
        self._deliver = deliver
        self.keeping: Message | None = None  # the cell that waits for its files to be kept
        self._held: deque[tuple[str, Message]] = deque()
        self.replacing: Replacement | None = None
        self.working: JobCell | None = None
        self.closes_at: float | None = None

    # ------------------------------------------------------------------- may it go?

    @property
    def situation(self) -> Situation:
        """What a decision rests on, as it is now."""
        current = self._session.current
        return Situation(
            has_container=current is not None,
            is_coming=self._session.is_coming,
            is_replacing=self.replacing is not None,
            is_working=self.working is not None or self.keeping is not None,
            is_stopping=self._controls.is_stopping,
            is_closing=self.closes_at is not None,
            is_paused=current is not None and current.sandbox.state is State.PAUSED,
            takes_signals=current is not None and current.interrupts_by_signal,
        )

    def decide(self, channel: str, message: Message) -> Verdict:
        """Say what is to be done with a message that has just come."""
        situation = self.situation
        is_magic = message.type == "execute_request" and message.mentions(registry.CONTAINER_MARK)
        behind_cell = is_magic and self._requests.cell_runs()
        asking = Asking(
            channel,
            message.type,
            in_subshell=bool(message.header.get("subshell_id")),
            is_magic=is_magic,
            behind_cell=behind_cell,
            is_action=behind_cell and _may_overtake(message, is_paused=situation.is_paused),
        )
        return decide(situation, asking, is_queued=False)

    def pump(self) -> None:
        """Let go on what was held back, as far as it may."""
        while self._held:
            channel, message = self._held[0]
            is_cell = channel == "shell" and message.type == "execute_request"
            is_magic = is_cell and any(map(message.mentions, registry.MARKS))
            behind_cell = is_magic and self._requests.cell_runs()
            asking = Asking(channel, message.type, is_magic=is_magic, behind_cell=behind_cell)
            verdict = decide(self.situation, asking, is_queued=True)
            if verdict is Verdict.HOLD:
                return
            self._held.popleft()
            self._deliver(verdict, channel, message)

    # ------------------------------------------------------------------- what waits

    def hold(self, channel: str, message: Message) -> None:
        """Put a message at the end of the queue."""
        self._held.append((channel, message))

    def hold_first(self, waiting: Iterable[tuple[str, Message]]) -> None:
        """Put messages in front of all others, in their order."""
        self._held.extendleft(reversed(list(waiting)))

    def first_cell(self) -> Message | None:
        """The first cell that waits for the first container."""
        cells = (message for _channel, message in self._held if message.type == "execute_request")
        return next((message for message in cells if not is_silent(message)), None)

    @property
    def is_crowded(self) -> bool:
        """Whether so much waits that Jupyter's cells have to wait outside."""
        return len(self._held) > _HELD_MOST or sum(messages.size_of(message.frames) for _, message in self._held) > _HELD_BYTES_MOST

    def abort(self) -> None:
        """Abort the cells that wait; everything else goes on waiting."""
        waiting, self._held = self._held, deque()
        for channel, message in waiting:
            if message.type == "execute_request":
                self._answers.abort(channel, message)
            else:
                self._held.append((channel, message))

    def refuse(self, message: Message, error: CellholdError) -> None:
        """Answer a cell with an error, and abort those behind it as ipykernel does."""
        self._answers.refuse(message, error)
        if stops(message):
            self.abort()

    def follow(self, request: Request, *, failed: bool) -> None:
        """Go on behind a cell that was answered."""
        if request.is_cell and request.on_main_shell and self._held:
            if failed and stops(request.message):
                self.abort()
            self.pump()


def _may_overtake(message: Message, *, is_paused: bool) -> bool:
    """Whether a cell asks for an action on the container and nothing else.

    What it asks to be shown can wait for the cell that runs, unless that stands still.
    """
    action = lines.alone(str(message.content.get("code", "")))
    return bool(action) and (is_paused or not registry.find_action(action[0]).is_output)
