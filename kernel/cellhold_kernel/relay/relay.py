"""The host kernel: which message goes where.

Towards the container everything goes on as it came (the key is the same on both sides,
nothing is signed twice), in the order in which it came. What is held back: everything
while a container comes up; what follows a `%container` cell until that is done. What is
answered here: `%container`, a container's end, and everything while there is no
container.

    Jupyter -> _receive -> cell_queue.py -> outbound.py -> container -> inbound.py
                           | phase.py: may it go?          | transitions.py: comes, ends
                           +-> commands.py, cell_jobs.py: what a cell asks of us
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError
from cellhold_kernel.engine.controls import Controls
from cellhold_kernel.protocol import messages
from cellhold_kernel.relay.backpressure import Flow
from cellhold_kernel.relay.cell_files import CellFiles
from cellhold_kernel.relay.cell_jobs import CellJobs
from cellhold_kernel.relay.cell_monitor import CellMonitor
from cellhold_kernel.relay.cell_queue import CellQueue
from cellhold_kernel.relay.commands import Commands
from cellhold_kernel.relay.inbound import Inbound
from cellhold_kernel.relay.outbound import Outbound
from cellhold_kernel.relay.parts import Parts
from cellhold_kernel.relay.pending import Requests
from cellhold_kernel.relay.phase import Verdict
from cellhold_kernel.relay.progress import Progress
from cellhold_kernel.relay.replies import Answers
from cellhold_kernel.relay.transitions import Transitions
from cellhold_kernel.transport.loop import guarded
from cellhold_kernel.transport.spool import Spools
from cellhold_kernel.widgets.lazy_panel import LazyPanel

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold_kernel.engine.session import Session
    from cellhold_kernel.protocol.messages import Message
    from cellhold_kernel.settings.notebook import Notebook
    from cellhold_kernel.transport.frontend import Frontend
    from cellhold_kernel.transport.loop import Loop

    Handler = Callable[[str, Message], None]  # of a channel and a message

_SHUTDOWN_SECONDS = 1.5
_COMMS = ("comm_info_request", "comm_open", "comm_msg", "comm_close")


class HostKernel:
    """Relays between a front end and a session's containers."""

    def __init__(self, frontend: Frontend, session: Session, loop: Loop, signer: messages.Signer, notebook: Notebook | None = None) -> None:
        """Wait for what Jupyter sends; nothing is started yet.

        notebook: its file, where that is known.
        """
        controls = Controls(session)
        self._parts = parts = Parts(
            frontend=frontend,
            session=session,
            loop=loop,
            signer=signer,
            requests=Requests(),
            answers=Answers(frontend),
            controls=controls,
            panel=LazyPanel(frontend, signer, session, controls, loop, notebook),
            progress=Progress(frontend),
        )
        self._spools = Spools()
        self._monitor = CellMonitor(parts)
        self._files = CellFiles(parts, self._monitor)
        self._flow = Flow(frontend, session, loop, lambda: self._files.is_holding)
        self._queue = CellQueue(parts, self._deliver)
        self._outbound = Outbound(parts, self._queue, self._monitor)
        self._jobs = CellJobs(parts, self._queue, self._outbound)
        self._commands = Commands(parts, self._queue, self._outbound, self._jobs, self._files)
        self._inbound = Inbound(parts, self._queue, self._outbound, self._monitor, self._flow, self._spools, self._files)
        self._transitions = Transitions(parts, self._queue, self._outbound, self._monitor, self._inbound, self._files)
        self._routes: dict[tuple[str, str], Handler] = {
            (channel, kind): self._route_comm for channel in ("shell", "control") for kind in _COMMS
        }
        self._handlers: dict[Verdict, Handler] = {
            Verdict.HOLD: self._queue.hold,
            Verdict.SEND: self._outbound.send,
            Verdict.READ: self._commands.run,
            Verdict.PERFORM: self._commands.perform_alone,
            Verdict.ANSWER: self._outbound.answer,
            Verdict.INFORM: parts.answers.info,
            Verdict.SIGNAL: self._signal,
            Verdict.CANCEL_JOB: partial(self._interrupt, self._jobs.cancel),
            Verdict.CANCEL_START: partial(self._interrupt, self._transitions.cancel_start),
            Verdict.ABORT: partial(self._interrupt, self._queue.abort),
            Verdict.SHUT_DOWN: self._shut_down,
        }
        session.subscribe(self._transitions)
        loop.add(frontend.sockets["hb"], frontend.echo)
        loop.add(frontend.sockets["iopub"], frontend.greet)
        loop.add(frontend.sockets["shell"], partial(self._receive, "shell"))
        loop.add(frontend.sockets["control"], partial(self._receive, "control"))
        loop.add(frontend.sockets["stdin"], self._outbound.send_stdin)

    @property
    def status(self) -> int:
        """What the process is to exit with."""
        return self._transitions.status

    def tick(self) -> float | None:
        """Do what is due now; return the seconds until something is due again.

        The loop calls it before every wait.
        """
        closes_at = self._queue.closes_at
        if closes_at is not None and closes_at <= time.monotonic():
            self._transitions.close_current()
            self._parts.loop.stop()
        due = [
            self._parts.session.tick() if closes_at is None else closes_at - time.monotonic(),
            self._monitor.tick() if closes_at is None else None,
            self._parts.controls.tick(),
            self._files.tick() if closes_at is None else None,
            self._parts.panel.tick(),
            self._flow.regulate(is_crowded=self._queue.is_crowded),
            self._transitions.check_sockets(),
            self._parts.progress.catch_up(),
            self._spools.release(),
        ]
        return min((seconds for seconds in due if seconds is not None), default=None)

    def close(self) -> None:
        """End what works for cells, the container included."""
        self._jobs.close()
        self._parts.panel.close()
        self._transitions.hand_out_last()
        self._parts.session.close()

    # --------------------------------------------------------------------- from Jupyter

    def _receive(self, channel: str) -> None:
        for parts in self._parts.frontend.receive(channel):
            message = messages.parse(parts)
            if message is None or not self._parts.signer.verify(message):
                continue  # ipykernel drops such as well
            self._guard(self._routes.get((channel, message.type), self._route), channel, message)
        self._queue.pump()

    def _route(self, channel: str, message: Message) -> None:
        """Do with a message that has just come what its phase says."""
        self._handlers[self._queue.decide(channel, message)](channel, message)

    def _route_comm(self, channel: str, message: Message) -> None:
        """Take a message about comms that is ours to answer; route any other.

        Ours are those about the panel, and all while no cell kernel can answer.
        """
        panel, now = self._parts.panel, self._queue.situation
        if not panel.looks_at(message):
            self._route(channel, message)
        elif message.type == "comm_info_request" and (now.is_paused or not (now.has_container or now.is_coming)):
            self._parts.answers.comms(channel, message, panel.list_comms(message.content))
        elif not panel.takes(message):
            self._route(channel, message)

    def _deliver(self, verdict: Verdict, channel: str, message: Message) -> None:
        """Do with a message that has waited what was decided (CellQueue.pump calls)."""
        self._guard(self._handlers[verdict], channel, message)

    def _guard(self, handler: Handler, channel: str, message: Message) -> None:
        """Handle a message; a handler that fails unforeseen still gets an answer."""
        if not guarded(partial(handler, channel, message)):
            error = CellholdError("cannot do what was asked: the Jupyter server's log says why")
            self._outbound.refuse(channel, message, error)

    # -------------------------------------------------------------- the control channel

    def _signal(self, channel: str, message: Message) -> None:
        current = self._parts.session.current
        if current is not None and self._parts.requests.cell_runs():  # a kernel that waits for a cell might end by it
            current.interrupt()
        self._parts.answers.ok(channel, message)

    def _interrupt(self, give_up: Callable[[], None], channel: str, message: Message) -> None:
        give_up()
        self._parts.answers.ok(channel, message)

    def _shut_down(self, channel: str, message: Message) -> None:
        """Let the cell kernel end, for a while; without one, end at once."""
        session = self._parts.session
        if session.current is None:
            self._outbound.refuse(channel, message, session.failure or CellholdError("no container runs"))
            self._parts.loop.stop()
        else:
            self._outbound.send(channel, message)
            self._queue.closes_at = time.monotonic() + _SHUTDOWN_SECONDS
