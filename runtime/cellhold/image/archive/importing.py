"""import_root(): the tar of a root file system as an image of one layer, as `docker import` makes it."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cellhold.digest import Digest
from cellhold.image import arrival, layer_arrival, mediatypes, stored, writing
from cellhold.image.config import History
from cellhold.image.descriptor import Descriptor
from cellhold.image.platform import Platform
from cellhold.image.reference import Reference
from cellhold.layer.unpack import Unpacking
from cellhold.store.scratch import scratch

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from cellhold.image.stored import StoredImage
    from cellhold.layer.bounds import Bounds
    from cellhold.layer.unpack import Unpacked
    from cellhold.store.home import Home

_CHUNK_BYTES = 1 << 20
_KINDS = {"gzip": mediatypes.LAYER_GZIP, "zstd": mediatypes.LAYER_ZSTD, "none": mediatypes.LAYER}


def import_root(
    source: BinaryIO, name: str | None, home: Home, *, message: str = "Imported from -", bounds: Bounds | None = None
) -> StoredImage:
    """Make an image of a tar, compressed or not, and call it `name`. Raises ImageRefused, InvalidSpec, SetupFailed (a full disk)."""
    names = [] if name is None else [str(Reference.parse(name))]
    with arrival.making(home), scratch(home.root) as place:
        layer, unpacked = _taken(source, place, home, bounds)
        with home.layers.draft(unpacked.diff_id) as draft:  # the lowest layer's chain id is its diff id
            if draft is not None:
                os.rename(place / "tree", draft.directory)
                draft.keep(layer_arrival.facts(unpacked, unpacked.diff_id, None))
        now = datetime.now(UTC)
        config = writing.new_config(
            Platform.host(), diff_ids=[unpacked.diff_id], history=[History(created=now, comment=message)], created=now
        )
        home.blobs.put(config.raw)
        made = writing.new_manifest(writing.config_descriptor(config), [layer])
        arrival.arrive(made, arrival.Nowhere(), home, names=names)
        return stored.read(made.digest, home, home.names.read())


def _taken(source: BinaryIO, place: Path, home: Home, bounds: Bounds | None) -> tuple[Descriptor, Unpacked]:
    """Keep the tar as a blob and unpack it, both as it comes."""
    (place / "tree").mkdir()
    (place / "tree").chmod(0o755)
    check, size = hashlib.sha256(), 0
    with (
        Unpacking(place / "tree", bounds=bounds, seccomp=layer_arrival.filtered(home)) as unpacking,
        (place / "layer").open("xb") as file,
    ):
        while chunk := source.read(_CHUNK_BYTES):
            unpacking.feed(chunk)
            check.update(chunk)
            size += file.write(chunk)
        unpacked = unpacking.finish()
    digest = Digest("sha256", check.hexdigest())
    home.blobs.adopt(place / "layer", digest)
    return Descriptor(media_type=_KINDS[unpacked.compression], digest=digest, size_bytes=size), unpacked
