"""An OCI image layout (OCI image-spec, image-layout.md).

index.json names manifests, blobs/ALGORITHM/HEX has everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import ImageRefused, InvalidSpec
from cellhold.image import manifest
from cellhold.image.reference import new_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.image.archive.folder import Folder
    from cellhold.image.descriptor import Descriptor
    from cellhold.image.manifest import Manifest
    from cellhold.image.platform import Platform

INDEX, MARK = "index.json", "oci-layout"
MARK_TEXT = b'{"imageLayoutVersion": "1.0.0"}'
REFERENCE = "org.opencontainers.image.ref.name"  # annotations.md: a tag, by most tools a whole name
FULL_NAME = "io.containerd.image.name"  # containerd's and docker's: the whole name
MOST_IMAGES = 1000


class Layout:
    """A layout in a folder, as a source of blobs."""

    def __init__(self, folder: Folder) -> None:
        """Read from `folder`, which stays the caller's to close."""
        self._folder = folder

    def images(self, platform: Platform) -> Iterator[tuple[Manifest, str | None]]:
        """Yield the images for that platform, each with a name if it has one.

        Raises ImageRefused, ImageNotFound.
        """
        index = manifest.parse(self._folder.read(INDEX, manifest.MOST_BYTES))
        if not isinstance(index, manifest.Index) or len(index.manifests) > MOST_IMAGES:
            raise ImageRefused(f"cannot use the archive: its {INDEX} is not an index of at most {MOST_IMAGES} images")
        for entry in index.manifests:
            yield self._image(entry, platform, depth=0), _name(entry)

    def blob(self, descriptor: Descriptor, *, start_byte: int = 0) -> Iterator[bytes]:
        """Yield a blob in pieces. Raises ImageRefused if it is missing."""
        return self._folder.chunks(_path(descriptor), start_byte)

    def stop(self) -> None:
        """Do nothing: reading a file on disk never blocks for long."""

    def _image(self, entry: Descriptor, platform: Platform, *, depth: int) -> Manifest:
        raw = self._folder.read(_path(entry), manifest.MOST_BYTES)
        check = entry.digest.hasher()
        check.update(raw)
        if check.hexdigest() != entry.digest.encoded:
            raise ImageRefused(f"cannot use the archive: its blob {entry.digest} is another content")
        found = manifest.parse(raw, entry.media_type)
        if isinstance(found, manifest.Manifest):
            return found
        if depth:
            raise ImageRefused("cannot use the archive: its index names an index that names an index")
        return self._image(found.choose(platform), platform, depth=depth + 1)


def _path(descriptor: Descriptor) -> str:
    return f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.encoded}"


def _name(entry: Descriptor) -> str | None:
    """Return what the image is called: the first annotation that is a whole name.

    A lone tag ("1.0", "latest") is not a name.
    """
    for text in (entry.annotations.get(FULL_NAME), entry.annotations.get(REFERENCE)):
        if text and (":" in text or "/" in text):
            try:
                return new_name(text, aim=f"load an image as {text}")
            except InvalidSpec:
                continue
    return None
