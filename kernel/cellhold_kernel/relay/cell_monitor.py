"""What is watched of the cell that runs in the main shell.

Its limits are enforced (running_cell.py counts), and a cell that meets one is told so.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError
from cellhold_kernel.protocol import messages
from cellhold_kernel.relay import outputs
from cellhold_kernel.relay.replies import RESULTS
from cellhold_kernel.relay.running_cell import Counters, RunningCell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold_kernel.engine.cell_kernel import CellKernel
    from cellhold_kernel.protocol.messages import Message
    from cellhold_kernel.relay.parts import Parts
    from cellhold_kernel.relay.pending import Request
    from cellhold_kernel.relay.running_cell import Due

_OUTPUT = frozenset({"stream", "display_data", "update_display_data", "execute_result"})
_READ_MOST = 64 << 10  # bytes of JSON from the container that we look into


class CellMonitor:
    """The cells of one notebook, of which one runs at a time. cell: that one."""

    def __init__(self, parts: Parts) -> None:
        """No cell runs."""
        self._parts = parts
        self._seen: Counters | None = None  # the present container's, before its first cell and after each
        self.cell: RunningCell | None = None

    # -------------------------------------------------------- from its begin to its end

    def prepare(self, kernel: CellKernel) -> None:
        """Read the container's counters before its first cell is sent."""
        if self._seen is None:
            self._seen = Counters.read(kernel)

    def begin(self, request: Request, count: int, kernel: CellKernel) -> None:
        """Watch the cell of that request, which runs and has that number."""
        if request.on_main_shell and self._seen is not None:
            limits = self._parts.session.cell_limits
            self.cell = RunningCell(request.message.id, count, kernel, limits, self._seen)
            self._parts.panel.cell_began(count, self._seen.usage)

    def catch_up(self) -> None:
        """Tell the panel of a cell whose container ended before it could say that it runs."""
        if self.cell is None and self._seen is not None and self._parts.requests.cell_runs():
            self._parts.panel.cell_began(self._parts.answers.cells + 1, self._seen.usage)

    def take(self) -> RunningCell | None:
        """Return the cell that was lost with its container, and watch it no longer."""
        cell, self.cell = self.cell, None
        return cell

    def forget(self) -> None:
        """Forget the counters: another container has come."""
        self._seen = None

    # ----------------------------------------------------------- what it says of itself

    def result(self, message_id: str) -> str | None:
        """The status of the cell of that request, as far as it is known; None of another."""
        return self.cell.result if self.cell is not None and self.cell.message_id == message_id else None

    def note_reply(self, request: Request, status: Any) -> None:
        """Take in the status of a reply."""
        if self.cell is not None and request.message.id == self.cell.message_id and status in RESULTS:
            self.cell.result = status

    def leaves_out(self, message: Message) -> bool:
        """Whether a published message is more output than the cell may have.

        At the cell's end, publish in it the limits of the container that it has met.
        """
        cell = self.cell
        if cell is None or message.parent_id != cell.message_id:
            return False
        if message.type == "error":
            cell.result = message.type  # the reply says so, too, on another socket: before this one's "idle" or after it
        if message.type in _OUTPUT:
            self._enforce(cell.count_output(messages.size_of(message.frames)), message.parent)
            return cell.is_cut
        if message.type == "status" and message.content_up_to(_READ_MOST).get("execution_state") == "idle":
            self._end(cell, message)
        return False

    def _end(self, cell: RunningCell, message: Message) -> None:
        if not self._parts.signer.verify(message):
            return
        self.cell = None
        for met in cell.limits_met():
            self._parts.frontend.publish(*outputs.warning(met), parent=message.parent)
        self._seen = cell.seen
        self._parts.panel.cell_ended(cell.result, parent=message.parent)

    # ----------------------------------------------------------------------- its limits

    def tick(self) -> float | None:
        """Enforce the cell's time limit; return the seconds until that is due."""
        if self.cell is None:
            return None
        request = self._parts.requests.get(self.cell.message_id)
        self._enforce(self.cell.due(), request.message.header if request is not None else {})
        return self.cell.left()

    def _enforce(self, due: Due | None, header: Mapping[str, Any]) -> None:
        current = self._parts.session.current
        if due is None or current is None or current.backend is None:
            return
        if due.what == "kill":
            current.sandbox.kill()
            return
        self._parts.frontend.publish(*outputs.warning(due.why), parent=header)
        if due.what == "interrupt" and current.interrupts_by_signal:
            current.interrupt()
        elif due.what == "interrupt":
            current.backend.send("control", self._parts.signer.make("interrupt_request", {}))
        elif due.what == "pause":
            with suppress(CellholdError):
                current.sandbox.pause()
