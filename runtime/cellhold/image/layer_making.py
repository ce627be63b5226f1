"""A new layer that is made here, for import, commit and build.

Its tar is kept as a blob and unpacked as it comes; its digests are known at the end.
Whoever makes one holds `Home.used()` until something refers to it.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.image import config, layer_ingest, mediatypes
from cellhold.image.descriptor import Descriptor
from cellhold.layer.unpack import Unpacking
from cellhold.spec.digest import Digest
from cellhold.store import subids, user_namespace
from cellhold.store.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from cellhold.layer.bounds import Bounds
    from cellhold.layer.unpack import Unpacked
    from cellhold.store.home import Home

_KINDS = {"gzip": mediatypes.LAYER_GZIP, "zstd": mediatypes.LAYER_ZSTD, "none": mediatypes.LAYER}


@dataclass(frozen=True, kw_only=True)
class MadeLayer:
    """A layer that is in the store now.

    entries: of its tar, the root directory among them.
    """

    descriptor: Descriptor
    diff_id: Digest
    entries: int


def make(tar: Iterable[bytes], home: Home, *, below: Sequence[Digest] = (), bounds: Bounds | None = None) -> MadeLayer:
    """Make the layer of a tar, compressed or not, on top of others.

    below: the diff ids of the layers below, lowest first.
    A `tar` that has a close() is closed, whether all of it was taken or not: a process
    or a thread may be making it.
    Raises ImageRefused, OSError (a full disk), and what `tar` raises: then no layer is
    made.
    """
    chains = config.chain_ids(below)
    with ExitStack() as closing:
        if close := getattr(tar, "close", None):
            closing.callback(close)
        place = closing.enter_context(scratch(home.root))
        descriptor, unpacked = _store_and_unpack(tar, place, home, [home.layers.tree(chain) for chain in reversed(chains)], bounds)
        chain_id = config.chain_ids((*below, unpacked.diff_id))[-1]
        with home.layers.draft(chain_id) as draft:
            if draft is not None:
                _move_tree(place / "tree", draft.directory)
                draft.keep(layer_ingest.facts(unpacked, unpacked.diff_id, chains[-1] if chains else None))
    return MadeLayer(descriptor=descriptor, diff_id=unpacked.diff_id, entries=unpacked.entries)


def _move_tree(tree: Path, to: Path) -> None:
    """Rename a layer's tree.

    Its root may belong to a subordinate id, and only root of those ids may change its
    ".." (rename(2), EACCES).
    """
    try:
        os.rename(tree, to)
    except PermissionError:
        if not subids.is_rootless():
            raise
        user_namespace.run(f"import os; os.rename({str(tree)!r}, {str(to)!r})")


def _store_and_unpack(
    tar: Iterable[bytes], place: Path, home: Home, below: Sequence[Path], bounds: Bounds | None
) -> tuple[Descriptor, Unpacked]:
    """Keep the tar as a blob and unpack it, both as it comes."""
    (place / "tree").mkdir()
    (place / "tree").chmod(0o755)
    check, size = hashlib.sha256(), 0
    with (
        Unpacking(place / "tree", bounds=bounds, seccomp=layer_ingest.filtered(home)) as unpacking,
        (place / "layer").open("xb") as file,
    ):
        for chunk in tar:
            unpacking.feed(chunk)
            check.update(chunk)
            size += file.write(chunk)
        unpacked = unpacking.finish(lambda: below)
    digest = Digest("sha256", check.hexdigest())
    home.blobs.adopt(place / "layer", digest)
    return Descriptor(media_type=_KINDS[unpacked.compression], digest=digest, size_bytes=size), unpacked
