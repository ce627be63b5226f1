"""How far a job is, shown in the cell that waits for it.

One display, brought up to date as often as a person can follow.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.protocol.messages import Message
    from cellhold_kernel.transport.frontend import Frontend

_INTERVAL_SECONDS = 0.2


class Progress:
    """The display of the present job."""

    def __init__(self, frontend: Frontend) -> None:
        """Publish it at `front`."""
        self._frontend = frontend
        self._shown = ""  # the id of the cell that has it
        self._shown_at = 0.0
        self._behind: tuple[Message, Job] | None = None  # it got further just after it was shown

    def show(self, message: Message, job: Job, *, now: bool = True) -> None:
        """Show a job in the cell of that request.

        Unless `now`, only if some time has passed since the last time, else a little
        later.
        """
        if not now and time.monotonic() - self._shown_at < _INTERVAL_SECONDS:
            self._behind = (message, job)
            return
        self.forget()
        self._shown_at = time.monotonic()
        kind = "update_display_data" if self._shown == message.id else "display_data"
        self._shown = message.id
        content = {"data": {"text/plain": job.text(), "text/html": job.html()}, "metadata": {}, "transient": {"display_id": message.id}}
        self._frontend.publish(kind, content, parent=message.header)

    def catch_up(self) -> float | None:
        """Show what was put off, once it is time; return the seconds until then."""
        if self._behind is None:
            return None
        left = self._shown_at + _INTERVAL_SECONDS - time.monotonic()
        if left > 0:
            return left
        self.show(*self._behind)
        return None

    def forget(self) -> None:
        """Show nothing that was put off."""
        self._behind = None
