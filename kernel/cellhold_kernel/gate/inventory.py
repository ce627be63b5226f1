"""What a notebook has in the store: its images, and all of its containers.

The containers are those of its kernels, its cells and its builds. Each request carries
this (gate/request.py); deciding is not the business of this module.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, InvalidSpec
from cellhold.image import stored
from cellhold.image.reference import Reference, notebook_of
from cellhold.spec.networks import is_own
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
    """Return the names of all images, seen from a notebook. Raises SetupFailed."""
    home = open_home()
    table = home.names.read()
    names: dict[str | None, set[str]] = {}  # notebook (None: of no notebook) -> names
    usable = {digest for digest, entry in table.images.items() if entry.came_as}
    for name, digest in table.names.items():
        notebook = _notebook(name)
        names.setdefault(notebook, set()).add(name)
        if notebook in (None, owner):
            usable.add(digest)
    withheld = frozenset(word for digest in table.images if digest not in usable for word in _identifiers(digest, home, table))
    return Names(own=frozenset(names.get(owner, ())), others=frozenset(names.get(None, ())), withheld=withheld)


def _identifiers(digest: Digest, home: Home, table: Table) -> Iterator[str]:
    """Yield an image's digest and id, each with and without the algorithm."""
    yield from (str(digest), digest.encoded)
    with suppress(CellholdError):  # a damaged image has no id
        id_ = stored.read(digest, home, table).id
        yield from (str(id_), id_.encoded)


def _notebook(name: str) -> str | None:
    try:
        return notebook_of(Reference.parse(name))
    except InvalidSpec:  # a table of another version
        return None


def containers(owner: str, *, without: Collection[str] = (), main: str = "") -> tuple[Held, ...]:
    """Return all containers of the notebook, of any of its kernels.

    They are its own, those of cells and builds, and those that %%run -d left running.
    without: ids that are not counted. main: the id of the container in which the
    requesting kernel's cells run.
    """
    directory = open_home().containers
    return tuple(
        _held(one, is_main=one.id == main)
        for one in record.list_readable(directory)
        if one.spec.get("owner") == owner and one.id not in without and (one.kept or _is_in_use(directory / one.id))
    )


def _held(entry: Record, *, is_main: bool) -> Held:
    """Return the container of a record.

    One that is not kept counts as alive: its process may start it again, whatever its
    state.
    """
    spec = spec_codec.from_json(entry.spec)
    is_stopped = is_main and entry.state not in _ALIVE
    beside = entry.name if entry.kept else f"container {entry.name}, which another cell or kernel has,"
    return Held(
        id=entry.id,
        name=(STOPPED if is_stopped else MAIN) if is_main else beside,
        limits=spec.limits,
        is_main=is_main,
        is_stopped=is_stopped,
        is_alive=not entry.kept or entry.state in _ALIVE,
        has_network=is_own(spec.network),
        is_kept=entry.kept,
        is_ending=not entry.kept and len(entry.maker) == _PAIR and record.birth(entry.maker[0]) != entry.maker[1],
    )


def _is_in_use(directory: Path) -> bool:
    """Return whether a process or its launcher holds it; else a sweep clears it."""
    path = directory.resolve()
    try:
        with locks.held(path, lambda: os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), shared=True, wait=False):
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
