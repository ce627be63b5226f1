"""import_root(): make an image of one layer from the tar of a root file system.

This is what `docker import` does.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from cellhold.image import ingest, layer_making, stored, writing
from cellhold.image.config import History
from cellhold.image.platform import Platform
from cellhold.image.reference import new_name

if TYPE_CHECKING:
    from typing import BinaryIO

    from cellhold.image.stored import StoredImage
    from cellhold.layer.bounds import Bounds
    from cellhold.store.home import Home

_CHUNK_BYTES = 1 << 20


def import_root(
    source: BinaryIO, name: str | None, home: Home, *, message: str = "Imported from -", bounds: Bounds | None = None
) -> StoredImage:
    """Make an image of a tar, compressed or not, and call it `name`.

    Raises ImageRefused, InvalidSpec, SetupFailed (a full disk).
    """
    names = [] if name is None else [new_name(name, aim=f"import an image as {name}")]
    with ingest.making(home):
        layer = layer_making.make(iter(partial(source.read, _CHUNK_BYTES), b""), home, bounds=bounds)
        now = datetime.now(UTC)
        config = writing.new_config(Platform.host(), diff_ids=[layer.diff_id], history=[History(created=now, comment=message)], created=now)
        home.blobs.put(config.raw)
        made = writing.new_manifest(writing.config_descriptor(config), [layer.descriptor])
        ingest.arrive(made, ingest.Nowhere(), home, names=names)
        return stored.read(made.digest, home, home.names.read())
