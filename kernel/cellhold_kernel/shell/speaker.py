"""Says things to Jupyter: signs them, and puts what is said in the cell that it belongs to. When to say what is kernel.py's business."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cellhold_kernel.protocol.messages import Message, Signer
    from cellhold_kernel.shell.sockets import Sockets


class Speaker:
    """What is published goes to `parent`: the last cell, also between cells, where a job of it may go on and write."""

    def __init__(self, sockets: Sockets, signer: Signer) -> None:
        """Speak over these sockets."""
        self._sockets = sockets
        self._signer = signer
        self.parent: Mapping[str, Any] = {}

    def publish(self, kind: str, content: Mapping[str, Any], *, parent: Mapping[str, Any] | None = None) -> None:
        """Publish a message; parent: a header, else that of the last cell."""
        if "iopub" in self._sockets.streams:
            parts = self._signer.make(kind, content, parent=self.parent if parent is None else parent, identities=[kind.encode()])
            self._sockets.send("iopub", parts)

    def stream(self, name: str, text: str) -> None:
        """Publish output."""
        if text:
            self.publish("stream", {"name": name, "text": text})

    def reply(self, channel: str, message: Message, content: Mapping[str, Any]) -> None:
        """Answer a request."""
        kind = f"{message.type.removesuffix('_request')}_reply"
        parts = self._signer.make(kind, {"status": "ok", **content}, parent=message.header, identities=message.identities)
        self._sockets.send(channel, parts)

    def ask(self, message: Message, prompt: str, *, is_secret: bool) -> None:
        """Ask whoever sent a cell for a line."""
        content = {"prompt": prompt, "password": is_secret}
        self._sockets.send("stdin", self._signer.make("input_request", content, parent=message.header, identities=message.identities))

    def state(self, message: Message, state: str) -> None:
        """Say that work on a request begins (busy), or is done (idle)."""
        self.publish("status", {"execution_state": state}, parent=message.header)

    @contextmanager
    def at_work(self, message: Message) -> Iterator[None]:
        """busy, and then idle."""
        self.state(message, "busy")
        yield
        self.state(message, "idle")
