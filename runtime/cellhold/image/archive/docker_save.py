"""The archive that `docker save` wrote before it wrote OCI layouts.

manifest.json names the files of the config and of the layers of each image. The files'
digests are not recorded, so they are hashed here, once. There is no manifest of the
image either: one is made, by the same rules every time, so that the same archive has
the same digest wherever it is loaded.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cellhold.errors import ImageRefused, InvalidSpec
from cellhold.image import config, fields, mediatypes, writing
from cellhold.image.archive.layout import MOST_IMAGES
from cellhold.image.descriptor import Descriptor
from cellhold.image.fields import quote
from cellhold.image.manifest import MOST_LAYERS
from cellhold.image.reference import new_name
from cellhold.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.image.archive.folder import Folder
    from cellhold.image.fields import Field
    from cellhold.image.manifest import Manifest

TABLE = "manifest.json"
_MOST_BYTES = 8 << 20
_MAGICS = ((b"\x1f\x8b", mediatypes.LAYER_GZIP), (b"\x28\xb5\x2f\xfd", mediatypes.LAYER_ZSTD))


class DockerSave:
    """Such an archive in a folder, as a source of blobs."""

    def __init__(self, folder: Folder) -> None:
        """Read from `folder`, which stays the caller's to close."""
        self._folder = folder
        self._files: dict[Digest, str] = {}
        self._layers: dict[str, Descriptor] = {}  # by file: many images may have one, and it is read once

    def images(self) -> Iterator[tuple[Manifest, tuple[str, ...]]]:
        """Yield the images, with their names. Raises ImageRefused."""
        table = fields.read(b'{"images": ' + self._folder.read(TABLE, _MOST_BYTES) + b"}", TABLE, most_bytes=_MOST_BYTES)
        table["images"].check_count(MOST_IMAGES)
        for entry in table["images"].items():
            entry["Layers"].check_count(MOST_LAYERS)
            name = entry["Config"].text()
            raw = self._folder.read(name, config.MOST_BYTES)
            files = entry["Layers"].texts()
            found = config.parse(raw, layers=len(files))
            self._files[found.digest] = name
            layers = [self._layer(file) for file in files]
            yield writing.new_manifest(writing.config_descriptor(found), layers), tuple(_names(entry))

    def blob(self, descriptor: Descriptor, *, start_byte: int = 0) -> Iterator[bytes]:
        """Return a blob in pieces."""
        return self._folder.chunks(self._files[descriptor.digest], start_byte)

    def stop(self) -> None:
        """Do nothing: reading a file on disk never blocks for long."""

    def _layer(self, name: str) -> Descriptor:
        if name not in self._layers:
            self._layers[name] = self._described(name)
        return self._layers[name]

    def _described(self, name: str) -> Descriptor:
        check, size, head = hashlib.sha256(), 0, b""
        for chunk in self._folder.chunks(name):
            check.update(chunk)
            size += len(chunk)
            head = head or chunk[:4]
        digest = Digest("sha256", check.hexdigest())
        self._files[digest] = name
        media_type = next((kind for magic, kind in _MAGICS if head.startswith(magic)), mediatypes.LAYER)
        return Descriptor(media_type=media_type, digest=digest, size_bytes=size)


def _names(entry: Field) -> Iterator[str]:
    for text in entry["RepoTags"].texts():
        try:
            yield new_name(text, aim=f"load an image as {text}")
        except InvalidSpec as error:
            raise ImageRefused(f"cannot use the archive: {quote(text)} is not an image name", hint=str(error)) from error
