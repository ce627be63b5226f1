"""What is to be seen of layers and of what was written, found out by processes (looking.py); and whoever else the panel waits for.

At most a few at a time: a page could ask for any number of them.
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
ASKED = {"which": ("path",), "browse": ("layer", "path"), COMPARE: ("other",)}  # what a view may ask for, and the words it says


class Looks:
    """Those of one panel, and what they have found of the present container."""

    def __init__(self, loop: Watcher) -> None:
        """Nothing is known."""
        self._loop = loop
        self._jobs: list[Job] = []
        self._kernel: HeldSandbox | None = None
        self._stack: list[dict[str, Any]] = []
        self._looked: dict[str, Any] = {}
        self.written: dict[str, Any] = {}  # looking.written()
        self.times: list[float] = []  # when what there is of the container's files was changed last

    def check_room(self, sentence: str) -> None:
        """Raise NotAllowed with that sentence where no more processes may work for the panel."""
        if len(self._jobs) >= _JOBS_MOST:
            raise NotAllowed(sentence)

    def wait(self, job: Job, then: Callable[[CellholdError | None], None]) -> None:
        """Call `then` with the error, if there was one, once a process has done its job."""
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
        """Find out what a view asks for (ASKED); `tell` gets what was found, or its text why nothing was."""
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
        """The container is this one from now on: find out what the layers of its image change; `tell` is called when that is known."""
        if kernel is self._kernel:
            return
        self._kernel = kernel
        self._stack, self._looked, self.written = [] if kernel is None else layer_stack.layers(kernel), {}, {}
        if kernel is not None:
            self._look(kernel, "layers", self._take_layers, tell)

    def look_at_written(self, kernel: HeldSandbox, tell: Callable[[], None]) -> None:
        """Find out what the container has written; `tell` is called when that is known."""
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
        """The layers that the container's root lies on, the topmost first, what they change, and what was written on top of them."""
        changes = self._looked.get("changes") or [""] * len(self._stack)
        layers = [{**layer, "changes": text} for layer, text in zip(self._stack, changes, strict=False)]
        waste, paths = self._looked.get("wasted_bytes"), self._looked.get("wasted", [])
        told = f"{units.size(waste)} wasted, replaced or removed by a layer above: {', '.join(paths)}" if waste else ""
        return {"layers": layers, "waste": told, "written": self.written}

    def close(self) -> None:
        """End them."""
        for job in self._jobs:
            with suppress(CellholdError):
                job.close()
