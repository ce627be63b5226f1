"""pull(): an image from a registry into the store, ready to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import ImageRefused
from cellhold.image import ingest, manifest, stored
from cellhold.image.platform import Platform
from cellhold.image.progress import nobody
from cellhold.image.reference import Reference, new_name
from cellhold.image.registry import Registry
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.image.descriptor import Descriptor
    from cellhold.image.manifest import Manifest
    from cellhold.image.progress import Tell
    from cellhold.image.stored import StoredImage
    from cellhold.layer.bounds import Bounds
    from cellhold.store.home import Home


def pull(
    text: str, *, home: Home | None = None, platform: Platform | None = None, tell: Tell = nobody, bounds: Bounds | None = None
) -> StoredImage:
    """Pull the image called `text` into the store.

    What is here already is not sent again; of processes that pull the same image, one
    does it.

    platform: for an image of several; default: the host's.
    tell: called for every layer, from several threads.
    bounds: on what a layer may unpack to.
    Raises InvalidSpec (not a valid image name), ImageNotFound, RegistryFailed,
    ImageRefused, SetupFailed (a full disk); then the store is as it was, except for
    what a cut connection has brought so far.
    """
    wanted = Reference.parse(text)
    names = [] if wanted.digest else [new_name(text, aim=f"pull {text}")]  # docker: naming a digest moves no tag
    home = home or open_home()
    with ingest.making(home), Registry(wanted.registry) as registry:
        found, came_as = resolve(registry, wanted, platform or Platform.host())
        ingest.arrive(found, _Repository(registry, wanted.repository), home, names=names, came_as=came_as, tell=tell, bounds=bounds)
        return stored.read(found.digest, home, home.names.read())


def resolve(registry: Registry, wanted: Reference, platform: Platform) -> tuple[Manifest, str]:
    """Return the manifest of the image for that platform, and its NAME@DIGEST.

    The digest is that of the index, if there is one.
    """
    raw, media_type, digest = registry.manifest(wanted.repository, wanted.selector)
    came_as = f"{wanted.registry}/{wanted.repository}@{digest}"
    found = manifest.parse(raw, media_type)
    if isinstance(found, manifest.Index):
        chosen = found.choose(platform)
        raw, media_type, _digest = registry.manifest(wanted.repository, str(chosen.digest))
        found = manifest.parse(raw, media_type)
        if isinstance(found, manifest.Index):
            raise ImageRefused(f"cannot use image={wanted.familiar()}: its index names another index for {platform}")
    return found, came_as


class _Repository:
    """One repository of a registry, as a source of blobs."""

    def __init__(self, registry: Registry, repository: str) -> None:
        self._registry, self._repository = registry, repository

    def blob(self, descriptor: Descriptor, *, start_byte: int = 0) -> Iterator[bytes]:
        return self._registry.blob(self._repository, descriptor, start_byte=start_byte)

    def stop(self) -> None:
        self._registry.close()
