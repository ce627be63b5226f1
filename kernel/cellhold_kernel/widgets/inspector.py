"""Layers and written files, examined by processes; and the panel's other jobs.

There are at most a few jobs at a time: a page could ask for any number of them.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError, NotAllowed
from cellhold.spec import units
from cellhold_kernel.widgets import layer_stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold_kernel.engine.holder import HeldSandbox
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.widgets.host import Watcher

_JOBS_MOST = 4
COMPARE = "compare"
QUESTIONS = {"which": ("path",), "browse": ("layer", "path"), COMPARE: ("other",)}  # of a view, with their arguments


class Inspector:
    """The jobs of one panel, and what they have found of the current container."""

    def __init__(self, loop: Watcher) -> None:
        """Start without jobs."""
        self._loop = loop
        self._jobs: list[Job] = []
        self._kernel: HeldSandbox | None = None
        self._stack: list[dict[str, Any]] = []
        self._looked: dict[str, Any] = {}
        self.written: dict[str, Any] = {}  # what the container has written (inspection_job)
        self.times: list[float] = []  # of the last change of each of these files

    def check_room(self, sentence: str) -> None:
        """Raise NotAllowed with that sentence if the panel can have no further job."""
        if len(self._jobs) >= _JOBS_MOST:
            raise NotAllowed(sentence)

    def wait(self, job: Job, then: Callable[[CellholdError | None], None]) -> None:
        """Call `then` with the job's error, or None, once the job has ended."""
        self._jobs.append(job)
        self._loop.add(job.fileno(), partial(self._on_job, job, then))

    def _on_job(self, job: Job, then: Callable[[CellholdError | None], None]) -> None:
        failure = None
        try:
            if job.drain():
                return
        except CellholdError as error:
            failure = error
        self._loop.remove(job.fileno())
        job.close()
        self._jobs.remove(job)
        then(failure)

    def ask(self, kernel: HeldSandbox | None, what: str, words: list[str], tell: Callable[[dict[str, Any]], None]) -> None:
        """Answer a question of a view (QUESTIONS).

        tell: called with the answer, or with the reason as `text`.
        """
        try:
            if kernel is None:
                raise NotAllowed("only an image has layers to look into")
            self.check_room("too much is being looked for already")
            look = kernel.sandbox.look(what, *words)
        except CellholdError as error:
            tell({"text": str(error)})
            return
        self.wait(look, lambda error: tell({"text": str(error or ""), **look.found}))

    def follow(self, kernel: HeldSandbox | None, tell: Callable[[], None]) -> None:
        """Examine the layers of the current container, if it has changed.

        tell: called when that is done.
        """
        if kernel is self._kernel:
            return
        self._kernel = kernel
        self._stack, self._looked, self.written = [] if kernel is None else layer_stack.layers(kernel), {}, {}
        if kernel is not None:
            self._look(kernel, "layers", self._take_layers, tell)

    def look_at_written(self, kernel: HeldSandbox, tell: Callable[[], None]) -> None:
        """Examine what the container has written. tell: called when that is done."""
        self._look(kernel, "written", self._take_written, tell)

    def _look(self, kernel: HeldSandbox, what: str, take: Callable[[dict[str, Any]], None], tell: Callable[[], None]) -> None:
        if len(self._jobs) >= _JOBS_MOST:
            return
        try:
            look = kernel.sandbox.look(what)
        except CellholdError:  # its root is not an image, or the engine has no layers
            return

        def took(error: CellholdError | None) -> None:
            if error is None and self._kernel is kernel:
                take(look.found)
                tell()

        self.wait(look, took)

    def _take_layers(self, found: dict[str, Any]) -> None:
        self._looked = found

    def _take_written(self, found: dict[str, Any]) -> None:
        self.written = {name: value for name, value in found.items() if name != "times"}
        self.times = found["times"]

    def state(self) -> dict[str, Any]:
        """Return the container's layers, topmost first, and what it has written."""
        changes = self._looked.get("changes") or [""] * len(self._stack)
        layers = [{**layer, "changes": text} for layer, text in zip(self._stack, changes, strict=False)]
        waste, paths = self._looked.get("wasted_bytes"), self._looked.get("wasted", [])
        text = f"{units.size(waste)} wasted by files that a higher layer replaces or removes: {', '.join(paths)}" if waste else ""
        return {"layers": layers, "waste": text, "written": self.written}

    def close(self) -> None:
        """End all jobs."""
        for job in self._jobs:
            with suppress(CellholdError):
                job.close()
