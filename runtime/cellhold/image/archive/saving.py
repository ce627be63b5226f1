"""save(): write images of the store as an OCI layout, a directory or a tar.

The tar is docker's archive as well, so that every tool can load it.

index.json, oci-layout, blobs/     for skopeo oci:, podman, containerd, docker since 25,
                                   umoci
manifest.json                      for older dockers, skopeo docker-archive:
"""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, cast

from cellhold.image import fields, mediatypes, stored
from cellhold.image.archive import docker_save, layout
from cellhold.image.descriptor import Descriptor
from cellhold.image.reference import Reference
from cellhold.store import delete

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from cellhold.image.stored import StoredImage
    from cellhold.spec.digest import Digest
    from cellhold.store.home import Home


def save(images: Sequence[tuple[StoredImage, str | None]], to: BinaryIO, *, home: Home) -> None:
    """Write a tar of the images to a stream.

    Each image is saved under one name, or under all that it has (None). The same images
    make the same bytes.
    """
    sink = _Sink(to)
    with tarfile.open(fileobj=cast("BinaryIO", sink), mode="w|", format=tarfile.PAX_FORMAT) as archive, sink:

        def put(name: str, content: BinaryIO, size: int) -> None:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = size, 0o644
            archive.addfile(entry, content)

        _write(images, put, home)


class _Sink:
    """The stream that a tar is written to, which drops everything after an error.

    tarfile goes on writing when it is closed.
    """

    def __init__(self, to: BinaryIO) -> None:
        self._to: BinaryIO | None = to

    def write(self, data: bytes) -> int:
        return self._to.write(data) if self._to is not None else len(data)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, *_error: object) -> None:
        if kind is not None:
            self._to = None


def save_layout(images: Sequence[tuple[StoredImage, str | None]], directory: Path, *, home: Home) -> None:
    """Write an OCI layout to a directory, which is made.

    It is removed again if not all of it can be written. Raises FileExistsError if
    `directory` exists.
    """
    directory.mkdir()
    try:
        _write_layout(images, directory, home)
    except BaseException:
        delete.remove(directory)
        raise


def _write_layout(images: Sequence[tuple[StoredImage, str | None]], directory: Path, home: Home) -> None:

    def put(name: str, content: BinaryIO, size: int) -> None:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        with (directory / name).open("wb") as file:
            while size and (chunk := content.read(1 << 20)):
                size -= file.write(chunk)

    _write(images, put, home)


def _write(images: Sequence[tuple[StoredImage, str | None]], put: Callable[[str, BinaryIO, int], None], home: Home) -> None:
    for image, name in images:
        stored.check_whole(image, name or image.name)
    for digest in dict.fromkeys(digest for image, _name in images for digest in _blobs(image)):
        with home.blobs.open(digest) as file:
            put(_path(digest), file, home.blobs.size(digest))
    for name, data in (
        (layout.MARK, layout.MARK_TEXT),
        (layout.INDEX, _index(images)),
        (docker_save.TABLE, _table(images)),
    ):
        put(name, io.BytesIO(data), len(data))


def _blobs(image: StoredImage) -> Iterator[Digest]:
    yield from (image.digest, image.id, *(layer.digest for layer in image.manifest.layers))


def _path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def _names(image: StoredImage, name: str | None) -> tuple[str, ...]:
    return image.names if name is None else (name,)


def _index(images: Sequence[tuple[StoredImage, str | None]]) -> bytes:
    entries = []
    for image, wanted in images:
        for name in _names(image, wanted) or (None,):
            tag = Reference.parse(name).tag if name else None
            annotations = {layout.FULL_NAME: name, layout.REFERENCE: tag} if name and tag else {}
            entry = Descriptor(
                media_type=image.manifest.media_type, digest=image.digest, size_bytes=len(image.manifest.raw), annotations=annotations
            )
            entries.append(entry.json())
    return fields.canonical({"schemaVersion": 2, "mediaType": mediatypes.INDEX, "manifests": entries})


def _table(images: Sequence[tuple[StoredImage, str | None]]) -> bytes:
    return fields.canonical(
        [
            {
                "Config": _path(image.id),
                "RepoTags": [Reference.parse(name).familiar() for name in _names(image, wanted)],
                "Layers": [_path(layer.digest) for layer in image.manifest.layers],
            }
            for image, wanted in images
        ]
    )
