"""The cell that waits for a process: `%%run`, `%%dockerfile`, `%container commit`.

The cells behind it wait, too; everything else goes on meanwhile.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError
from cellhold_kernel.engine import diagnosis
from cellhold_kernel.relay.cell_queue import JobCell

if TYPE_CHECKING:
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.protocol.messages import Message
    from cellhold_kernel.relay.cell_queue import CellQueue
    from cellhold_kernel.relay.outbound import Outbound
    from cellhold_kernel.relay.parts import Parts


class CellJobs:
    """The jobs of a notebook's cells, of which one goes on at a time."""

    def __init__(self, parts: Parts, queue: CellQueue, outbound: Outbound) -> None:
        """None goes on."""
        self._parts = parts
        self._queue = queue
        self._outbound = outbound

    def begin(self, message: Message, job: Job, code: str) -> None:
        """Let a cell wait for a job. code: for the cell kernel, once it is done."""
        self._parts.answers.busy(message)
        self._queue.working = JobCell(message, job)
        self._parts.loop.add(job.fileno(), partial(self._read, message, job, code))

    def _read(self, message: Message, job: Job, code: str) -> None:
        """Take in what the job has said, or that it has ended."""
        try:
            try:
                goes_on = job.drain()
            finally:
                for output in job.take_outputs():
                    self._parts.frontend.publish(*output, parent=message.header, is_output=True)
            if job.shows_progress or not goes_on:
                self._parts.progress.show(message, job, now=not goes_on)
            if goes_on:
                return
            self.close()
            job.conclude()
            self._outbound.finish(message, [], code)
        except (CellholdError, OSError) as error:
            self.close()
            self._parts.progress.show(message, job)
            self._queue.refuse(message, diagnosis.as_answer(error))
        self._queue.pump()

    def cancel(self) -> None:
        """End the job because of an interrupt."""
        if self._queue.working is not None:
            message, job = self._queue.working
            self.close()
            self._queue.refuse(message, CellholdError(f"interrupted: {job.interrupted_message}"))
            self._queue.pump()

    def close(self) -> None:
        """End the job, if one goes on."""
        if self._queue.working is not None:
            _message, job = self._queue.working
            self._queue.working = None
            self._parts.progress.forget()
            self._parts.loop.remove(job.fileno())
            job.close()
