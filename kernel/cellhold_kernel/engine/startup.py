"""A cell kernel that comes up: connected to when it is up, nudged until it talks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError
from cellhold_kernel.engine import diagnosis

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold_kernel.engine.cell_kernel import CellKernel
    from cellhold_kernel.transport.backend import Backend

START_SECONDS = 120.0  # a busy machine takes 25
_LOOK_SECONDS = 0.003  # at a socket that is not bound yet, at first
_LOOK_SHARE = 0.02  # of the time that has passed: where a start takes 30 s, looking must not take the processor from it
_NUDGE_SECONDS = 0.25  # at a cell kernel that is silent


def look(coming: CellKernel, *, nudge: Callable[[CellKernel], None], connected: Callable[[CellKernel, Backend], None]) -> float:
    """Connect to a cell kernel that is up; return the seconds until the next look.

    nudge: called where it is connected and silent. connected: called once, with its
    sockets. Raises CellholdError where it has ended, cannot be connected to, or takes
    too long.
    """
    if (outcome := coming.sandbox.poll()) is not None:
        raise diagnosis.of_stillbirth(coming, outcome)
    if time.monotonic() - coming.began > START_SECONDS:
        reason = f"it did not answer within {START_SECONDS:g} s"
        raise CellholdError(f"cannot start a cell kernel: {reason}", hint=diagnosis.last_words(coming))
    if coming.backend is not None:
        if time.monotonic() - coming.connected > _NUDGE_SECONDS:
            coming.connected = time.monotonic()
            nudge(coming)
        return _NUDGE_SECONDS
    backend = coming.connect()
    if backend is None:
        return max(_LOOK_SECONDS, _LOOK_SHARE * (time.monotonic() - coming.began))
    connected(coming, backend)
    return _NUDGE_SECONDS
