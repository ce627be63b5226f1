"""The door that each container of a notebook comes in by: what the notebook has is counted, and one more is made, in one step.

The gate has let the request pass by what there was when it was asked; another cell or kernel of the notebook may have
asked meanwhile. So whoever makes a container of it (engine/session.py in the host kernel; jobs/run.py, jobs/build.py and
jobs/kernel_layer.py in a process of their own) does that within `admitted`, and holds the notebook's lock until the
container has a record. It is flock(2)'s: a process that is killed in between holds nothing.
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
_ENDING_SECONDS = 5.0  # that a killed process's container takes to be gone
_LOOK_SECONDS = 0.02


@contextmanager
def admitted(spec: Spec, claim: Claim | None, *, instead_of: Collection[str] = ()) -> Iterator[Spec]:
    """Make the container within this block, of the spec that it gives: with the limits that there is room for now.

    instead_of: ids of containers that go when this one is there. It may block: for another one that is just made, and where
    there is no room for those whose process was killed to be gone. Raises NotAllowed with the gate's sentence.
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
    """What there is room for; None where there may be some in a moment. Raises NotAllowed."""
    beside = inventory.containers(spec.owner, without=instead_of, main=claim.main)
    try:
        return claim.within(spec.limits, beside)
    except NotAllowed:
        if is_final or not any(held.is_ending for held in beside):
            raise
    return None


@contextmanager
def counting(owner: str) -> Iterator[None]:
    """Hold the lock of one notebook: none of its containers is made meanwhile, and none gets other limits. Raises NotAllowed."""
    until = time.monotonic() + _TURN_SECONDS

    def patience() -> None:
        if time.monotonic() > until:
            raise NotAllowed("cannot make a container: others of the notebook are being made, one at a time", hint="try again")
        time.sleep(_LOOK_SECONDS)

    with open_home().counted(owner, patience):
        yield
