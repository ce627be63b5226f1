"""load(): read the images of an archive into the store.

A tar is unpacked like a layer, in a confined process, into a scratch directory; from
then on a tar and a directory are treated alike.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, ImageNotFound, ImageRefused
from cellhold.image import ingest, layer_ingest, stored
from cellhold.image.archive import docker_save, layout
from cellhold.image.archive.docker_save import DockerSave
from cellhold.image.archive.folder import Folder
from cellhold.image.archive.layout import Layout
from cellhold.image.platform import Platform
from cellhold.image.progress import nobody
from cellhold.layer.bounds import Bounds
from cellhold.layer.unpack import Unpacking
from cellhold.store.home import open_home
from cellhold.store.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from cellhold.image.ingest import Source
    from cellhold.image.manifest import Manifest
    from cellhold.image.progress import Tell
    from cellhold.image.stored import StoredImage
    from cellhold.store.home import Home

_CHUNK_BYTES = 1 << 20


def load(source: Path | BinaryIO, *, home: Home | None = None, tell: Tell = nobody, bounds: Bounds | None = None) -> list[StoredImage]:
    """Load the images of an archive: a tar (path or stream) or a directory.

    A tar may be compressed. The names in the archive move to its images.
    Raises ImageNotFound (no such file), ImageRefused, SetupFailed (a full disk); then
    the store is as it was.
    """
    home, bounds = home or open_home(), bounds or Bounds()
    with ingest.making(home), ExitStack() as closing:
        folder = closing.enter_context(Folder(_directory(source, home, bounds, closing)))
        loaded = []
        for found, names, where in _images(folder):
            ingest.arrive(found, where, home, names=names, tell=tell, bounds=bounds)
            loaded.append(found.digest)
        if not loaded:
            raise ImageRefused("cannot load the archive: it holds no image", hint="its table of images is empty: save it again")
        table = home.names.read()
        return [stored.read(digest, home, table) for digest in loaded]


def _directory(source: Path | BinaryIO, home: Home, bounds: Bounds, closing: ExitStack) -> Path:
    if not isinstance(source, Path):
        return _unpacked(source, home, bounds, closing)
    if source.is_dir():
        return source
    try:
        file = closing.enter_context(source.open("rb"))
    except OSError as error:
        raise ImageNotFound(f"cannot load {source}: {os.strerror(error.errno or 0)}") from error
    return _unpacked(file, home, bounds, closing)


def _unpacked(file: BinaryIO, home: Home, bounds: Bounds, closing: ExitStack) -> Path:
    place = closing.enter_context(scratch(home.root)) / "archive"
    place.mkdir()
    with Unpacking(place, bounds=bounds, seccomp=layer_ingest.filtered(home)) as unpacking:
        while chunk := file.read(_CHUNK_BYTES):
            unpacking.feed(chunk)
        unpacking.finish()
    return place


def _images(folder: Folder) -> Iterator[tuple[Manifest, tuple[str, ...], Source]]:
    """Yield each image, its names, and where its blobs are.

    A layout says more than docker's table, if there are both.
    """
    if folder.has(layout.INDEX):
        oci = Layout(folder)
        for found, name in oci.images(Platform.host()):
            yield found, (name,) if name else (), oci
    elif folder.has(docker_save.TABLE):
        docker = DockerSave(folder)
        for found, names in docker.images():
            yield found, names, docker
    else:
        raise CellholdError(
            f"cannot load the archive: it has neither {layout.INDEX} nor {docker_save.TABLE}",
            hint="a tar of a root file system is not an image: cellhold import FILE NAME makes one of it",
        )
