"""The files that cells write.

Out before the end of a cell is told, out when its container ends, and out while it
runs.

The end of a cell, its reply and its `idle`, waits for its files. What is little is done
at once; else a thread does it, and nothing more is read of the cell kernel meanwhile,
while everything else goes on.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError
from cellhold_kernel.engine import diagnosis
from cellhold_kernel.files import wording
from cellhold_kernel.files.hand_out import SETTLED_SECONDS, Moment, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellhold_kernel.engine.base import WrittenFiles
    from cellhold_kernel.engine.cell_kernel import CellKernel
    from cellhold_kernel.gate.granted import GrantedKeep
    from cellhold_kernel.relay.cell_monitor import CellMonitor
    from cellhold_kernel.relay.parts import Parts

    Then = Callable[[Report], None]


class CellFiles:
    """The hand-outs of a notebook's containers, of which one goes on at a time."""

    def __init__(self, parts: Parts, monitor: CellMonitor) -> None:
        """Nothing is handed out yet."""
        self._parts = parts
        self._monitor = monitor
        self._handled = ""  # the request of the cell whose files are out, or on their way
        self._kernel: CellKernel | None = None  # whose files are on their way
        self._then: Then | None = None  # what follows the thread's work
        self._next: tuple[Moment, list[bytes] | None, Then] | None = None  # what was asked for meanwhile
        self._waiting: list[Callable[[], None]] = []  # ends of cells
        self._looks_at = 0.0

    @property
    def is_holding(self) -> bool:
        """Whether the end of a cell waits."""
        return bool(self._waiting)

    def holds(self, kernel: CellKernel, message_id: str, header: Mapping[str, Any], go_on: Callable[[], None]) -> bool:
        """Hand out the files of a cell that has ended.

        Return whether its end has to wait: then go_on is called.

        Called for its reply and its `idle`, of which the first hands out.
        """
        if kernel is not self._parts.session.current or kernel.files is None or kernel.files.is_inside:
            return False
        if self._handled == message_id and not self.is_holding:
            return False
        if self._handled != message_id:
            self._handled = message_id
            self._ask(kernel, Moment.CELL, None, partial(self._say, header))
        if self._kernel is None:
            return False
        self._waiting.append(go_on)
        return True

    def keep(self, granted: GrantedKeep, then: Then) -> None:
        """Write what a person has named; then is called with what came of it.

        Raises CellholdError.
        """
        kernel = self._parts.session.current
        if kernel is None or kernel.files is None or kernel.files.is_inside:
            raise CellholdError("cannot keep files: nothing goes out of this container", hint="%container mount=new, in a fresh one")
        self._ask(kernel, Moment.KEEP, [os.fsencode(path) for path in granted.paths] or None, then)

    def end(self, kernel: CellKernel) -> str:
        """Hand out what a container that has ended, or is to go, still holds.

        Return what is lost with it, as part of a sentence.
        """
        if kernel.files is None:
            return ""
        if kernel is self._kernel:
            following = self._next
            self._next = None
            self._finished(kernel.files)  # which waits for the thread
            if following is not None:
                following[2](Report(failure="the container has ended"))
        with suppress(OSError):
            kernel.files.run(Moment.END)
        self._release()
        return wording.lost(kernel.files.lost())

    def tick(self) -> float | None:
        """Hand out what stands still while a cell runs.

        Return the seconds until the next look.
        """
        kernel = self._parts.session.current
        if self._monitor.cell is None or kernel is None or kernel.files is None or kernel.files.is_inside:
            self._looks_at = 0.0
            return None
        now = time.monotonic()
        if not self._looks_at:
            self._looks_at = now + SETTLED_SECONDS
        if now < self._looks_at:
            return self._looks_at - now
        self._looks_at = now + SETTLED_SECONDS
        if self._kernel is None:
            self._ask(kernel, Moment.RUNNING, None, lambda _report: None)
        return SETTLED_SECONDS

    # ---------------------------------------------------------------- one after another

    def _ask(self, kernel: CellKernel, moment: Moment, names: list[bytes] | None, then: Then) -> None:
        if self._kernel is not None:
            self._next = (moment, names, then)
            return
        files = kernel.files
        if files is None:
            return
        try:
            report = files.begin(moment, names=names)
        except OSError as error:
            self._fail(error, then)
            return
        if report is not None:
            then(report)
            return
        self._kernel, self._then = kernel, then
        self._parts.loop.add(files.fileno(), partial(self._finished, files))

    def _finished(self, files: WrittenFiles) -> None:
        """The thread has ended."""
        self._parts.loop.remove(files.fileno())
        kernel, then, following = self._kernel, self._then, self._next
        self._kernel = self._then = self._next = None
        try:
            report = files.finish()
        except Exception as error:  # noqa: BLE001  # whatever the thread met, the cell's end is told
            self._fail(error, then)
        else:
            if then is not None:
                then(report)
        if following is not None and kernel is not None:
            self._ask(kernel, *following)
        if self._kernel is None:
            self._release()

    def _fail(self, error: Exception, then: Then | None) -> None:
        """Say that nothing could be handed out: the files are where they were."""
        words = str(diagnosis.as_answer(error)) if isinstance(error, CellholdError | OSError) else type(error).__name__
        if then is not None:
            then(Report(failure=words))

    def _release(self) -> None:
        waiting, self._waiting = self._waiting, []
        for go_on in waiting:
            go_on()

    def _say(self, header: Mapping[str, Any], report: Report) -> None:
        """Say in the cell what stays inside."""
        if (line := wording.line(report)) is not None:
            self._parts.frontend.publish("stream", {"name": "stderr", "text": f"{line}\n"}, parent=header)
