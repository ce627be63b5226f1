"""What a panel needs of its surroundings.

These are a Cellhold notebook's host kernel, or a plain notebook's kernel
(standalone.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellhold_kernel.widgets.comms import Widget


class ViewSender(Protocol):
    """The way to the views of a widget: comms.Comms."""

    def send(self, widget: Widget, content: Mapping[str, Any]) -> None:
        """Send all views of it a message. Does not block."""


class Publisher(Protocol):
    """Where outputs of the notebook go: transport.frontend.Frontend."""

    def publish(self, kind: str, content: Mapping[str, Any], *, parent: Mapping[str, Any] | None) -> None:
        """Publish a message on iopub. parent: the header of its request."""


class Watcher(Protocol):
    """The event loop: transport.loop.Loop."""

    def add(self, descriptor: int, callback: Callable[[], None], /) -> None:
        """Call `callback` whenever the descriptor is readable."""

    def remove(self, descriptor: int, /) -> None:
        """Stop watching a descriptor; called before it is closed."""
