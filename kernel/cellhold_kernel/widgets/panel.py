"""The container panel: one model for all views, which shows use and runs actions.

Nothing is sent while no view is visible: a view reports that it is visible, and repeats
that, since one that is closed may not report it.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError
from cellhold.spec.fields import FIELDS, GAUGES
from cellhold_kernel.engine import controls
from cellhold_kernel.engine.base import Topic
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.request import LookRequest
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.settings import Trust
from cellhold_kernel.widgets import layer_stack, report, sampler
from cellhold_kernel.widgets.inspector import COMPARE, QUESTIONS, Inspector
from cellhold_kernel.widgets.network_view import NetworkView
from cellhold_kernel.widgets.painter import Painter
from cellhold_kernel.widgets.sampler import Sampler
from cellhold_kernel.widgets.views import KINDS, PanelView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.spec.limits import Limits
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.usage import Usage
    from cellhold_kernel.engine.controls import Controls
    from cellhold_kernel.engine.holder import HeldSandbox, Holder
    from cellhold_kernel.widgets.host import Publisher, ViewSender, Watcher
    from cellhold_kernel.widgets.sampler import CellUse

SEEN_SECONDS, UNSEEN_SECONDS = 0.25, 1.0  # between two samples
_FORGOTTEN_SECONDS = 25.0  # a view that is silent for so long is gone; a visible one reports every 10 s
_PAINT_SECONDS = 5.0  # the longest wait for a picture, which takes 0.2
_WORDS_MOST, _WORD_MOST = 4, 300
_VIEWS_MOST = 64
_PATH_MOST = 4096


class Panel:
    """The panel of one kernel.

    has_footer: whether each cell gets a line about what it used. picture: the display
    id of its picture.
    """

    picture = "cellhold-panel-picture"

    def __init__(self, comms: ViewSender, frontend: Publisher, session: Holder, controls: Controls, loop: Watcher) -> None:
        """Start sampling; a view that appears sends hello."""
        self.sampler = Sampler()
        self.widgets = {name: PanelView(name, self) for name in KINDS}
        self.has_footer = False
        self._comms, self._frontend, self._session, self._controls = comms, frontend, session, controls
        self._views: dict[tuple[str, str], float] = {}  # visible ones: (widget, view) -> when it last reported
        self._due = 0.0
        self._head: dict[str, Any] = {}
        self._says = ""
        self._inspector = Inspector(loop)
        self._painter = Painter()
        self._network = NetworkView()
        self._has_picture = False

    # -------------------------------------------------------------------- in a notebook

    def outputs(self, name: str, *, model: str | None = None) -> list[tuple[str, dict[str, Any]]]:
        """Return the outputs of `%container panel`: a live view, its text, a picture.

        The picture is for front ends without live widgets; a kind without a picture has
        none. name: of KINDS. model: the id of the widget that is shown, if it is not
        the view's.
        """
        self._sample()
        widget = self.widgets[name]
        view = {"application/vnd.jupyter.widget-view+json": {"version_major": 2, "version_minor": 0, "model_id": model or widget.id}}
        live = {"data": {**view, "text/plain": self._text(name)}, "metadata": {}, "transient": {}}
        if not widget.kind.has_picture:
            return [("display_data", live)]
        self._has_picture = True
        return [("display_data", live), ("display_data", self._picture(patience=_PAINT_SECONDS))]

    def _text(self, name: str) -> str:
        kernel = self._kernel
        if name == "layers" and kernel is not None:
            return layer_stack.text(kernel)
        return report.text(self.snapshot())

    def _picture(self, *, patience: float) -> dict[str, Any]:
        snapshot = self.snapshot()
        data = {"text/plain": report.text(snapshot)}
        if (picture := self._painter.paint({**snapshot, "steps": [], "layers": []}, patience=patience)) is not None:
            data["image/png"] = picture
        return {"data": data, "metadata": {}, "transient": {"display_id": self.picture}}

    # ----------------------------------------------------------------------- from views

    def receive(self, widget: PanelView, content: Mapping[str, Any]) -> None:
        """Handle a message of a view (js/panel.js)."""
        view, do = (widget.id, str(content.get("view"))[:_WORD_MOST]), str(content.get("do"))
        if do == "hello":
            self._tell_changes()  # to the other views: this one gets everything, and from then on the changes
        if do in ("hello", "awake") and (view in self._views or len(self._views) < _VIEWS_MOST):
            self._views[view] = time.monotonic()
            self._due = 0.0
        if do == "hello":
            self._comms.send(widget, {"t": "full", **self.snapshot()})
        elif do == "asleep":
            self._views.pop(view, None)
        elif do in QUESTIONS:
            self._find(widget, do, content)
        elif do == "act":
            self._act(widget, str(content.get("id"))[:_WORD_MOST], content)

    def _find(self, widget: PanelView, what: str, content: Mapping[str, Any]) -> None:
        words = [str(content.get(name))[:_PATH_MOST] for name in QUESTIONS[what]]
        question = dict(zip(QUESTIONS[what], words, strict=True))
        if what == COMPARE and not words[0].isdecimal():
            try:
                look = LookRequest(owner=self._session.owner, names=self._session.names(), image=words[0])
                words = [authorize(look, Trust.CELL, self._session.policy()).image]
            except CellholdError as error:
                self._comms.send(widget, {"t": what, **question, "text": str(error)})
                return
        self._inspector.ask(self._kernel, what, words, lambda answer: self._comms.send(widget, {"t": what, **question, **answer}))

    def _act(self, widget: PanelView, id_: str, content: Mapping[str, Any]) -> None:
        action = str(content.get("action"))
        words = content.get("arguments")
        arguments = [str(word)[:_WORD_MOST] for word in words[:_WORDS_MOST]] if isinstance(words, list) else []
        try:
            if action == controls.COMMIT:
                self._inspector.check_room("cannot commit the container now: too much is being done for the panel already")
                job = self._controls.commit(arguments)
                self._inspector.wait(job, lambda error: self._answer(widget, id_, str(error or job.text()), ok=error is None))
                return
            text = self._controls.perform(action, arguments) or f"{action}: in progress"
            self._answer(widget, id_, text, ok=True)
        except CellholdError as error:
            self._answer(widget, id_, str(error), ok=False)
        self._tell_changes()

    def _answer(self, widget: PanelView, id_: str, text: str, *, ok: bool) -> None:
        self._says = text
        self._comms.send(widget, {"t": "ack", "id": id_, "ok": ok, "text": text})

    # -------------------------------------------------------------------- what there is

    def snapshot(self) -> dict[str, Any]:
        """Return everything that a view shows, as JSON values."""
        return {**self._heading(), **sampler.encode(self.sampler.samples()), **self._below(), "steps": self._steps()}

    def _heading(self) -> dict[str, Any]:
        kernel = self._kernel
        state = controls.state_of(self._session)
        limits = kernel.spec.limits if kernel is not None else None
        return {
            "id": kernel.sandbox.id if kernel is not None else "",
            "state": str(state),
            "about": _about(kernel),
            "says": self._says,
            "limits": _bounds(limits),
            "stopping": None if (left := self._controls.grace_left) is None else round(left),
            "actions": {action: self._reason(action) for action in controls.MOVES},
            "network": self._network.describe(kernel),
            "marks": [mark._asdict() for mark in self.sampler.marks],
            "cells": [cell.as_dict() for cell in self.sampler.cells],
            "disk": self.sampler.recent[-1].disk if self.sampler.recent else None,
        }

    def _reason(self, action: str) -> str | None:
        if self._controls.is_stopping and action != "kill":
            left = self._controls.grace_left or 0.0
            return f"the container is being stopped, and is killed in {left:.0f} s"
        return self._controls.reason(action)

    @property
    def _kernel(self) -> HeldSandbox | None:
        return self._session.current or self._session.stopped

    def _below(self) -> dict[str, Any]:
        self._inspector.follow(self._kernel, self._tell_below)
        return self._inspector.state()

    def _tell_below(self) -> None:
        self._tell({"t": "state", "changed": self._inspector.state()})

    def _steps(self) -> list[dict[str, Any]]:
        kernel = self._kernel
        if kernel is not None:
            with suppress(CellholdError):  # the engine does not record them
                return list(kernel.sandbox.inspect(Topic.TRACE)["steps"])
        return []

    # ------------------------------------------------------------------------ over time

    def tick(self) -> float:
        """Take a sample if it is due and send it to visible views.

        Returns the seconds until the next.
        """
        now = time.monotonic()
        left = self._due - now
        if left > 0:
            return left
        self._views = {view: then for view, then in self._views.items() if now - then < _FORGOTTEN_SECONDS}
        interval = SEEN_SECONDS if self._views else UNSEEN_SECONDS
        self._due = now + interval
        self._sample()
        return interval

    def _tell(self, content: Mapping[str, Any]) -> None:
        """Send a message to every widget with a visible view."""
        visible = {widget for widget, _view in self._views}
        for widget in self.widgets.values():
            if widget.id in visible:
                self._comms.send(widget, content)

    def _sample(self) -> None:
        sample = self.sampler.take(self._session.current)
        if self._views:
            self._tell({"t": "s", "s": [list(sample)], "disk": sample.disk})
            self._tell_changes()

    def _tell_changes(self) -> None:
        head = self._heading()
        changed = {name: value for name, value in head.items() if value != self._head.get(name) and name != "disk"}
        if "cells" in changed:  # only changed ones: there can be hundreds, and the running one changes at each tick
            before = {cell["begin"]: cell for cell in self._head.get("cells", ())}
            changed["cells"] = [cell for cell in head["cells"] if before.get(cell["begin"]) != cell]
        if "id" in changed:
            changed |= {**self._below(), "steps": self._steps()}
        self._head = head
        if changed:
            self._tell({"t": "state", "changed": changed})

    def cell_began(self, number: int, before: Usage) -> None:
        """Record that a cell has begun. before: what its container had used."""
        self.sampler.cell_began(number, before)

    def cell_ended(self, result: str, *, parent: Mapping[str, Any]) -> None:
        """Record that the cell has ended, and update the picture if no view is visible.

        The picture comes before the reply, after which the front end ignores it.
        """
        self.sampler.cell_ended(result)
        if self.has_footer and (line := report.footer([cell.as_dict() for cell in self.sampler.cells][-1:])) is not None:
            self._frontend.publish("display_data", {"data": {"text/plain": line}, "metadata": {}, "transient": {}}, parent=parent)
        kernel = self._session.current
        if kernel is not None and self._views and self.sampler.cells:
            last = self.sampler.cells[-1]
            self._inspector.look_at_written(kernel, lambda: self._wrote(last))
        self.refresh(parent=parent)

    def _wrote(self, last: CellUse) -> None:
        """Record what the container had written by the end of a cell."""
        self.sampler.wrote(last, self._inspector.times, self._inspector.written["bytes"])
        self._tell_below()
        self._tell_changes()

    def container_ended(self, outcome: Outcome) -> None:
        """Record that the current container has ended."""
        self.sampler.container_ended(outcome)

    def refresh(self, *, parent: Mapping[str, Any]) -> None:
        """Update the picture if no view is visible. parent: the header of the cell."""
        if self._has_picture and not self._views:
            self._sample()
            self._frontend.publish("update_display_data", self._picture(patience=_PAINT_SECONDS), parent=parent)

    def say(self, text: str) -> None:
        """Show a message in the panel."""
        self._says = escape(text)

    def close(self) -> None:
        """End the processes that work for the panel."""
        self._painter.close()
        self._inspector.close()


def _about(kernel: HeldSandbox | None) -> str:
    if kernel is None:
        return "not running"
    limits = kernel.spec.limits
    texts = [field.heading.format(text) for field in FIELDS if field.heading and (text := field.text(limits))]
    return " · ".join([f"image {escape(kernel.spec.image, most=80)}", *texts, f"network {kernel.spec.network}"])


def _bounds(limits: Limits | None) -> dict[str, Any]:
    """Return the limits shown in the charts, by their names in the panel.

    None: no limit, or no container.
    """
    return {gauge.limit: None if limits is None else gauge.bound(field.value(limits)) for gauge, field in GAUGES}
