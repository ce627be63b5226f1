"""The container panel: one model for all views. It says what there is to see, and does what buttons ask for.

Nothing is sent while nobody looks: views say when they are seen, and again now and then, as one that is closed may not say so.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any

from cellhold import image, quantity
from cellhold.errors import CellholdError, InvalidSpec
from cellhold_kernel import controls
from cellhold_kernel.tail import plain
from cellhold_kernel.widgets import report, sampler, stack
from cellhold_kernel.widgets.looking import Look
from cellhold_kernel.widgets.picture import Painter
from cellhold_kernel.widgets.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellhold.cgroups.base import Usage
    from cellhold.lifecycle import State
    from cellhold.outcome import Outcome
    from cellhold_kernel.cellkernel import CellKernel
    from cellhold_kernel.controls import Controls
    from cellhold_kernel.front import Front
    from cellhold_kernel.loop import Loop
    from cellhold_kernel.session import Session
    from cellhold_kernel.widgets.comms import Comms
    from cellhold_kernel.working import Work

ID = "cellhold-panel"
STATIC = "cellhold-panel-picture"  # the display id of the second output
SEEN_SECONDS, UNSEEN_SECONDS = 0.25, 1.0  # between two samples
_FORGOTTEN_SECONDS = 25.0  # a view that says nothing any more is gone; they say something every 10
_PAINT_SECONDS = 5.0  # at most; a picture takes 0.2
_WORDS_MOST, _WORD_MOST = 4, 300
_VIEWS_MOST = 64
_WORKS_MOST = 4
_PATH_MOST = 4096
_ANYWIDGET = ">=0.9.0 <1.0.0"


class Panel:
    """One kernel's."""

    id = ID

    def __init__(self, comms: Comms, front: Front, session: Session, controls: Controls, loop: Loop) -> None:
        """Begin to sample; whoever wants to see it says hello."""
        self.sampler = Sampler()
        self._comms, self._front, self._session, self._controls, self._loop = comms, front, session, controls, loop
        self._views: dict[str, float] = {}  # that are seen, and when they last said so
        self._due = 0.0
        self._head: dict[str, Any] = {}
        self._says = ""
        self._stack: tuple[CellKernel | None, list[stack.Layer]] = (None, [])
        self._looked: dict[str, Any] = {}  # what a look into the layers gave
        self._written: dict[str, Any] = {}  # what a look at what the container has written gave
        self._works: list[Work] = []  # that somebody has asked for, or that looks into the layers
        self._painter = Painter()
        self._has_picture = False

    # ---------------------------------------------------------------------------------------------------------------- the model

    def state(self) -> dict[str, Any]:
        """An anywidget's: the module that draws it."""
        here = resources.files("cellhold_kernel.widgets")
        module = {"_module": "anywidget", "_module_version": _ANYWIDGET}
        return {
            **{f"_model{key}": value for key, value in {**module, "_name": "AnyModel"}.items()},
            **{f"_view{key}": value for key, value in {**module, "_name": "AnyView"}.items()},
            "_view_count": None,
            "_dom_classes": [],
            "_anywidget_id": "cellhold_kernel.widgets.Panel",
            "_esm": (here / "panel.js").read_text(encoding="utf-8"),
            "_css": (here / "panel.css").read_text(encoding="utf-8"),
        }

    def outputs(self) -> list[tuple[str, dict[str, Any]]]:
        """What `%container panel` shows: the live view, and the picture for where nothing lives."""
        self._sample()
        view = {"application/vnd.jupyter.widget-view+json": {"version_major": 2, "version_minor": 0, "model_id": ID}}
        words = report.text(self.snapshot())
        self._has_picture = True
        live = {"data": {**view, "text/plain": words}, "metadata": {}, "transient": {}}
        return [("display_data", live), ("display_data", self._picture(patience=_PAINT_SECONDS))]

    def _picture(self, *, patience: float) -> dict[str, Any]:
        shown = self.snapshot()
        data = {"text/plain": report.text(shown)}
        if (picture := self._painter.paint({**shown, "steps": [], "layers": []}, patience=patience)) is not None:
            data["image/png"] = picture
        return {"data": data, "metadata": {}, "transient": {"display_id": STATIC}}

    # ---------------------------------------------------------------------------------------------------------------- from views

    def said(self, content: Mapping[str, Any]) -> None:
        """See comms.Widget."""
        view, do = str(content.get("view"))[:_WORD_MOST], content.get("do")
        if do in ("hello", "awake") and (view in self._views or len(self._views) < _VIEWS_MOST):
            self._views[view] = time.monotonic()
            self._due = 0.0
        if do == "hello":
            self._comms.send(self, {"t": "full", **self.snapshot()})
        elif do == "asleep":
            self._views.pop(view, None)
        elif do == "which":
            self._which(str(content.get("path"))[:_PATH_MOST])
        elif do == "act":
            self._act(str(content.get("id"))[:_WORD_MOST], content)

    def _act(self, asked: str, content: Mapping[str, Any]) -> None:
        action = str(content.get("action"))
        words = content.get("arguments")
        arguments = [str(word)[:_WORD_MOST] for word in words[:_WORDS_MOST]] if isinstance(words, list) else []
        try:
            if action not in controls.MOVES:
                raise InvalidSpec(f"cannot {plain(action, most=40)} the container: there is no such action")
            if action == controls.COMMIT:
                work = self._controls.commit(arguments)
                self._wait(work, lambda error: self._answer(asked, str(error or work.text()), ok=error is None))
                return
            text = self._controls.perform(action, arguments) or f"{action}: under way"
            self._answer(asked, text, ok=True)
        except CellholdError as error:
            self._answer(asked, str(error), ok=False)
        self._tell_changes()

    def _answer(self, asked: str, text: str, *, ok: bool) -> None:
        self._says = text
        self._comms.send(self, {"t": "ack", "id": asked, "ok": ok, "text": text})

    def _wait(self, work: Work, then: Callable[[CellholdError | None], None]) -> None:
        """Call `then` with the error, if there was one, once a process has done its work."""
        self._works.append(work)
        self._loop.add(work.fileno(), partial(self._worked, work, then))

    def _worked(self, work: Work, then: Callable[[CellholdError | None], None]) -> None:
        failure = None
        try:
            if work.drain():
                return
        except CellholdError as error:
            failure = error
        self._loop.remove(work.fileno())
        work.close()
        self._works.remove(work)
        then(failure)

    def _which(self, path: str) -> None:
        """Look a path up in the layers of the image."""
        kernel = self._kernel
        if kernel is None or not image.is_oci(kernel.box.spec.image) or len(self._works) >= _WORKS_MOST:
            self._comms.send(self, {"t": "which", "path": path, "steps": [], "text": "only an image has layers to look into"})
            return
        look = Look("which", kernel.box.spec.image, path)

        def tell(error: CellholdError | None) -> None:
            self._comms.send(self, {"t": "which", "path": path, "steps": [], "text": str(error or ""), **look.found})

        self._wait(look, tell)

    def _look(self, kernel: CellKernel) -> None:
        """Find out what the layers of its image change."""
        self._looked, self._written = {}, {}
        if image.is_oci(kernel.box.spec.image) and len(self._works) < _WORKS_MOST:
            look = Look("layers", kernel.box.spec.image)

            def tell(error: CellholdError | None) -> None:
                if error is None and self._stack[0] is kernel:
                    self._looked = look.found
                    self._comms.send(self, {"t": "state", "changed": self._below()})

            self._wait(look, tell)

    def _look_at_written(self) -> None:
        """Find out what the container has written, where somebody sees it."""
        kernel = self._session.current
        if kernel is not None and self._views and image.is_oci(kernel.box.spec.image) and len(self._works) < _WORKS_MOST:
            look = Look("written", kernel.box.id)

            def tell(error: CellholdError | None) -> None:
                if error is None and self._stack[0] is kernel:
                    self._written = look.found
                    self._comms.send(self, {"t": "state", "changed": {"written": look.found}})

            self._wait(look, tell)

    # ---------------------------------------------------------------------------------------------------------------- what there is

    def snapshot(self) -> dict[str, Any]:
        """All that a view shows, as JSON has it."""
        return {**self._heading(), "samples": sampler.plain(self.sampler.samples()), **self._below(), "steps": self._steps()}

    def _heading(self) -> dict[str, Any]:
        kernel = self._kernel
        state = controls.state_of(self._session)
        limits = kernel.spec.limits if kernel is not None else None
        return {
            "id": kernel.box.id if kernel is not None else "",
            "state": str(state),
            "about": _about(kernel),
            "says": self._says,
            "limits": {
                "cpus": limits.cpus if limits else None,
                "memory": limits.memory_bytes if limits else None,
                "pids": limits.pids if limits else None,
                "disk": limits.disk_bytes if limits else None,
            },
            "actions": {action: self._reason(action, state) for action in controls.MOVES},
            "marks": [mark._asdict() for mark in self.sampler.marks],
            "cells": [cell.plain() for cell in self.sampler.cells],
            "disk": self.sampler.recent[-1].disk if self.sampler.recent else None,
        }

    def _reason(self, action: str, state: State) -> str | None:
        if self._controls.is_stopping and action != "kill":
            left = self._controls.grace_left or 0.0
            return f"it is being stopped, and killed in {left:.0f} s"
        return controls.reason(action, state)

    @property
    def _kernel(self) -> CellKernel | None:
        return self._session.current or self._session.stopped

    def _below(self) -> dict[str, Any]:
        """The layers that the container's root lies on; what they change comes later."""
        kernel = self._kernel
        if kernel is None:
            return {"layers": [], "waste": "", "written": {}}
        if self._stack[0] is not kernel:
            self._stack = (kernel, stack.layers(kernel))
            self._look(kernel)
        changes = self._looked.get("changes") or [""] * len(self._stack[1])
        layers = [{**layer._asdict(), "changes": text} for layer, text in zip(self._stack[1], changes, strict=False)]
        waste, paths = self._looked.get("wasted_bytes"), self._looked.get("wasted", [])
        told = f"{quantity.size(waste)} wasted, replaced or removed by a layer above: {', '.join(paths)}" if waste else ""
        return {"layers": layers, "waste": told, "written": self._written}

    def _steps(self) -> list[dict[str, Any]]:
        kernel = self._kernel
        steps = kernel.box.timings if kernel is not None else []
        begin = min((step.start for step in steps), default=0.0)
        return [
            {"name": step.name, "detail": step.detail[:_WORD_MOST], "at": step.start - begin, "took": step.seconds}
            for step in steps
            if step.name != "program.wait"  # which is the container's life, not how it was made
        ]

    # ---------------------------------------------------------------------------------------------------------------- over time

    def tick(self) -> float:
        """Take a sample if it is time, and tell the views that are seen; gives the seconds until the next."""
        now = time.monotonic()
        left = self._due - now
        if left > 0:
            return left
        self._views = {view: then for view, then in self._views.items() if now - then < _FORGOTTEN_SECONDS}
        interval = SEEN_SECONDS if self._views else UNSEEN_SECONDS
        self._due = now + interval
        self._sample()
        return interval

    def _sample(self) -> None:
        sample = self.sampler.take(self._session.current)
        if self._views:
            self._comms.send(self, {"t": "s", "s": [list(sample)], "disk": sample.disk})
            self._tell_changes()

    def _tell_changes(self) -> None:
        head = self._heading()
        changed = {name: value for name, value in head.items() if value != self._head.get(name) and name != "disk"}
        if "id" in changed:
            changed |= {**self._below(), "steps": self._steps()}
        self._head = head
        if changed and self._views:
            self._comms.send(self, {"t": "state", "changed": changed})

    def cell_began(self, number: int, before: Usage) -> None:
        """A cell runs."""
        self.sampler.cell_began(number, before)

    def cell_ended(self, result: str, *, parent: Mapping[str, Any]) -> None:
        """It has ended: where nobody looks at the live panel, the picture has to tell of it before the front end turns away."""
        self.sampler.cell_ended(result)
        self._look_at_written()
        self.refresh(parent=parent)

    def container_ended(self, outcome: Outcome) -> None:
        """The present container has ended."""
        self.sampler.container_ended(outcome)

    def refresh(self, *, parent: Mapping[str, Any]) -> None:
        """Bring the picture up to date, where it is what people see. parent: the header of the cell that has ended."""
        if self._has_picture and not self._views:
            self._sample()
            self._front.publish("update_display_data", self._picture(patience=_PAINT_SECONDS), parent=parent)

    def say(self, text: str) -> None:
        """Something that people at the panel should know."""
        self._says = plain(text)

    def close(self) -> None:
        """End what works for it."""
        self._painter.close()
        for work in self._works:
            with suppress(CellholdError):
                work.close()


def _about(kernel: CellKernel | None) -> str:
    if kernel is None:
        return "none runs"
    limits = kernel.spec.limits
    said = [f"image {plain(kernel.box.spec.image, most=80)}"]
    if limits.memory_bytes:
        said.append(f"memory {quantity.size(limits.memory_bytes)}")
    if limits.cpus:
        said.append(f"{limits.cpus:g} cpus")
    return " · ".join([*said, f"network {kernel.spec.network}"])
