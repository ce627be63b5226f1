"""What Jupyter asked and the cell kernel has not answered yet.

Nobody waits for ever when the container ends. Three fates then: the cell that ran gets
the error; a question (what is there to complete?) is asked again of the next cell
kernel; whatever else was on its way is answered "aborted", as ipykernel answers cells
that it will not run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cellhold_kernel.relay.replies import stops

if TYPE_CHECKING:
    from cellhold_kernel.protocol.messages import Message

QUESTIONS = frozenset(
    f"{what}_request" for what in ("kernel_info", "comm_info", "complete", "inspect", "is_complete", "history", "connect")
)
_MOST = 10_000


@dataclass
class Request:
    """A message that wants an answer. count: the cell's number once it runs."""

    channel: str
    message: Message
    count: int | None = None

    @property
    def is_cell(self) -> bool:
        """Whether it runs code."""
        return self.message.type == "execute_request"

    @property
    def on_main_shell(self) -> bool:
        """Whether it waits for the cells before it, and those behind it for it.

        Not so in a subshell (JEP 91) and on the control channel.
        """
        return self.channel == "shell" and not self.message.header.get("subshell_id")


@dataclass
class Fates:
    """What becomes of the requests to a lost container; each list oldest first."""

    ran: list[Request] = field(default_factory=list)
    again: list[Request] = field(default_factory=list)
    aborted: list[Request] = field(default_factory=list)

    @property
    def stop(self) -> bool:
        """Whether the cells behind are aborted too."""
        return any(stops(request.message) for request in self.ran)


class Requests:
    """The unanswered requests, in the order in which they came."""

    def __init__(self) -> None:
        self._by_id: dict[str, Request] = {}

    def add(self, channel: str, message: Message) -> None:
        """Remember a request; what is no request is forgotten at once."""
        if message.type.endswith("_request"):
            self._by_id[message.id] = Request(channel, message)
            if len(self._by_id) > _MOST:
                del self._by_id[next(iter(self._by_id))]

    def started(self, message_id: str, count: int) -> Request | None:
        """Note that the cell of a request runs, with its number.

        Returns the request, or None where nobody asked.
        """
        request = self._by_id.get(message_id)
        if request is not None:
            request.count = count
        return request

    def get(self, message_id: str) -> Request | None:
        """The unanswered request with that id."""
        return self._by_id.get(message_id)

    def answered(self, channel: str, reply: Message) -> Request | None:
        """Forget and return the request that a reply on that channel answers.

        Returns None where no client, or another one, has made it.
        """
        found = self._by_id.get(reply.parent_id)
        if found is None or found.channel != channel or found.message.identities != reply.identities:
            return None
        return self._by_id.pop(reply.parent_id)

    def is_from(self, identities: list[bytes]) -> bool:
        """Whether a client with these identities waits for an answer."""
        return any(request.message.identities == identities for request in self._by_id.values())

    def cell_runs(self) -> bool:
        """Whether a cell is on its way or running in the main shell."""
        return any(request.is_cell and request.on_main_shell for request in self._by_id.values())

    def settle(self) -> Fates:
        """Forget all requests, and say what is to become of each."""
        requests = list(self._by_id.values())
        self._by_id.clear()
        cells = [request for request in requests if request.is_cell]
        fates = Fates(ran=[request for request in cells if request.count is not None] or cells[:1])
        for request in requests:
            if request in fates.ran:
                continue
            asks_again = request.message.type in QUESTIONS or (request.is_cell and not fates.stop)
            (fates.again if asks_again else fates.aborted).append(request)
        return fates
