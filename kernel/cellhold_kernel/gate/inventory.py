"""What a notebook has in the store beside its own container: images that it made, containers that it left running.

The gate is told of it with each request (gate/request.py); deciding is not the business of this module.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, InvalidSpec
from cellhold.image import stored
from cellhold.image.reference import Reference, notebook_of
from cellhold.network import is_own
from cellhold.store import record, spec_codec
from cellhold.store.home import open_home
from cellhold_kernel.gate.images import Names
from cellhold_kernel.gate.request import Held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.spec.digest import Digest
    from cellhold.store.home import Home
    from cellhold.store.names import Table
    from cellhold.store.record import Record

_ALIVE = frozenset({"created", "running", "paused", "restarting"})


def image_names(owner: str) -> Names:
    """What images are called here, for the notebook with that id. Raises SetupFailed."""
    home = open_home()
    table = home.names.read()
    of: dict[str | None, set[str]] = {}
    had = {digest for digest, entry in table.images.items() if entry.came_as}
    for name, digest in table.names.items():
        whose = _notebook(name)
        of.setdefault(whose, set()).add(name)
        if whose in (None, owner):
            had.add(digest)
    withheld = frozenset(word for digest in table.images if digest not in had for word in _words_of(digest, home, table))
    return Names(own=frozenset(of.get(owner, ())), others=frozenset(of.get(None, ())), withheld=withheld)


def _words_of(digest: Digest, home: Home, table: Table) -> Iterator[str]:
    """What an image is called without a name: its digest and its id, with and without the algorithm."""
    yield from (str(digest), digest.encoded)
    with suppress(CellholdError):  # a damaged one has no id
        id_ = stored.read(digest, home, table).id
        yield from (str(id_), id_.encoded)


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
