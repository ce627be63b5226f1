"""What goes to the cell kernel, or is answered in its place where there is none.

The key is the same on both sides, so frames go on as they came; only a cell whose
magics are taken out of it is signed again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import CellholdError
from cellhold.spec.lifecycle import State
from cellhold_kernel.engine import controls
from cellhold_kernel.engine.usage import UsageMeter
from cellhold_kernel.relay import outputs
from cellhold_kernel.relay.replies import is_silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold_kernel.engine.diagnosis import Diagnosis
    from cellhold_kernel.protocol.messages import Message, Part
    from cellhold_kernel.relay.cell_monitor import CellMonitor
    from cellhold_kernel.relay.cell_queue import CellQueue
    from cellhold_kernel.relay.outputs import Output
    from cellhold_kernel.relay.parts import Parts


class Outbound:
    """The way to the present container.

    notice: why the last one ended, for the next cell to say.
    """

    def __init__(self, parts: Parts, queue: CellQueue, monitor: CellMonitor) -> None:
        """Nothing was sent yet."""
        self._parts = parts
        self._queue = queue
        self._monitor = monitor
        self._meter = UsageMeter()
        self._outputs: dict[str, list[Output]] = {}  # request id -> what to publish once its cell has begun
        self.notice: Diagnosis | None = None

    def send(self, channel: str, message: Message, parts: list[Part] | None = None) -> None:
        """Send a message to the cell kernel, or answer it where there is none.

        parts: its frames, if they were changed.
        """
        current = self._parts.session.current
        if current is None or current.backend is None:
            self.answer(channel, message)
            return
        if channel == "control" and message.type == "usage_request":
            self._parts.answers.control(message, self._meter.read(current))
            return
        if message.type == "execute_request" and self.notice is not None and not is_silent(message):
            self.publish_later(message, outputs.warning(self.notice))
            self.notice = None
        if message.type == "execute_request":
            self._monitor.prepare(current)
        self._parts.requests.add(channel, message)
        current.backend.send(channel, parts or message.frames)

    def send_stdin(self) -> None:
        """Pass on what a person has typed at a cell's input()."""
        for parts in self._parts.frontend.receive("stdin"):
            current = self._parts.session.current
            if current is not None and current.backend is not None:
                current.backend.send("stdin", parts)

    def send_code(self, message: Message, code: str) -> None:
        """Send a cell without its magics."""
        self.send("shell", message, self._parts.signer.with_content(message, {**message.content, "code": code}))

    def finish(self, message: Message, said: Sequence[Output], code: str) -> None:
        """Let the rest of a cell run in the container, with our outputs before its own.

        Without a container, or in a paused one, our outputs are all.
        """
        current = self._parts.session.current
        if current is None or current.sandbox.state is State.PAUSED:
            self._parts.answers.cell(message, said, outputs.OK)
            return
        for output in said:
            self.publish_later(message, output)
        self.send_code(message, code)

    # ------------------------------------------------------- our own words in its cells

    def publish_later(self, message: Message, output: Output) -> None:
        """Publish an output of our own in the cell kernel's cell, once it has begun."""
        if not is_silent(message):
            self._outputs.setdefault(message.id, []).append(output)

    def take_outputs(self, message_id: str) -> Sequence[Output]:
        """What is to be published in the cell that has begun."""
        return self._outputs.pop(message_id, ())

    def forget_outputs(self) -> None:
        """The cells that they were for are lost."""
        self._outputs.clear()

    # ------------------------------------------------------------ without a cell kernel

    def answer(self, channel: str, message: Message) -> None:
        """Answer where no container runs.

        A cell gets a fresh one if the last was removed on its user's order.
        """
        if message.type == "execute_request" and self._parts.controls.take_removed():
            self._parts.session.open()
            self.notice = controls.FRESH
            self._queue.hold_first([(channel, message)])
        else:
            self.refuse(channel, message, self._parts.session.failure or CellholdError("no container runs"))

    def refuse(self, channel: str, message: Message, error: CellholdError) -> None:
        """Answer with an error, or with what can be said without a cell kernel."""
        if message.type == "execute_request":
            self._queue.refuse(message, error)
        else:
            self._parts.answers.question(channel, message, error=error)
