"""The panel as the relay knows it: not there until somebody wants it, and then told what happens. What it costs, only its users pay.

Wanted by `%container panel` and its like, and by a front end that asks which comms there are while the notebook's file names a face of it.
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

PANEL, FOOTER = "panel", "footer"  # the words of %container that end here


class LazyPanel:
    """One kernel's."""

    def __init__(  # noqa: PLR0913, PLR0917  # what a panel works with
        self, frontend: Frontend, signer: Signer, session: Session, controls: Controls, loop: Loop, notebook: Notebook | None
    ) -> None:
        """There is no panel. notebook: its file, where that is known."""
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
        """What `%container panel [FACE]` shows, and `%container footer on|off` says. Raises InvalidSpec for other words."""
        from cellhold_kernel.widgets.views import KINDS  # noqa: PLC0415  # as above

        word, *more = action
        allowed = ("on", "off") if word == FOOTER else tuple(KINDS)
        chosen = more[0] if more else allowed[0]
        if len(more) > 1 or chosen not in allowed:
            unknown = escape(" ".join(more), most=40)
            raise InvalidSpec(f"cannot use %container {word} {unknown}: there is no such thing", hint=f"one of {', '.join(allowed)}")
        panel = self._want()
        if word == FOOTER:
            panel.has_footer = chosen == "on"
            said = "each cell is followed by a line about what it has used" if panel.has_footer else "cells end as they are"
            return [("stream", {"name": "stdout", "text": f"{said}\n"})]
        if self._comms is not None:
            self._comms.open(panel.widgets[chosen], parent=parent)
        return panel.outputs(chosen)

    def looks_at(self, message: Message) -> bool:
        """Whether the notebook has a panel, so that what this message asks concerns it; it is served from now on."""
        if self._panel is None and saved.asks_for_all(message) and (names := saved.widgets(self._notebook)):
            panel = self._want()
            for name in names & panel.widgets.keys():
                assert self._comms is not None  # noqa: S101  # for mypy: the panel has them
                self._comms.register(panel.widgets[name])
        return self._comms is not None

    def takes(self, message: Message) -> bool:
        """Whether a front end's message is for us, and has been dealt with."""
        return self._comms is not None and self._comms.takes(message)

    def list_comms(self, content: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        """Our part of the answer to a comm_info_request with that content."""
        return {} if self._comms is None else self._comms.list_comms(content)

    def tick(self) -> float | None:
        """What is due; gives the seconds until something is due again."""
        return None if self._panel is None else self._panel.tick()

    def cell_began(self, number: int, before: Usage) -> None:
        """A cell runs."""
        if self._panel is not None:
            self._panel.cell_began(number, before)

    def cell_ended(self, result: str, *, parent: Mapping[str, Any]) -> None:
        """It has ended."""
        if self._panel is not None:
            self._panel.cell_ended(result, parent=parent)

    def container_ended(self, outcome: Outcome) -> None:
        """The present container has ended."""
        if self._panel is not None:
            self._panel.container_ended(outcome)

    def refresh(self, *, parent: Mapping[str, Any]) -> None:
        """A cell is answered that was lost: the picture is to tell of it."""
        if self._panel is not None:
            self._panel.refresh(parent=parent)

    def say(self, text: str) -> None:
        """Something that people at the panel should know."""
        if self._panel is not None:
            self._panel.say(text)

    def close(self) -> None:
        """End what works for it."""
        if self._panel is not None:
            self._panel.close()
