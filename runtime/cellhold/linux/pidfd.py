"""pidfd_send_signal(2)."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # as in init/pid1.py


def pidfd_send_signal(pidfd: int, number: int) -> None:
    """Send a signal through a pidfd; a process that has ended already is no error."""
    try:
        _signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return
