"""The disk space of images, the build cache, and work in progress.

Each blob and each layer is counted once.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError
from cellhold.image import tags
from cellhold.store import tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cellhold.image.stored import StoredImage
    from cellhold.spec.digest import Digest
    from cellhold.store.garbage import Referred
    from cellhold.store.home import Home


@dataclass(frozen=True, kw_only=True)
class Space:
    """Disk space, in bytes.

    images: of all images.
    unused: of those alone that no container is made of.
    cache: of steps of builds that no image has.
    loose: of what nothing refers to, and of drafts.
    """

    images: int
    unused: int
    cache: int
    loose: int


def space(images: Sequence[StoredImage], used: Iterable[StoredImage], home: Home) -> Space:
    """Measure the space. used: the images that containers are made of. Raises OSError."""
    of_images, of_used, of_builds = tags.by_images(images), tags.by_images(used), tags.by_builds(home)
    blobs, layers = set(home.blobs.all()), set(home.layers.all())

    def size(wanted: Referred, *others: Referred) -> int:
        some = set(wanted.blobs).difference(*(other.blobs for other in others)) & blobs
        more = set(wanted.layers).difference(*(other.layers for other in others)) & layers
        return sum(map(home.blobs.size, some)) + sum(_layer_bytes(chain, home) for chain in more)

    left = layers.difference(of_images.layers, of_builds.layers)
    loose = sum(map(home.blobs.size, blobs.difference(of_images.blobs, of_builds.blobs)))
    return Space(
        images=size(of_images),
        unused=size(of_images, of_used),
        cache=size(of_builds, of_images),
        loose=loose + sum(_layer_bytes(chain, home) for chain in left) + tree.used_bytes(home.blobs.drafts),
    )


def _layer_bytes(chain: Digest, home: Home) -> int:
    with suppress(CellholdError):
        return home.layers.facts(chain).size_bytes
    with suppress(OSError):
        return tree.used_bytes(home.layers.tree(chain))
    return 0
