"""Garbage collection: remove what no image, container or build step refers to.

Whoever makes something that will refer to blobs or layers (a pull, a build, a container
being made) holds `Home.used()` until it does. While anybody holds it nothing is
collected; what stays is removed the next time. While a record, an image or a step of a
build cannot be read nothing is collected either: nobody knows what it refers to.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.spec.digest import Digest
from cellhold.store import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cellhold.errors import CellholdError
    from cellhold.store.home import Home
    from cellhold.store.table import Unreadable


@dataclass(frozen=True, kw_only=True)
class Referred:
    """What images and the build cache refer to: blobs by digest, layers by chain id."""

    blobs: frozenset[Digest]
    layers: frozenset[Digest]


@dataclass(frozen=True, kw_only=True)
class Freed:
    """What was removed. size_bytes: of the compressed and of the unpacked layers."""

    blobs: int
    layers: int
    size_bytes: int


def collect(home: Home, refer: Callable[[], Referred | None]) -> Freed | None:
    """Remove all that neither `refer` names nor a container uses.

    refer: None if that is not known. Returns None if nothing was done, for the reason
    that hindrance() returns.
    """
    try:
        with home.used(alone=True):
            if _unreadable(home):
                return None
            if (kept := refer()) is None:
                return None
            layers = kept.layers | in_containers(home)
            gone_blobs = [home.blobs.remove(digest) for digest in home.blobs.all() if digest not in kept.blobs]
            gone_layers = [size for chain in home.layers.all() if chain not in layers for size in _removed(chain, home)]
            home.blobs.remove_drafts()
    except BlockingIOError:
        return None
    return Freed(blobs=len(gone_blobs), layers=len(gone_layers), size_bytes=sum(gone_blobs) + sum(gone_layers))


def _removed(chain: Digest, home: Home) -> list[int]:
    """Remove a layer; return its size, and nothing where a process holds it."""
    with suppress(BlockingIOError):
        return [home.layers.remove(chain)]
    return []


def in_containers(home: Home) -> frozenset[Digest]:
    """Return the layers that containers are mounted from."""
    return frozenset(Digest.parse(chain) for known in record.list_readable(home.containers) for chain in known.layers)


def hindrance(home: Home, others: Iterable[CellholdError]) -> str:
    """Return a sentence that says why nothing was collected.

    others: the files that kept `refer` from being known.
    """
    for error in (*(one.error for one in _unreadable(home)), *others):
        return f"No space came free: {error}\nhint: {error.hint}"
    return "The space comes free with the next removal: another process makes use of the store."


def _unreadable(home: Home) -> list[Unreadable]:
    return [*record.unreadable(home.containers), *home.builds.unreadable()]
