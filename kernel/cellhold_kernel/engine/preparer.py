"""The jobs on an image before a container of it can be made: pull, kernel layer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError
from cellhold_kernel.engine import diagnosis
from cellhold_kernel.engine.base import Ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold_kernel.engine.base import Engine, Preparation
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.transport.loop import Loop

    Describe = Callable[[Job | None], Preparation]  # of the job that has just ended
    Start = Callable[[Ready], None]


class Preparer:
    """Has at most one job at a time."""

    def __init__(self, engine: Engine, loop: Loop, *, progressed: Callable[[Job], None], failed: Callable[[CellholdError], None]) -> None:
        """Begin nothing yet.

        progressed: called when a job has new output, or has ended. failed: called when
        no container will be made.
        """
        self._engine = engine
        self._loop = loop
        self._progressed = progressed
        self._failed = failed
        self._job: Job | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a job is at work."""
        return self._job is not None

    def begin(self, describe: Describe, start: Start, *, done: Job | None = None) -> None:
        """Call `start` now, or begin the next job and call it once no job is left.

        describe: returns the preparation as it is by then. done: the job that has just
        ended. Raises CellholdError and OSError, also those of `start`.
        """
        prepared = self._engine.prepare(describe(done))
        if isinstance(prepared, Ready):
            start(prepared)
            return
        self._job = prepared
        self._loop.add(prepared.fileno(), partial(self._on_job, prepared, describe, start))

    def _on_job(self, job: Job, describe: Describe, start: Start) -> None:
        """Take in what the job has written, or its end."""
        try:
            goes_on = job.drain()
            self._progressed(job)
            if goes_on:
                return
            self.cancel()
            self.begin(describe, start, done=job)
        except (CellholdError, OSError) as error:
            self.cancel()
            self._failed(diagnosis.as_answer(error))

    def cancel(self) -> None:
        """End the job, if there is one."""
        if self._job is not None:
            self._loop.remove(self._job.fileno())
            self._job.close()
            self._job = None
