"""Messages to Jupyter: sign them and assign each to its cell, as kernel.py asks."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cellhold_kernel.protocol.messages import Message, Signer
    from cellhold_kernel.shell.sockets import Sockets


class Speaker:
    """The sender of messages.

    parent: the header of the cell that output belongs to. Between cells it is the last
    one, whose background jobs may still write.
    """

    def __init__(self, sockets: Sockets, signer: Signer) -> None:
        """Send over these sockets."""
        self._sockets = sockets
        self._signer = signer
        self.parent: Mapping[str, Any] = {}

    def publish(self, kind: str, content: Mapping[str, Any], *, parent: Mapping[str, Any] | None = None) -> None:
        """Publish a message. parent: a header; None: that of the last cell."""
        if "iopub" in self._sockets.streams:
            parts = self._signer.make(kind, content, parent=self.parent if parent is None else parent, identities=[kind.encode()])
            self._sockets.send("iopub", parts)

    def stream(self, name: str, text: str) -> None:
        """Publish a text of a stream."""
        if text:
            self.publish("stream", {"name": name, "text": text})

    def reply(self, channel: str, message: Message, content: Mapping[str, Any]) -> None:
        """Answer a request."""
        kind = f"{message.type.removesuffix('_request')}_reply"
        parts = self._signer.make(kind, {"status": "ok", **content}, parent=message.header, identities=message.identities)
        self._sockets.send(channel, parts)

    def ask(self, message: Message, prompt: str, *, is_secret: bool) -> None:
        """Ask the front end that sent a cell for a line."""
        content = {"prompt": prompt, "password": is_secret}
        self._sockets.send("stdin", self._signer.make("input_request", content, parent=message.header, identities=message.identities))

    def state(self, message: Message, state: str) -> None:
        """Publish that work on a request begins (busy) or is done (idle)."""
        self.publish("status", {"execution_state": state}, parent=message.header)

    @contextmanager
    def at_work(self, message: Message) -> Iterator[None]:
        """Publish busy before the block and idle after it."""
        self.state(message, "busy")
        yield
        self.state(message, "idle")
