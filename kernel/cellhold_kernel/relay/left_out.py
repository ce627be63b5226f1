"""What is said in the place of a message that was left out (large.py).

Nothing is missed unseen, and nobody waits for it. A cell whose reply was too large has
run, and ends as it would have ended; a widget whose state did not get through is not
shown as a broken one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError
from cellhold_kernel.protocol import messages
from cellhold_kernel.protocol.json_scan import ObjectScan
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.relay.replies import RESULTS

if TYPE_CHECKING:
    from cellhold_kernel.protocol.messages import Message, Signer
    from cellhold_kernel.relay.pending import Request, Requests
    from cellhold_kernel.relay.replies import Answers
    from cellhold_kernel.transport.frontend import Frontend
    from cellhold_kernel.transport.large import LeftOut

_TYPE_MOST = 40  # characters of a message's type that are shown
_READ_MOST = 64 << 10  # bytes of metadata
_SHOWN_MOST = 4 << 20  # bytes of a message that shows a widget
_WIDGETS_MOST = 10_000
_VIEW = "application/vnd.jupyter.widget-view+json"
_REFERENCE = re.compile(rb"IPY_MODEL_([\w.-]{1,64})")
_ID_MOST = 64  # characters; ipywidgets has 32
_SHOWS = frozenset({"display_data", "update_display_data", "execute_result"})


class LeftOuts:
    """What was left out of what one host kernel's containers sent."""

    def __init__(self, frontend: Frontend, signer: Signer, answers: Answers, requests: Requests) -> None:
        """Publish and answer at `frontend`."""
        self._frontend = frontend
        self._signer = signer
        self._answers = answers
        self._requests = requests
        self._widgets: dict[str, None] = {}  # ids of the comms that no front end knows

    def answer(self, channel: str, left: LeftOut, *, result: str | None) -> tuple[Request, bool] | None:
        """Say so, and answer the request whose reply it was.

        Returns that request and whether it has failed; None where it was not a reply.
        result: of the cell that runs, as far as it is known.
        """
        message = left.message
        if channel in {"iopub", "stdin"}:
            if message.type == "comm_open":
                self._lose(_comm_id(message))
            self._publish(left, message.parent)
            return None
        if not self._signer.verify(message):
            return None
        request = self._requests.answered(channel, message)
        if request is None:
            return None
        if not request.is_cell:
            error = CellholdError(f"cannot pass on the answer: {left.why}", hint=left.hint)
            self._answers.question(channel, request.message, error=error)
            return request, True
        self._publish(left, request.message.header)
        said = (messages.object_in(message.signed[2], most=_READ_MOST) or {}).get("status")
        status = said if said in RESULTS else result or "ok"
        self._answers.short(channel, request.message, status, why=left.why, count=request.count)
        return request, status == "error"

    def _publish(self, left: LeftOut, parent: dict[str, Any]) -> None:
        hint = f"\nhint: {left.hint}" if left.hint else ""
        text = f"cellhold: {escape(left.message.type, most=_TYPE_MOST)} was left out, {left.why}{hint}\n"
        self._frontend.publish("stream", {"name": "stderr", "text": text}, parent=parent)

    # -------------------------------------------------------------------------- widgets

    def forget(self) -> None:
        """Another container has come, whose widgets are others."""
        self._widgets.clear()

    def substitute(self, message: Message) -> Message:
        """Return what is to be published in the place of a message.

        That is the message itself, unless it shows a widget that no front end knows.
        """
        if not self._widgets or message.seen is not None or len(message.signed[3]) > _SHOWN_MOST:
            return message
        if message.type == "comm_open" and self._refers(message):
            self._lose(_comm_id(message))
        if message.type not in _SHOWS or not message.mentions(_VIEW.encode()):
            return message
        content = message.content
        data = content.get("data")
        view = data.get(_VIEW) if isinstance(data, dict) else None
        if not isinstance(view, dict) or view.get("model_id") not in self._widgets:
            return message
        text = "cellhold: a widget is not shown: its state, or that of one in it, was left out"
        replaced = messages.parse(self._signer.with_content(message, {**content, "data": {"text/plain": text}, "metadata": {}}))
        return message if replaced is None else replaced

    def _refers(self, message: Message) -> bool:
        """Whether a widget contains a lost one, so that no front end can make it."""
        return any(found[1].decode() in self._widgets for found in _REFERENCE.finditer(message.signed[3]))

    def _lose(self, comm_id: str | None) -> None:
        if comm_id is not None and len(comm_id) <= _ID_MOST and len(self._widgets) < _WIDGETS_MOST:
            self._widgets[comm_id] = None


def _comm_id(message: Message) -> str | None:
    if message.seen is not None:
        return message.seen.comm_id
    scan = ObjectScan(frozenset({"comm_id"}))
    scan.feed(message.signed[3], is_last=True)
    return scan.texts.get("comm_id")
