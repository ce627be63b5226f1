"""What a notebook has in the store: images that it made, containers of its kernels, its cells and its builds.

The gate is told of it with each request (gate/request.py); deciding is not the business of this module.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, InvalidSpec
from cellhold.image import stored
from cellhold.image.reference import Reference, notebook_of
from cellhold.network import is_own
from cellhold.store import locks, record, spec_codec
from cellhold.store.home import open_home
from cellhold_kernel.gate.images import Names
from cellhold_kernel.gate.request import Held

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from cellhold.spec.digest import Digest
    from cellhold.store.home import Home
    from cellhold.store.names import Table
    from cellhold.store.record import Record

MAIN = "the notebook's container"
STOPPED = "the notebook's stopped container"
_PAIR = 2
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


def containers(owner: str, *, without: Collection[str] = (), main: str = "") -> tuple[Held, ...]:
    """All of any kernel that the notebook has or had: its own, those of cells and builds, and what %%run -d has left.

    without: ids of some that are not counted. main: the id of the one that the cells which ask run in.
    """
    places = open_home().containers
    return tuple(
        _held(known, is_main=known.id == main)
        for known in record.list_readable(places)
        if known.spec.get("owner") == owner and known.id not in without and (known.kept or _is_somebodys(places / known.id))
    )


def _held(known: Record, *, is_main: bool) -> Held:
    """One that ends with its process may be started again by that, whatever it does now."""
    spec = spec_codec.from_json(known.spec)
    is_stopped = is_main and known.state not in _ALIVE
    beside = known.name if known.kept else f"container {known.name}, which another cell or kernel has,"
    return Held(
        id=known.id,
        name=(STOPPED if is_stopped else MAIN) if is_main else beside,
        limits=spec.limits,
        is_main=is_main,
        is_stopped=is_stopped,
        is_alive=not known.kept or known.state in _ALIVE,
        has_network=is_own(spec.network),
        is_kept=known.kept,
        is_ending=not known.kept and len(known.maker) == _PAIR and record.birth(known.maker[0]) != known.maker[1],
    )


def _is_somebodys(directory: Path) -> bool:
    """Whether a process, or its launcher, has it: else it is litter that a sweep clears."""
    path = directory.resolve()
    try:
        with locks.held(path, lambda: os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), shared=True, wait=False):
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
