"""Admission of a container: count what the notebook has and make one more at once.

The gate decided by what there was when it was asked; another cell or kernel of the
notebook may have asked meanwhile. So whatever makes a container (engine/session.py in
the host kernel; jobs/run.py, jobs/build.py and jobs/kernel_layer.py in a process of
their own) does it within `admitted`, and holds the notebook's lock until the container
has a record. The lock is flock(2)'s: a process that is killed in between holds nothing.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from cellhold.errors import NotAllowed
from cellhold.store.home import open_home
from cellhold_kernel.gate import inventory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from cellhold.spec.limits import Limits
    from cellhold.spec.spec import Spec
    from cellhold_kernel.gate.claim import Claim

_TURN_SECONDS = 60.0  # what making one takes at most, on a busy machine
_ENDING_SECONDS = 5.0  # until the container of a killed process is gone
_LOOK_SECONDS = 0.02


@contextmanager
def admitted(spec: Spec, claim: Claim | None, *, instead_of: Collection[str] = ()) -> Iterator[Spec]:
    """Yield the spec with the limits there is room for; make the container inside.

    instead_of: ids of containers that are removed once this one exists. It may block:
    while another one is being made, and, if there is no room, until containers whose
    process was killed are gone. Raises NotAllowed with the gate's message.
    """
    if claim is None:
        yield spec
        return
    until = time.monotonic() + _ENDING_SECONDS
    while True:
        with counting(spec.owner):
            limits = _limits(spec, claim, instead_of, is_final=time.monotonic() > until)
            if limits is not None:
                yield replace(spec, limits=limits)
                return
        time.sleep(_LOOK_SECONDS)


def _limits(spec: Spec, claim: Claim, instead_of: Collection[str], *, is_final: bool) -> Limits | None:
    """Return the limits there is room for; None to try again. Raises NotAllowed."""
    beside = inventory.containers(spec.owner, without=instead_of, main=claim.main)
    try:
        return claim.within(spec.limits, beside)
    except NotAllowed:
        if is_final or not any(held.is_ending for held in beside):
            raise
    return None


@contextmanager
def counting(owner: str) -> Iterator[None]:
    """Hold the lock of a notebook: no container is made, no limit changes meanwhile.

    Raises NotAllowed after a minute of waiting.
    """
    until = time.monotonic() + _TURN_SECONDS

    def patience() -> None:
        if time.monotonic() > until:
            raise NotAllowed("cannot make a container: others of the notebook are being made, one at a time", hint="try again")
        time.sleep(_LOOK_SECONDS)

    with open_home().counted(owner, patience):
        yield
