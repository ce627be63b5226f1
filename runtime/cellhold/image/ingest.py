"""The way of an image into the store, from wherever its config and layers come.

They are verified, kept and unpacked; then the image gets its names. Used by pull, load,
import, commit, each within `making()`: until the names are there, garbage collection
would take it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from cellhold.errors import CellholdError, ImageRefused, RegistryFailed
from cellhold.image import config, layer_ingest, tags
from cellhold.image.progress import nobody
from cellhold.layer.bounds import Bounds
from cellhold.store.names import Derived, Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cellhold.image.config import Config
    from cellhold.image.descriptor import Descriptor
    from cellhold.image.manifest import Manifest
    from cellhold.image.progress import Tell
    from cellhold.spec.digest import Digest
    from cellhold.store.home import Home

_PASSING = (None, 401, 403, 429)  # None: no answer at all
_SERVER_ERROR = 500


@contextmanager
def making(home: Home) -> Iterator[None]:
    """Keep garbage collection away while an image is made.

    If it is not made after all, its parts are removed, except what came before a
    connection broke or a login ended: the next try continues there.
    Raises SetupFailed if the disk cannot be written to.
    """
    try:
        with home.written(), home.used():
            yield
    except CellholdError as error:
        if not _goes_on(error):
            try:
                tags.collect(home)
            except CellholdError as second:
                error.add_note(f"while clearing up: {second}")
        raise


def _goes_on(error: CellholdError) -> bool:
    """Return whether the same request may succeed a moment later.

    So it may if the connection broke, the registry is overloaded, or wants a login.
    """
    return isinstance(error, RegistryFailed) and (error.status in _PASSING or (error.status or 0) >= _SERVER_ERROR)


class Source(Protocol):
    """Where blobs come from: a registry, an archive."""

    def blob(self, descriptor: Descriptor, *, start_byte: int = 0) -> Iterator[bytes]:
        """Yield its bytes from `start_byte` on. Raises RegistryFailed, ImageRefused."""

    def stop(self) -> None:
        """Stop: no more is needed, and any thread that waits for a piece is woken.

        Called from another thread.
        """


class Nowhere:
    """The source of an image whose blobs are all here already."""

    def blob(self, descriptor: Descriptor, *, start_byte: int = 0) -> Iterator[bytes]:
        """Raise ImageRefused: there is no other source."""
        raise ImageRefused(f"cannot use {descriptor.digest}: the store does not have it from byte {start_byte} on")

    def stop(self) -> None:
        """Do nothing: nothing blocks here."""


def arrive(  # noqa: PLR0913  # an image, where it comes from, and what is to be known of it
    manifest: Manifest,
    source: Source,
    home: Home,
    *,
    names: Iterable[str],
    came_as: str | None = None,
    tell: Tell = nobody,
    bounds: Bounds | None = None,
    on_host: bool = False,
    derived: tuple[str, Digest] | None = None,
) -> None:
    """Store the image under these full names, which any other image loses.

    came_as: NAME@DIGEST, as a registry called it (of several the latest is last).
    on_host: it was made here, on the `host` image.
    derived: the key that it is found by, and the image that it was made of here, as
        store/names.py has them.
    Raises ImageRefused, RegistryFailed, OSError: then it is not in the table of images.
    """
    home.blobs.put(manifest.raw)
    found = _config(manifest, source, home)
    if found.on_host != on_host:  # such an image says so in its config: no other image has its digest
        raise ImageRefused(f"cannot use the image {manifest.digest}: it was built FROM host on another machine, and needs its files")
    layer_ingest.layers(manifest, found, source, home, bounds=bounds or Bounds(), tell=tell)
    home.blobs.settle()
    home.layers.settle(config.chain_ids(found.diff_ids))
    with home.names.changed() as table:
        entry = table.images.setdefault(manifest.digest, Entry(media_type=manifest.media_type, size_bytes=len(manifest.raw)))
        entry.on_host = on_host
        if derived:
            table.derived[derived[0]] = Derived(image=manifest.digest, base=derived[1])
        if came_as:
            entry.came_as = [*(one for one in entry.came_as if one != came_as), came_as]
        table.names.update(dict.fromkeys(names, manifest.digest))


def _config(manifest: Manifest, source: Source, home: Home) -> Config:
    """Fetch and keep the config of an image. Raises ImageRefused."""
    wanted = manifest.config
    if wanted.size_bytes > config.MOST_BYTES:
        raise ImageRefused(f"cannot use the config {wanted.digest}: {wanted.size_bytes} bytes are more than {config.MOST_BYTES}")
    home.blobs.mend(wanted.digest)
    with home.blobs.draft(wanted.digest, wanted.size_bytes) as draft:
        if draft is not None:
            draft.restart()
            for chunk in source.blob(wanted):
                draft.write(chunk)
            draft.keep()
    return config.parse(home.blobs.read(wanted.digest), layers=len(manifest.layers))
