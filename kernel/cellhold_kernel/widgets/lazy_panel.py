"""The panel as the relay sees it: made on first use; only its users pay for it.

It is made by `%container panel` and similar lines, and when a front end asks for comms
and the notebook's file names a view of the panel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellhold.errors import InvalidSpec
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.widgets import saved

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellhold.spec.outcome import Outcome
    from cellhold.spec.usage import Usage
    from cellhold_kernel.engine.controls import Controls
    from cellhold_kernel.engine.session import Session
    from cellhold_kernel.protocol.messages import Message, Signer
    from cellhold_kernel.settings.notebook import Notebook
    from cellhold_kernel.transport.frontend import Frontend
    from cellhold_kernel.transport.loop import Loop
    from cellhold_kernel.widgets.comms import Comms
    from cellhold_kernel.widgets.panel import Panel

PANEL, FOOTER = "panel", "footer"  # the actions of %container that are performed here


class LazyPanel:
    """The panel of one kernel, or its absence."""

    def __init__(  # noqa: PLR0913, PLR0917  # what a panel works with
        self, frontend: Frontend, signer: Signer, session: Session, controls: Controls, loop: Loop, notebook: Notebook | None
    ) -> None:
        """Start without a panel. notebook: its file, None if it is not known."""
        self._frontend, self._signer, self._session, self._controls, self._loop = frontend, signer, session, controls, loop
        self._notebook = notebook
        self._panel: Panel | None = None
        self._comms: Comms | None = None

    def _want(self) -> Panel:
        if self._panel is None:
            from cellhold_kernel.widgets.comms import Comms  # noqa: PLC0415  # most notebooks do without
            from cellhold_kernel.widgets.panel import Panel  # noqa: PLC0415

            self._comms = Comms(self._frontend, self._signer)
            self._panel = Panel(self._comms, self._frontend, self._session, self._controls, self._loop)
        return self._panel

    def show(self, action: Sequence[str], *, parent: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Return the outputs of `%container panel [KIND]`, `%container footer on|off`.

        Raises InvalidSpec for other words.
        """
        from cellhold_kernel.widgets.views import KINDS  # noqa: PLC0415  # as above

        word, *more = action
        allowed = ("on", "off") if word == FOOTER else tuple(KINDS)
        chosen = more[0] if more else allowed[0]
        if len(more) > 1 or chosen not in allowed:
            unknown = escape(" ".join(more), most=40)
            raise InvalidSpec(f"cannot use %container {word} {unknown}: unknown word", hint=f"one of {', '.join(allowed)}")
        panel = self._want()
        if word == FOOTER:
            panel.has_footer = chosen == "on"
            text = "each cell is followed by a line about what it has used" if panel.has_footer else "cells have no footer"
            return [("stream", {"name": "stdout", "text": f"{text}\n"})]
        if self._comms is not None:
            self._comms.open(panel.widgets[chosen], parent=parent)
        return panel.outputs(chosen)

    def looks_at(self, message: Message) -> bool:
        """Return whether the notebook has a panel, which this message may concern.

        A panel of the notebook's file is made for a message that asks for comms.
        """
        if self._panel is None and saved.asks_for_all(message) and (names := saved.widgets(self._notebook)):
            panel = self._want()
            for name in names & panel.widgets.keys():
                assert self._comms is not None  # noqa: S101  # for mypy: the panel has them
                self._comms.register(panel.widgets[name])
        return self._comms is not None

    def takes(self, message: Message) -> bool:
        """Handle a front end's message for the panel; return whether it was for it."""
        return self._comms is not None and self._comms.takes(message)

    def list_comms(self, content: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        """Return the panel's comms for the reply to a comm_info_request."""
        return {} if self._comms is None else self._comms.list_comms(content)

    def tick(self) -> float | None:
        """Do what is due; return the seconds until something is due again."""
        return None if self._panel is None else self._panel.tick()

    def cell_began(self, number: int, before: Usage) -> None:
        """Record that a cell has begun. before: what its container had used."""
        if self._panel is not None:
            self._panel.cell_began(number, before)

    def cell_ended(self, result: str, *, parent: Mapping[str, Any]) -> None:
        """Record that the cell has ended."""
        if self._panel is not None:
            self._panel.cell_ended(result, parent=parent)

    def container_ended(self, outcome: Outcome) -> None:
        """Record that the current container has ended."""
        if self._panel is not None:
            self._panel.container_ended(outcome)

    def refresh(self, *, parent: Mapping[str, Any]) -> None:
        """Update the picture: a cell that was lost is answered."""
        if self._panel is not None:
            self._panel.refresh(parent=parent)

    def say(self, text: str) -> None:
        """Show a message in the panel."""
        if self._panel is not None:
            self._panel.say(text)

    def close(self) -> None:
        """End the processes that work for the panel."""
        if self._panel is not None:
            self._panel.close()
