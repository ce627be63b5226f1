"""What a notebook has in the store beside its own container: images that it made, containers that it left running.

The gate is told of it with each request (gate/request.py); deciding is not the business of this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec
from cellhold.image.reference import Reference, notebook_of
from cellhold.network import is_own
from cellhold.store import record, spec_codec
from cellhold.store.home import open_home
from cellhold_kernel.gate.images import Names
from cellhold_kernel.gate.request import Held

if TYPE_CHECKING:
    from cellhold.store.record import Record

_ALIVE = frozenset({"created", "running", "paused", "restarting"})


def image_names(owner: str) -> Names:
    """What images are called here, for the notebook with that id. Raises SetupFailed."""
    of: dict[str | None, set[str]] = {}
    for name in open_home().names.read().names:
        of.setdefault(_notebook(name), set()).add(name)
    return Names(own=frozenset(of.get(owner, ())), others=frozenset(of.get(None, ())))


def _notebook(name: str) -> str | None:
    try:
        return notebook_of(Reference.parse(name))
    except InvalidSpec:  # a table of another version
        return None


def containers(owner: str) -> tuple[Held, ...]:
    """Those that %%run -d has left, of any kernel that the notebook had: they are its own until they are removed."""
    return tuple(_held(known) for known in record.every(open_home().containers) if known.kept and known.spec.get("owner") == owner)


def _held(known: Record) -> Held:
    spec = spec_codec.spec(known.spec)
    return Held(
        name=known.name,
        limits=spec.limits,
        is_alive=known.state in _ALIVE,
        has_network=is_own(spec.network),
    )
