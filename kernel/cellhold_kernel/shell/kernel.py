"""The kernel: Jupyter's requests in order, answered at once or by the shell.

One thing runs at a time.

    _take          the next request
    _begin_cell    -> the shell runs -> _cell_done
    _question      -> a subshell answers -> the function that was passed
"""

from __future__ import annotations

import signal
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from cellhold import __version__
from cellhold_kernel.protocol import messages
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.shell import lines, words
from cellhold_kernel.shell.history import History
from cellhold_kernel.shell.interrupt import Interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cellhold_kernel.protocol.messages import Message
    from cellhold_kernel.shell.asking import Question
    from cellhold_kernel.shell.control import Done
    from cellhold_kernel.shell.driver import Driver
    from cellhold_kernel.shell.speaker import Speaker

_NOT_FOUND = 127
_SETTLE_SECONDS = 0.1  # after an interrupt, which goes through PID 1, and must not hit the next cell's line while it is read
_BY_SIGNAL = 128  # plus the signal's number: the exit status, by POSIX
_ERRORS_MOST = 4096  # of standard error, to find a syntax error in
_SAYS_SYNTAX = ("syntax error", "unexpected eof while looking")


class ShellKernel:
    """The kernel, which answers requests.

    is_ready: whether the shell was identified. ending: whether a shutdown was
    requested. cell: the one that runs.
    """

    def __init__(self, argv: Sequence[str], driver: Driver, speaker: Speaker, signer: messages.Signer) -> None:
        """Make a kernel; begin() starts it. argv: the shell's."""
        self.is_ready = self.ending = False
        self.interrupt = Interrupt(driver)
        self.cell: Message | None = None
        self._argv = argv
        self._is_bash = lines.is_bash(argv)
        self._driver = driver
        self._speaker = speaker
        self._signer = signer
        self._queue: deque[Message] = deque()
        self._done: Callable[[Done], None] | None = None  # called at the end of what the shell runs
        self._name, self._version = "sh", ""
        self._history = History()
        self._functions: set[str] = set()
        self._status = 0  # the last cell's
        self._errors = ""  # the end of what the cell wrote to its standard error
        self._answer_read: Callable[[str | None], None] | None = None  # takes the front end's answer to a `read`
        self._rests_until = 0.0

    def begin(self) -> None:
        """Set the shell up, and ask which it is."""
        token = lines.new_token()
        self._driver.run(lines.first(self._argv), token)
        self._done = lambda _done: self._question(words.identity(self._argv[0], is_bash=self._is_bash), self._identified)

    def _identified(self, done: Done) -> None:
        self._name, self._version = words.parse_identity(done.answer)
        if self._name == "busybox":
            self.interrupt.repeats = True
            self._driver.run(lines.TRAP, lines.new_token())
            self._done = self._set_ready
        else:
            self.is_ready = True

    def _set_ready(self, _done: Done) -> None:
        self.is_ready = True

    def received(self, channel: str, parts: Sequence[messages.Part]) -> None:
        """Take a message of the host kernel."""
        message = messages.parse(parts)
        if message is None or not self._signer.verify(message):
            return
        if channel == "stdin":
            self._answered(message)
        elif channel == "control":
            self._control(message)
        elif channel == "shell":
            self._queue.append(message)

    def work(self) -> None:
        """Take waiting requests, as long as the shell is free."""
        while self._queue and self._done is None and self.is_ready and not self.ending and time.monotonic() >= self._rests_until:
            self._take(self._queue.popleft())

    def due(self) -> float | None:
        """Return the seconds until `interrupt.tick` and `work` must be called again."""
        at = self._rests_until if self._queue and self._done is None else self.interrupt.due_at
        return None if at is None else max(at - time.monotonic(), 0)

    @property
    def asks(self) -> bool:
        """Whether the front end was asked to answer a `read`."""
        return self._answer_read is not None

    def done(self, done: Done) -> None:
        """Finish what the shell ran."""
        finish, self._done = self._done, None
        if finish is not None:
            finish(done)

    def wrote(self, name: str, text: str) -> None:
        """Publish output of the shell, or of what it has started."""
        if name == "stderr":
            self._errors = (self._errors + text)[-_ERRORS_MOST:]
        if self.cell is None or not self.cell.content.get("silent"):
            self._speaker.stream(name, text)

    def _control(self, message: Message) -> None:
        if message.type == "interrupt_request":
            if self._done is not None and self.is_ready:
                self.interrupt.want()
            self._answer("control", message, {})
        elif message.type == "shutdown_request":
            self.ending = True
            self._answer("control", message, {"restart": bool(message.content.get("restart"))})
            self.interrupt.send(signal.SIGHUP)
        elif message.type == "kernel_info_request":
            self._answer("control", message, _info(self._argv[0], self._name, self._version))
        elif message.type.endswith("_request"):
            self._answer("control", message, {})

    def _take(self, message: Message) -> None:
        content = message.content
        code, cursor = str(content.get("code", "")), _cursor(content)
        if message.type == "execute_request":
            self._begin_cell(message, code)
        elif message.type == "kernel_info_request":
            self._answer("shell", message, _info(self._argv[0], self._name, self._version))
        elif message.type == "complete_request":
            want = words.wanted(code, cursor)
            self._ask_for(message, words.completion(want, is_bash=self._is_bash), partial(self._completed, message, want))
        elif message.type == "inspect_request":
            self._inspect(message, code, cursor)
        elif message.type == "is_complete_request":
            self._ask_for(message, words.check(self._argv[0], code), partial(self._checked, message, code))
        elif message.type == "history_request":
            self._answer("shell", message, {"history": self._history.select(content)})
        elif message.type == "comm_info_request":
            self._answer("shell", message, {"comms": {}})
        elif message.type.endswith("_request"):
            self._answer("shell", message, {})

    def _answer(self, channel: str, message: Message, content: dict[str, Any]) -> None:
        with self._speaker.at_work(message):
            self._speaker.reply(channel, message, content)

    # ---------------------------------------------------------------------------- cells

    def _begin_cell(self, message: Message, code: str) -> None:
        self._speaker.state(message, "busy")
        self._speaker.parent = message.header
        if not message.content.get("silent"):
            self._history.add(code, store=message.content.get("store_history", True) is not False)
            self._speaker.publish("execute_input", {"code": code, "execution_count": self._history.count})
        self.cell = message
        self._errors = ""
        self.interrupt.begin()
        code = code.replace("\r\n", "\n")
        if "<<" in code and not self._is_bash:  # dash reads past the cell if a here-document has no end
            self._question(words.check(self._argv[0], code), partial(self._here_documents_checked, message, code))
        else:
            self._run(message, code)

    def _here_documents_checked(self, message: Message, code: str, done: Done) -> None:
        verdict, text = words.parse_check(done.answer)
        if verdict == "incomplete" and not self.interrupt.has_been_sent:
            self._end_cell(message, _syntax_error(text.removeprefix(f"{self._argv[0]}: ") or "a here-document has no end"))
        else:
            self._run(message, code)

    def _run(self, message: Message, code: str) -> None:
        self._driver.run(lines.cell(code, before=self._status), lines.new_token())
        self._done = partial(self._cell_done, message, code)

    def _cell_done(self, message: Message, code: str, done: Done) -> None:
        self._status = done.status
        self._functions |= words.functions_in(code)
        if done.status == 0:
            self._end_cell(message, None)
        elif self.interrupt.has_been_sent:
            self._end_cell(message, ("KeyboardInterrupt", "", ["KeyboardInterrupt: the shell goes on, with its variables and functions"]))
        elif any(phrase in self._errors.lower() for phrase in _SAYS_SYNTAX):
            self._question(words.check(self._argv[0], code), partial(self._syntax_checked, message, done.status))
        else:
            self._end_cell(message, _exit_status(done.status))

    def _syntax_checked(self, message: Message, status: int, done: Done) -> None:
        verdict, text = words.parse_check(done.answer)
        is_syntax = verdict in ("incomplete", "invalid")
        self._end_cell(message, _syntax_error(text.removeprefix(f"{self._argv[0]}: ")) if is_syntax else _exit_status(status))

    def _end_cell(self, message: Message, error: tuple[str, str, list[str]] | None) -> None:
        """Reply, and abort the cells behind one that failed, as ipykernel does."""
        self.cell = self._answer_read = None
        self.interrupt.end()
        if self.interrupt.has_been_sent:
            self._rests_until = time.monotonic() + _SETTLE_SECONDS
        reply: dict[str, Any] = {"execution_count": self._history.count, "user_expressions": {}, "payload": []}
        if error is not None:
            failure = {"ename": error[0], "evalue": error[1], "traceback": error[2]}
            if not message.content.get("silent"):
                self._speaker.publish("error", failure, parent=message.header)
            reply |= {"status": "error", **failure}
        self._speaker.reply("shell", message, reply)
        self._speaker.state(message, "idle")
        if error is not None and message.content.get("stop_on_error", True) and not message.content.get("silent"):
            self._abort()

    def _abort(self) -> None:
        waiting, self._queue = self._queue, deque()
        for message in waiting:
            if message.type == "execute_request":
                self._answer("shell", message, {"status": "aborted"})
            else:
                self._queue.append(message)

    def ended(self, sentence: str) -> None:
        """Fail the running cell. sentence: how the shell ended, "" to do nothing."""
        if sentence and self.cell is not None:
            hint = "hint: `exit` ends the kernel, and so does the first command that fails after `set -e`; Jupyter starts a fresh one"
            self._end_cell(self.cell, ("ShellEnded", sentence, [f"ShellEnded: the shell {sentence}", hint]))

    # ------------------------------------------------------------------------ questions

    def _question(self, body: str, finish: Callable[[Done], None]) -> None:
        token = lines.new_token()
        self._driver.run(lines.question(body, token), token)
        self._done = finish

    def _ask_for(self, message: Message, body: str, finish: Callable[[Done], None]) -> None:
        self._speaker.state(message, "busy")
        self._question(body, finish)

    def _reply(self, message: Message, content: dict[str, Any]) -> None:
        self._speaker.reply("shell", message, content)
        self._speaker.state(message, "idle")

    def _completed(self, message: Message, want: words.Wanted, done: Done) -> None:
        matches = words.matches(want, done.answer, self._functions, is_bash=self._is_bash)
        self._reply(message, {"matches": matches, "cursor_start": want.start, "cursor_end": want.end, "metadata": {}})

    def _checked(self, message: Message, code: str, done: Done) -> None:
        verdict, _text = words.parse_check(done.answer)
        if verdict == "complete" and code.endswith("\\") and not code.endswith("\\\\"):
            verdict = "incomplete"
        self._reply(message, {"status": verdict, **({"indent": ""} if verdict == "incomplete" else {})})

    def _inspect(self, message: Message, code: str, cursor: int) -> None:
        word = words.inspected(code, cursor)
        if word is None:
            self._answer("shell", message, {"found": False, "data": {}, "metadata": {}})
            return
        body = words.inspection(word, is_bash=self._is_bash, detailed=bool(message.content.get("detail_level")))
        self._ask_for(message, body, partial(self._inspected, message))

    def _inspected(self, message: Message, done: Done) -> None:
        text = "\n".join(escape(line) for line in done.answer.decode("utf-8", "replace").strip().split("\n"))
        self._reply(message, {"found": bool(text), "data": {"text/plain": text} if text else {}, "metadata": {}})

    def request_input(self, question: Question, answer: Callable[[str | None], None]) -> None:
        """Ask the front end for the line of a `read`, or answer None."""
        if self.cell is not None and self.cell.content.get("allow_stdin", True):
            self._answer_read = answer
            self._speaker.ask(self.cell, question.prompt, is_secret=question.is_secret)
            return
        self._speaker.stream("stderr", "read: this front end does not take input\n")
        answer(None)

    def _answered(self, message: Message) -> None:
        answer, self._answer_read = self._answer_read, None
        if message.type == "input_reply" and answer is not None:
            answer(str(message.content.get("value", "")))


def _cursor(content: dict[str, Any]) -> int:
    position = content.get("cursor_pos")
    code = str(content.get("code", ""))
    return max(0, min(position, len(code))) if isinstance(position, int) else len(code)


def _info(program: str, name: str, version: str) -> dict[str, Any]:
    """Return the content of a kernel_info_reply.

    program: the shell's path in the image. name, version: as the shell states them.
    """
    return {
        "protocol_version": messages.PROTOCOL_VERSION,
        "implementation": "cellhold-shell",
        "implementation_version": __version__,
        "language_info": words.language(name, version),
        "banner": f"{name} {version}".strip() + f", {program} of the image; Cellhold {__version__}",
        "help_links": [],
        "supported_features": [],
    }


def _exit_status(status: int) -> tuple[str, str, list[str]]:
    text = f"exit status {status}"
    if status > _BY_SIGNAL:
        with suppress(ValueError):
            text += f" ({signal.Signals(status - _BY_SIGNAL).name})"
    elif status == _NOT_FOUND:
        text += " (command not found)"
    return "ExitStatus", str(status), [text]


def _syntax_error(message: str) -> tuple[str, str, list[str]]:
    line = escape(message.strip().partition("\n")[0] if message.strip() else "the cell cannot be parsed")
    return "SyntaxError", line, [f"SyntaxError: {line}"]
