"""Garbage collection: what no image, no container and no step of a build refers to goes.

Whoever makes something that will refer to blobs or layers (a pull, a build, a container being made) holds `Home.used()` until it does.
While anybody holds it nothing is collected; what stays goes the next time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.digest import Digest
from cellhold.store import record

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.store.home import Home


@dataclass(frozen=True, kw_only=True)
class Referred:
    """What the images and the build cache refer to: blobs by digest, layers by chain id."""

    blobs: frozenset[Digest]
    layers: frozenset[Digest]


@dataclass(frozen=True, kw_only=True)
class Freed:
    """What went. size_bytes: of the compressed and of the unpacked layers."""

    blobs: int
    layers: int
    size_bytes: int


def collect(home: Home, refer: Callable[[], Referred]) -> Freed | None:
    """Remove all that neither `refer` names nor a container has; None if somebody makes use of the store, so that nothing was done."""
    try:
        with home.used(alone=True):
            kept = refer()
            layers = kept.layers | in_containers(home)
            gone_blobs = [home.blobs.remove(digest) for digest in home.blobs.all() if digest not in kept.blobs]
            gone_layers = [home.layers.remove(chain) for chain in home.layers.all() if chain not in layers]
            home.blobs.remove_drafts()
    except BlockingIOError:
        return None
    return Freed(blobs=len(gone_blobs), layers=len(gone_layers), size_bytes=sum(gone_blobs) + sum(gone_layers))


def in_containers(home: Home) -> frozenset[Digest]:
    """The layers that containers are mounted from."""
    from_records = (record.read(directory) for directory in home.containers.iterdir())
    return frozenset(Digest.parse(chain) for known in from_records if known is not None for chain in known.layers)
