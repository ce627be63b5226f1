"""What a cell asks of the host kernel: its magics, and the words of %container.

Both tables are in magics/registry.py; here is what is done for each kind of row.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError
from cellhold_kernel.engine import diagnosis
from cellhold_kernel.magics import lines, registry
from cellhold_kernel.magics.registry import Action
from cellhold_kernel.relay import outputs
from cellhold_kernel.relay.cell_queue import Replacement

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold_kernel.files.hand_out import Report
    from cellhold_kernel.magics.lines import Asked
    from cellhold_kernel.protocol.messages import Message
    from cellhold_kernel.relay.cell_files import CellFiles
    from cellhold_kernel.relay.cell_jobs import CellJobs
    from cellhold_kernel.relay.cell_queue import CellQueue
    from cellhold_kernel.relay.outbound import Outbound
    from cellhold_kernel.relay.outputs import Output
    from cellhold_kernel.relay.parts import Parts

    Words = tuple[str, ...]  # an action of %container with its arguments
    Command = Callable[[Message, Words, str], None]  # of the cell that asks, and its code for the cell kernel


class Commands:
    """Does them for one host kernel."""

    def __init__(self, parts: Parts, queue: CellQueue, outbound: Outbound, jobs: CellJobs, files: CellFiles) -> None:
        """One command for each kind of action."""
        self._parts = parts
        self._queue = queue
        self._outbound = outbound
        self._jobs = jobs
        self._files = files
        self._commands: dict[Action, Command] = {
            Action.CONTROL: self._control,
            Action.COMMIT: self._commit,
            Action.PANEL: self._show,
            Action.TEXT: self._show,
            Action.KEEP: self._keep,
        }

    def run(self, channel: str, message: Message) -> None:
        """Do what a cell's magics ask for.

        A cell that only seemed to have one goes to the cell kernel as it is.
        """
        if not self._run(message):
            self._outbound.send(channel, message)

    def _run(self, message: Message) -> bool:
        session = self._parts.session
        try:
            code = lines.encodable(str(message.content.get("code", "")))
            if (begun := registry.begin_job(session, code)) is not None:
                self._jobs.begin(message, *begun)
                return True
            asked = lines.read(code)
            if asked is None:
                return False
            if asked.action and not registry.find_action(asked.action[0]).is_output:
                self._perform(message, asked.action, asked.code)
                return True
            if asked.magics.get("container"):
                self._replace(message, asked)
                return True
            said = self._answer(message, asked)
        except (CellholdError, OSError) as error:
            self._queue.refuse(message, diagnosis.as_answer(error))
            return True
        self._outbound.finish(message, said, asked.code)
        return True

    def _replace(self, message: Message, asked: Asked) -> None:
        """Have a container with what all lines of the cell say; the cell waits for it."""
        self._parts.session.begin({key: text for name in registry.LINES for key, text in asked.magics.get(name, {}).items()})
        self._parts.answers.busy(message)
        self._queue.replacing = Replacement(message, asked.code)

    def _answer(self, message: Message, asked: Asked) -> list[Output]:
        """What the lines of a cell show, or have changed."""
        session = self._parts.session
        said = self._outputs(message, asked.action) if asked.action else []
        for name in registry.LINES:
            texts = asked.magics.get(name)
            if texts is not None:
                magic = registry.line_magic(name)
                said.append(outputs.line(magic.change(session, texts)) if texts else outputs.display(magic.mime_bundle(session)))
        return said

    # ---------------------------------------------------------- the words of %container

    def perform_alone(self, _channel: str, message: Message) -> None:
        """Do what a cell asks for that is an action and nothing else."""
        self._perform(message, lines.alone(str(message.content.get("code", ""))), "")

    def _perform(self, message: Message, words: Words, code: str) -> None:
        try:
            self._commands[registry.find_action(words[0])](message, words, code)
        except (CellholdError, OSError) as error:
            self._queue.refuse(message, diagnosis.as_answer(error))

    def _control(self, message: Message, words: Words, code: str) -> None:
        """Pause, stop, restart ...: now, or once the container has ended or come."""
        word, *arguments = words
        sentence = self._parts.controls.perform(word, arguments, message)
        if sentence is not None:
            self._parts.answers.cell(message, [outputs.line(sentence)], outputs.OK)
            return
        self._parts.answers.busy(message)
        if self._parts.session.is_coming:
            self._queue.replacing = Replacement(message, code)

    def _commit(self, message: Message, words: Words, code: str) -> None:
        self._jobs.begin(message, self._parts.controls.commit(words[1:]), code)

    def _keep(self, message: Message, words: Words, code: str) -> None:
        granted = registry.keep(self._parts.session, words[1:])
        self._queue.keeping = message
        try:
            self._files.keep(granted, partial(self._kept, message, code))
        except BaseException:
            self._queue.keeping = None
            raise

    def _kept(self, message: Message, code: str, report: Report) -> None:
        self._queue.keeping = None
        self._outbound.finish(message, [outputs.line(registry.kept(report))], code)
        self._queue.pump()

    def _show(self, message: Message, words: Words, _code: str) -> None:
        self._parts.answers.cell(message, self._outputs(message, words), outputs.OK)

    def _outputs(self, message: Message, words: Words) -> list[Output]:
        if registry.find_action(words[0]) is Action.PANEL:
            return self._parts.panel.show(words, parent=message.header)
        return [outputs.display(registry.show(self._parts.session, words))]
