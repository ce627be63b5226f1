"""Comms of the host kernel: widgets that answer whatever the container does.

This is version 2 of the widget protocol, without ipywidgets. A message from the
container with one of their ids is dropped: what runs there can neither draw over these
widgets nor press their buttons.

https://ipywidgets.readthedocs.io/en/stable/ (jupyter-widgets/schema/messages.md)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from cellhold_kernel.widgets import saved

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold_kernel.protocol.messages import Message, Signer
    from cellhold_kernel.transport.frontend import Frontend

TARGET = "jupyter.widget"
_VERSION = "2.1.0"


class Widget(Protocol):
    """A model. id: of its comm; fixed, so that a reopened notebook finds it."""

    id: str

    def state(self) -> dict[str, Any]:
        """Return all of its synchronised state."""

    def receive(self, content: Mapping[str, Any]) -> None:
        """Handle a message of a view."""


class Comms:
    """The comms of one kernel."""

    def __init__(self, frontend: Frontend, signer: Signer) -> None:
        """Start without comms."""
        self._frontend = frontend
        self._signer = signer
        self._widgets: dict[str, Widget] = {}
        self._parent: Mapping[str, Any] = {}

    def open(self, widget: Widget, *, parent: Mapping[str, Any]) -> None:
        """Open the comm of a widget in the front ends."""
        self._widgets[widget.id] = widget
        data = {"state": widget.state(), "buffer_paths": []}
        content = {"comm_id": widget.id, "target_name": TARGET, "data": data}
        self._frontend.send(
            "iopub", self._signer.make("comm_open", content, parent=parent, metadata={"version": _VERSION}, identities=(b"comm_open",))
        )

    def register(self, widget: Widget) -> None:
        """Add a widget without opening its comm: front ends that ask learn of it."""
        self._widgets[widget.id] = widget

    def takes(self, message: Message) -> bool:
        """Handle a front end's message if it is for one of ours; return whether it was.

        So is a message that asks for the states of all comms.
        """
        if not self._widgets or message.type not in ("comm_open", "comm_msg", "comm_close"):
            return False
        comm_id, is_open = str(message.content.get("comm_id")), message.type == "comm_open"
        if not (comm_id in self._widgets or (is_open and saved.asks_for_all(message))):
            return False
        self._frontend.publish("status", {"execution_state": "busy"}, parent=message.header)
        self._parent = message.header
        if is_open:
            # refused: front ends then ask each comm for its state, including the
            # container's
            self._frontend.publish("comm_close", {"comm_id": comm_id, "data": {}}, parent=message.header)
        elif message.type == "comm_msg":
            self._received(self._widgets[comm_id], message.content.get("data"))
        self._parent = {}
        self._frontend.publish("status", {"execution_state": "idle"}, parent=message.header)
        return True

    def _received(self, widget: Widget, data: Any) -> None:
        method = data.get("method") if isinstance(data, dict) else None
        if method == "request_state":
            self._send(widget.id, {"method": "update", "state": widget.state(), "buffer_paths": []})
        elif method == "custom" and isinstance(data.get("content"), dict):
            widget.receive(data["content"])

    def send(self, widget: Widget, content: Mapping[str, Any]) -> None:
        """Send a message to all views of a widget."""
        self._send(widget.id, {"method": "custom", "content": content})

    def _send(self, comm_id: str, data: Mapping[str, Any]) -> None:
        self._frontend.publish("comm_msg", {"comm_id": comm_id, "data": data}, parent=self._parent)

    def list_comms(self, content: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        """Return our comms for the reply to a comm_info_request with that content."""
        wanted = content.get("target_name")
        return {name: {"target_name": TARGET} for name in self._widgets} if wanted in (None, "", TARGET) else {}
