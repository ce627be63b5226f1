"""Containers come and go: what becomes of the cells that wait for them.

Session calls its Listener here, on the kernel's one thread. Only the read-out of a
container that ends may block, for seconds: what a cell has said last must not be lost.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError
from cellhold_kernel.engine import controls, diagnosis
from cellhold_kernel.engine.diagnosis import Diagnosis
from cellhold_kernel.magics import registry
from cellhold_kernel.relay import outputs
from cellhold_kernel.transport.backend import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellhold.spec.outcome import Outcome
    from cellhold_kernel.engine.cell_kernel import CellKernel
    from cellhold_kernel.engine.controls import Order
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.relay.cell_files import CellFiles
    from cellhold_kernel.relay.cell_monitor import CellMonitor
    from cellhold_kernel.relay.cell_queue import CellQueue
    from cellhold_kernel.relay.inbound import Inbound
    from cellhold_kernel.relay.outbound import Outbound
    from cellhold_kernel.relay.parts import Parts

_DRAIN_SECONDS, _DRAIN_OVER_SECONDS = 0.5, 5.0
_QUIET_SECONDS = 0.01
_KILL_SECONDS = 2.0  # that a container takes to end once it is killed
_BROKEN_SECONDS = 10.0  # a busy machine takes 3 to say that a container has ended


class Transitions:
    """Engine's Listener. status: what the process is to exit with."""

    def __init__(  # noqa: PLR0913, PLR0917  # what a transition touches
        self, parts: Parts, queue: CellQueue, outbound: Outbound, monitor: CellMonitor, inbound: Inbound, files: CellFiles
    ) -> None:
        """No container has come yet."""
        self.status = 0
        self._parts = parts
        self._queue = queue
        self._outbound = outbound
        self._monitor = monitor
        self._inbound = inbound
        self._files = files
        self._lost = ""  # with the container that went last
        self._broken_since: float | None = None  # a cell kernel's socket

    # ------------------------------------------------------------------------ one comes

    def received(self, kernel: CellKernel, channel: str) -> None:
        """Pass on what a cell kernel's socket has; it can be read, or written."""
        self._inbound.receive(kernel, channel, on_arrival=self._arrive)

    def nudge(self, kernel: CellKernel) -> None:
        """Ask something, so that an ipykernel before 7, which does not greet, says "busy"."""
        if kernel.backend is not None:
            kernel.backend.send("shell", self._parts.signer.make("kernel_info_request", {}))

    def progressed(self, job: Job) -> None:
        """Show how far the image is, in the cell that waits for it."""
        replacing = self._queue.replacing
        message = replacing.message if replacing is not None else self._queue.first_cell()
        if message is not None:
            self._parts.progress.show(message, job)

    def _arrive(self) -> None:
        """The coming container speaks: it is the present one from now on."""
        session = self._parts.session
        old = session.arrive()
        if old is not None:
            self.displaced(old)
        self._monitor.forget()
        self._inbound.forget()
        if self._queue.replacing is not None:
            message, code = self._queue.replacing
            self._queue.replacing = None
            gone = f"; gone with the one before: its variables{self._lost}" if self._lost else ""
            self._outbound.publish_later(message, outputs.line(registry.summary(session) + gone))
            self._outbound.send_code(message, code)
        self._queue.pump()

    def failed(self, error: CellholdError) -> None:
        """Tell the cell that asked for the container, or every cell if there is none now."""
        if self._parts.session.current is None:
            self._parts.session.failure = error
        self._parts.panel.say(str(error))
        if self._queue.replacing is not None:
            message = self._queue.replacing.message
            self._queue.replacing = None
            self._queue.refuse(message, error)
        self._queue.pump()

    def cancel_start(self) -> None:
        """Give up the container that a cell waits for; the old one stays."""
        self._parts.session.cancel()
        self.failed(CellholdError("interrupted: the container was not replaced"))

    # ------------------------------------------------------------------------- one goes

    def displaced(self, kernel: CellKernel) -> None:
        """End the container that makes way for another, and let go of it.

        What it has said until then arrives.
        """
        self._finish_off(kernel)
        self._overtake(self._parts.controls.ended())
        self._lose(lambda cell: controls.replaced(cell=cell))
        self._outbound.notice = None
        self._parts.session.let_go(kernel)

    def ended(self, kernel: CellKernel, outcome: Outcome) -> None:
        """Answer the cells of a container that has ended, and have another one.

        One that ended on its user's order is kept. One that ended by itself ends this
        process as well, with the same status.
        """
        self._drain(kernel, is_over=True)
        self._pass_on_last_words(kernel)
        self._lost = self._files.end(kernel)
        order = self._parts.controls.ended()
        self._monitor.catch_up()
        self._parts.panel.container_ended(outcome)
        is_closing, is_coming = self._queue.closes_at is not None, self._parts.session.is_coming
        if not is_closing and order is not None and not is_coming:
            self._stop(kernel, order, outcome)
        elif not is_closing and (diagnosis.is_survived(outcome) or is_coming):
            self._overtake(order)
            self._replace(kernel, lambda cell: diagnosis.of_end(outcome, cell=cell, lost=self._lost))
        else:
            self.status = 0 if is_closing else outcome.status
            self._parts.loop.stop()

    def close_current(self) -> None:
        """End the container that Jupyter has asked to end and that has not."""
        if (current := self._parts.session.current) is not None:
            self._finish_off(current)
            self._parts.session.let_go(current)

    def hand_out_last(self) -> None:
        """End the container whose files go out, so that they do before this process ends."""
        current = self._parts.session.current
        if current is not None and current.files is not None and not current.files.is_inside:
            self._kill(current)
            self._files.end(current)

    def _stop(self, kernel: CellKernel, order: Order, outcome: Outcome) -> None:
        """Keep a container that was ended on order, for `start`, `commit`, `remove`."""
        self._lose(lambda cell: controls.diagnose(order, outcome, cell=cell))
        self._outbound.notice = None
        self._parts.session.park(kernel)
        self._parts.session.failure = controls.stopped_error()
        if order.message is not None:
            text = f"container {kernel.sandbox.id} is stopped: {controls.summary(outcome)}"
            self._parts.answers.cell(order.message, [outputs.line(text)], outputs.OK)
        self._queue.pump()

    def _overtake(self, order: Order | None) -> None:
        """Answer the cell that waits for the end of a container that was replaced."""
        if order is not None and order.message is not None:
            text = "the container has ended, and a fresh one is in its place"
            self._parts.answers.cell(order.message, [outputs.line(text)], outputs.OK)

    def _replace(self, kernel: CellKernel, diagnose: Callable[[int | None], Diagnosis]) -> None:
        """Take away a container that is lost, and have another.

        diagnose: says why, given the number of the cell that ran.
        """
        self._lose(diagnose)
        self._parts.session.let_go(kernel)
        if not self._parts.session.is_coming:
            self._parts.session.open()
        self._queue.pump()

    def check_sockets(self) -> float | None:
        """Give up a cell kernel that lives and has lost its sockets.

        Returns the seconds until that is due: one that ends loses them, too, a moment
        before.
        """
        session = self._parts.session
        kernel = session.coming or session.current
        broken = kernel.backend.broken if kernel is not None and kernel.backend is not None else None
        if kernel is None or broken is None or self._queue.closes_at is not None:
            self._broken_since = None
            return None
        now = time.monotonic()
        self._broken_since = self._broken_since or now
        left = self._broken_since + _BROKEN_SECONDS - now
        if left > 0:
            return left
        self._broken_since = None
        if kernel is session.coming:
            session.cancel()
            self.failed(CellholdError(f"cannot start a cell kernel: its socket for {broken}"))
        else:
            self._finish_off(kernel)
            self._overtake(self._parts.controls.ended())
            self._replace(kernel, partial(_diagnose_broken, broken, self._lost))
        return 0

    # ------------------------------------------------------------------------- read out

    def _drain(self, kernel: CellKernel, *, is_over: bool) -> None:
        """Pass on what a cell kernel has sent.

        is_over: it has ended. What is left of it is no more than its sockets hold, so
        it need not wait for clients.
        """
        until = time.monotonic() + (_DRAIN_SECONDS if not is_over else _DRAIN_OVER_SECONDS)
        while kernel.backend is not None and time.monotonic() < until and kernel.backend.wait(_QUIET_SECONDS):
            for channel in CHANNELS:
                self._inbound.receive(kernel, channel, on_arrival=self._arrive, is_over=is_over)
            if not is_over and not self._parts.frontend.takes("iopub"):
                time.sleep(_QUIET_SECONDS)  # a client is behind, and reads

    def _finish_off(self, kernel: CellKernel) -> None:
        """End a container that is to go.

        What it says while it is read out counts, too: it is read again once it has
        ended.
        """
        self._drain(kernel, is_over=False)
        self._kill(kernel)
        self._drain(kernel, is_over=kernel.sandbox.poll() is not None)
        self._pass_on_last_words(kernel)
        self._lost = self._files.end(kernel)

    @staticmethod
    def _kill(kernel: CellKernel) -> None:
        with suppress(CellholdError):  # it has just ended by itself
            kernel.sandbox.kill()
        until = time.monotonic() + _KILL_SECONDS
        while kernel.sandbox.poll() is None and time.monotonic() < until:
            time.sleep(_QUIET_SECONDS)

    def _pass_on_last_words(self, kernel: CellKernel) -> None:
        """Pass on what it has said and not sent; once, of one that has ended."""
        for message in kernel.words.messages(self._parts.signer, self._header_of) if kernel.words is not None else ():
            self._inbound.publish(kernel, message)

    def _header_of(self, message_id: str) -> Mapping[str, Any]:
        """The header of a request, or of the running cell for ""; made up if unknown."""
        cell = self._monitor.cell
        running = cell.message_id if cell is not None and not message_id else message_id
        request = self._parts.requests.get(running)
        return {**self._parts.signer.header("execute_request"), "msg_id": running} if request is None else request.message.header

    # ----------------------------------------------------------------- who waits for it

    def _lose(self, diagnose: Callable[[int | None], Diagnosis]) -> None:
        """Answer everybody who waits for an answer of a container that is gone."""
        fates = self._parts.requests.settle()
        stop = fates.stop
        cell = self._monitor.take()
        answers = self._parts.answers
        if not self._parts.session.is_coming:
            count = fates.ran[0].count or answers.cells + 1 if fates.ran else None
            why = diagnose(count)
            if cell is not None and cell.reached is not None and cell.is_killed:
                why = diagnosis.of_overdue(cell.reached, lost=self._lost)
            for request in fates.ran:
                number = request.count or answers.cells + 1
                self._parts.panel.refresh(parent=request.message.header)
                answers.killed(request.channel, request.message, name=why.name, lines=why.lines, count=number)
            self._outbound.notice = diagnosis.of_past(why) if fates.ran else why
            fates.ran.clear()
        self._outbound.forget_outputs()
        for request in (*fates.ran, *fates.aborted):
            answers.abort(request.channel, request.message)
        self._queue.hold_first((request.channel, request.message) for request in fates.again)
        if stop:
            self._queue.abort()


def _diagnose_broken(reason: str, lost: str, cell: int | None) -> Diagnosis:
    whose = "the cell kernel" if cell is None else f"cell {cell} was lost: the cell kernel"
    return Diagnosis("ContainerLost", f"{whose} cannot be reached any more, its socket for {reason}", diagnosis.fresh(lost))
