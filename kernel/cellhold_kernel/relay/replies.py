"""What the host kernel answers itself, where there is no cell kernel to answer.

Each answer has the messages that belong to it. So the notebook stays usable without a
container, and can be repaired with %container. Which request is answered here, relay.py
decides.
"""

from __future__ import annotations

import platform
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cellhold import __version__
from cellhold_kernel.protocol.messages import PROTOCOL_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cellhold.errors import CellholdError
    from cellhold_kernel.protocol.messages import Message
    from cellhold_kernel.transport.frontend import Frontend

RESULTS = ("ok", "error", "aborted")  # of a cell
_LANGUAGE = {
    "name": "python",
    "version": platform.python_version(),
    "mimetype": "text/x-python",
    "file_extension": ".py",
    "pygments_lexer": "ipython3",
    "codemirror_mode": {"name": "ipython", "version": 3},
    "nbconvert_exporter": "python",
}
_INFO = {
    "protocol_version": PROTOCOL_VERSION,
    "implementation": "cellhold",
    "implementation_version": __version__,
    "language_info": _LANGUAGE,
    "banner": f"Cellhold {__version__}: no container runs; %container key=value starts one",
    "help_links": [],
    "supported_features": [],
}


class Answers:
    """Answers to a front end.

    cells: the number of the last cell, whoever ran it. kernel_info: what the last cell
    kernel said it is.
    """

    def __init__(self, frontend: Frontend) -> None:
        """Answer to what comes in at `frontend`."""
        self._frontend = frontend
        self.cells = 0
        self.kernel_info: dict[str, Any] = _INFO

    def busy(self, message: Message) -> None:
        """Say that work on a request has begun."""
        self._frontend.publish("status", {"execution_state": "busy"}, parent=message.header)

    def idle(self, message: Message) -> None:
        """Say that nothing more comes of it."""
        self._frontend.publish("status", {"execution_state": "idle"}, parent=message.header)

    def ok(self, channel: str, message: Message) -> None:
        """Done."""
        with self._at_work(message):
            self._frontend.reply(channel, message, {"status": "ok"})

    def abort(self, channel: str, message: Message) -> None:
        """It will not be done; as ipykernel says it."""
        with self._at_work(message):
            self._frontend.reply(channel, message, {"status": "aborted"})

    def control(self, message: Message, content: dict[str, Any]) -> None:
        """Reply on the control channel."""
        with self._at_work(message):
            self._frontend.reply("control", message, content)

    def info(self, channel: str, message: Message) -> None:
        """What the cell kernel is, for one that is paused."""
        with self._at_work(message):
            self._frontend.reply(channel, message, {**self.kernel_info, "status": "ok"})

    def comms(self, channel: str, message: Message, known: Mapping[str, Any]) -> None:
        """The comms that there are, where the cell kernel cannot say which it has."""
        with self._at_work(message):
            self._frontend.reply(channel, message, {"status": "ok", "comms": known})

    def question(self, channel: str, message: Message, *, error: CellholdError) -> None:
        """Answer with what can be said without a cell kernel.

        error: why there is none. What is not a request (a comm's message) gets no
        reply.
        """
        with self._at_work(message):
            if message.type.endswith("_request"):
                self._frontend.reply(
                    channel, message, _default_reply(message) or {**_failure(type(error).__name__, _lines(error)), "status": "error"}
                )

    def unanswered(self, channel: str, message: Message, error: CellholdError, *, count: int | None) -> None:
        """Reply to a cell that has run and whose own reply cannot be read.

        Its output stays, and its own `idle` comes.
        """
        failure = _failure(type(error).__name__, _lines(error))
        number = self.cells if count is None else count
        if not is_silent(message):
            self._frontend.publish("error", failure, parent=message.header)
        self._frontend.reply(channel, message, {**failure, "status": "error", "execution_count": number})

    def short(self, channel: str, message: Message, status: str, *, why: str, count: int | None) -> None:
        """Reply in the place of a cell's reply that was left out.

        It has the status, and nothing that is optional.
        """
        reply: dict[str, Any] = {"status": status, "execution_count": self.cells if count is None else count}
        if status == "ok":
            reply |= {"user_expressions": {}, "payload": []}
        if status == "error":
            reply |= _failure("CellholdError", [f"CellholdError: the cell failed, and its reply was left out: {why}"])
        self._frontend.reply(channel, message, reply)

    def refuse(self, message: Message, error: CellholdError) -> None:
        """End a cell that was not run with an error."""
        failure = _failure(type(error).__name__, _lines(error))
        self.cell(message, [("error", failure)], {**failure, "status": "error"})

    def cell(self, message: Message, outputs: Sequence[tuple[str, dict[str, Any]]], reply: dict[str, Any]) -> None:
        """Everything that a cell run by the host kernel sends: its outputs, one reply."""
        header, silent = message.header, is_silent(message)
        count = self.cells + (0 if silent else 1)
        with self._at_work(message):
            if not silent:
                self.cells = count
                self._frontend.publish("execute_input", {"code": message.content.get("code", ""), "execution_count": count}, parent=header)
                for output in outputs:
                    self._frontend.publish(*output, parent=header)
            self._frontend.reply("shell", message, {**reply, "execution_count": count})

    def killed(self, channel: str, message: Message, *, name: str, lines: list[str], count: int) -> None:
        """End a cell that ran when its container was killed."""
        failure = _failure(name, lines)
        if not is_silent(message):
            self._frontend.publish("error", failure, parent=message.header)
        self._frontend.reply(channel, message, {**failure, "status": "error", "execution_count": count})
        self.idle(message)

    @contextmanager
    def _at_work(self, message: Message) -> Iterator[None]:
        self.busy(message)
        yield
        self.idle(message)


def is_kernel_info(content: dict[str, Any]) -> bool:
    """Whether a front end can use it: protocol 5, a language, a list of features."""
    language, features = content.get("language_info"), content.get("supported_features", [])
    return (
        str(content.get("protocol_version", "")).startswith("5.")
        and isinstance(language, dict)
        and isinstance(language.get("name"), str)
        and isinstance(features, list)
        and all(isinstance(feature, str) for feature in features)
    )


def is_silent(message: Message) -> bool:
    """Whether a cell wants no output published and no number."""
    return message.content.get("silent") is True


def stops(message: Message) -> bool:
    """Whether an error in this cell aborts the cells behind it."""
    return message.content.get("stop_on_error", True) is not False and not is_silent(message)


def _lines(error: CellholdError) -> list[str]:
    return [f"{type(error).__name__}: {error}", *([f"hint: {error.hint}"] if error.hint else [])]


def _failure(name: str, lines: list[str]) -> dict[str, Any]:
    return {"ename": name, "evalue": lines[0].removeprefix(f"{name}: "), "traceback": lines}


def _default_reply(message: Message) -> dict[str, Any] | None:
    position = message.content.get("cursor_pos", 0)
    known: dict[str, dict[str, Any]] = {
        "kernel_info_request": _INFO,
        "comm_info_request": {"comms": {}},
        "complete_request": {"matches": [], "cursor_start": position, "cursor_end": position, "metadata": {}},
        "inspect_request": {"found": False, "data": {}, "metadata": {}},
        "is_complete_request": {"status": "unknown"},
        "history_request": {"history": []},
        "interrupt_request": {},
        "shutdown_request": {"restart": message.content.get("restart", False)},
    }
    return {"status": "ok", **known[message.type]} if message.type in known else None
