"""What comes from the container, which may be hostile, and goes on to Jupyter.

What is published goes to everybody; a reply goes to whoever has asked, and input() asks
only somebody whose cell runs. In place of what is too large a line says so
(left_out.py).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError
from cellhold_kernel.relay.left_out import LeftOuts
from cellhold_kernel.relay.replies import is_kernel_info
from cellhold_kernel.transport.large import Incoming, LeftOut, Surroundings
from cellhold_kernel.widgets import saved

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellhold_kernel.engine.cell_kernel import CellKernel
    from cellhold_kernel.protocol.messages import Message
    from cellhold_kernel.relay.backpressure import Flow
    from cellhold_kernel.relay.cell_files import CellFiles
    from cellhold_kernel.relay.cell_monitor import CellMonitor
    from cellhold_kernel.relay.cell_queue import CellQueue
    from cellhold_kernel.relay.outbound import Outbound
    from cellhold_kernel.relay.parts import Parts
    from cellhold_kernel.relay.pending import Request
    from cellhold_kernel.transport.backend import Backend
    from cellhold_kernel.transport.spool import Spools

_READ_MOST = 64 << 10  # bytes of JSON from the container that we look into
_COMMS_MOST = 1 << 20  # the same, of those that it has
_OURS = frozenset({"iopub_welcome"})  # what only the host kernel says
_STATES = ("busy", "idle", "starting")  # the others ("dead", "restarting") are the server's words


class Inbound:
    """The way from a notebook's containers to Jupyter."""

    def __init__(  # noqa: PLR0913, PLR0917  # what a message may meet
        self, parts: Parts, queue: CellQueue, outbound: Outbound, monitor: CellMonitor, flow: Flow, spools: Spools, files: CellFiles
    ) -> None:
        """spools: where large messages wait."""
        self._parts = parts
        self._queue = queue
        self._outbound = outbound
        self._monitor = monitor
        self._flow = flow
        self._spools = spools
        self._files = files
        self._left_outs = LeftOuts(parts.frontend, parts.signer, parts.answers, parts.requests)

    def forget(self) -> None:
        """Forget what was left out: another container has come."""
        self._left_outs.forget()

    def receive(self, kernel: CellKernel, channel: str, *, on_arrival: Callable[[], None], is_over: bool = False) -> None:
        """Pass on what came on a channel, as far as those who get it have read.

        on_arrival: called when the coming container speaks. is_over: the cell kernel
        has ended; what is left is what its sockets hold, which waits for no client.
        """
        if (backend := kernel.backend) is None:
            return
        backend.streams[channel].flush()
        if not self._flow.takes(kernel, channel, is_over=is_over):
            return
        for message in self._incoming(kernel, backend, channel).messages():
            if isinstance(message, LeftOut):
                self._leave_out(kernel, channel, message)
            elif channel == "iopub":
                if kernel.words is not None:
                    kernel.words.hear(message)
                if kernel is self._parts.session.coming:
                    on_arrival()
                else:
                    self.publish(kernel, message)
            elif channel == "stdin":
                self._ask(message)
            else:
                self._reply(kernel, channel, message)
            if not self._flow.takes(kernel, channel, is_over=is_over):
                return

    def _incoming(self, kernel: CellKernel, backend: Backend, channel: str) -> Incoming:
        if channel not in backend.incoming:
            around = Surroundings(
                signer=self._parts.signer,
                spools=self._spools,
                directory=kernel.scratch,
                most_bytes=lambda: self._parts.session.cell_limits.message_bytes,
            )
            backend.incoming[channel] = Incoming(backend.streams[channel], channel, around)
        return backend.incoming[channel]

    # ------------------------------------------------------------------------ published

    def publish(self, kernel: CellKernel, message: Message) -> None:
        """Pass on what a container has published, unless that is not for it to say."""
        if message.type in _OURS or (message.type == "status" and message.content_up_to(_READ_MOST).get("execution_state") not in _STATES):
            return
        if saved.forges(message):
            return
        if self._ends_cell(message) and self._files.holds(
            kernel, message.parent_id, message.parent, partial(self._publish, kernel, message)
        ):
            return
        self._publish(kernel, message)

    def _ends_cell(self, message: Message) -> bool:
        """Whether it is the `idle` of the cell that runs."""
        cell = self._monitor.cell
        if cell is None or message.type != "status" or message.parent_id != cell.message_id:
            return False
        return message.content_up_to(_READ_MOST).get("execution_state") == "idle" and self._parts.signer.verify(message)

    def _publish(self, kernel: CellKernel, message: Message) -> None:
        if self._monitor.leaves_out(message):
            return
        self._parts.frontend.pass_on(self._left_outs.substitute(message))
        if message.type == "execute_input" and self._parts.signer.verify(message):
            self._begin_cell(kernel, message)

    def _begin_cell(self, kernel: CellKernel, message: Message) -> None:
        """A cell runs: watch it, and publish what we have to say in it."""
        count = message.content_up_to(_READ_MOST).get("execution_count")
        if isinstance(count, int) and 0 <= count < 1 << 53:
            self._parts.answers.cells = count
            request = self._parts.requests.started(message.parent_id, count)
            if request is not None:
                self._monitor.begin(request, count, kernel)
        for kind, content in self._outbound.take_outputs(message.parent_id):
            self._parts.frontend.publish(kind, content, parent=message.parent)

    def _ask(self, message: Message) -> None:
        """A cell's input(): only for somebody whose cell runs."""
        if message.type == "input_request" and self._parts.requests.is_from(message.identities):
            self._parts.frontend.send("stdin", message.frames)

    def _leave_out(self, kernel: CellKernel, channel: str, left: LeftOut) -> None:
        if kernel is not self._parts.session.current:
            return
        result = self._monitor.result(left.message.parent_id)
        if (answered := self._left_outs.answer(channel, left, result=result)) is not None:
            self._queue.follow(answered[0], failed=answered[1])

    # -------------------------------------------------------------------------- replied

    def _reply(self, kernel: CellKernel, channel: str, message: Message) -> None:
        """Pass on an answer to the one who asked; what nobody asked is dropped."""
        if not self._parts.signer.verify(message):
            return
        request = self._parts.requests.answered(channel, message)
        if request is None:
            return
        go_on = partial(self._pass_on_reply, channel, message, request)
        if not (request.is_cell and request.on_main_shell and self._files.holds(kernel, request.message.id, request.message.header, go_on)):
            go_on()

    def _pass_on_reply(self, channel: str, message: Message, request: Request) -> None:
        ours = self._parts.panel.list_comms(request.message.content) if request.message.type == "comm_info_request" else {}
        if (flaw := message.flaw) is not None:
            self._replace_unreadable(request, flaw, ours)
            return
        content = message.content_up_to(_READ_MOST)
        if request.message.type == "kernel_info_request" and not is_kernel_info(content):
            self._parts.answers.question(channel, request.message, error=CellholdError("the cell kernel does not say what it is"))
            return
        if request.message.type == "kernel_info_request":
            self._parts.answers.kernel_info = content
        if ours and (theirs := message.content_up_to(_COMMS_MOST)):  # more comms than that are told without ours
            comms = theirs["comms"] if isinstance(theirs.get("comms"), dict) else {}
            self._parts.frontend.send(channel, self._parts.signer.with_content(message, {**theirs, "comms": {**comms, **ours}}))
            return
        self._monitor.note_reply(request, content.get("status"))
        self._parts.frontend.send(channel, message.frames)
        self._queue.follow(request, failed=content.get("status") == "error")

    def _replace_unreadable(self, request: Request, flaw: str, ours: Mapping[str, Any]) -> None:
        """Answer in place of a cell kernel whose answer no front end could read.

        ours: our part of it, if it has one.
        """
        error = CellholdError(f"cannot pass on the cell kernel's answer: {flaw}")
        if ours:
            self._parts.answers.comms(request.channel, request.message, ours)
        elif request.is_cell:
            self._parts.answers.unanswered(request.channel, request.message, error, count=request.count)
        else:
            self._parts.answers.question(request.channel, request.message, error=error)
        self._queue.follow(request, failed=True)
