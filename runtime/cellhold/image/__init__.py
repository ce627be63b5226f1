"""Images: what a container starts from. `find()` is the one door to all kinds.

host.py directory.py    this machine's own files; a directory
stored.py               OCI images in the store; tags.py: their names
pulling.py pushing.py   to and from registries (registry/)
ingest.py              how an image comes into the store, from wherever
reference.py descriptor.py manifest.py config.py platform.py    OCI's words, as values
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.image import directory, host
from cellhold.spec.image_names import is_oci
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from cellhold.image.model import Image, Stack
    from cellhold.spec.spec import Spec
    from cellhold.store.home import Home
    from cellhold.store.record import Record


def is_here(name: str) -> bool:
    """Return whether `name` needs no pull.

    True of everything that is not an OCI image's name, and of the images in the store.
    Raises InvalidSpec, NotSupported.
    """
    if not is_oci(name):
        return True
    from cellhold.image import stored  # noqa: PLC0415  # as below

    return stored.has(name, open_home())


def find(name: str, home: Home) -> Image:
    """Return the image called `name`.

    name: "host", the path of a directory (it starts with / or .), or any name of an OCI
        image in the store.
    Raises ImageNotFound, InvalidSpec.
    """
    if name == "host":
        return host.image(home)
    if name.startswith(("/", ".")):
        return directory.image(name)
    from cellhold.image import stored  # noqa: PLC0415  # JSON, dates and references take as long to load as the host image to start

    return stored.prepared(stored.find(name, home), home, name=name)


def for_spec(spec: Spec, home: Home) -> Image:
    """Return the image of a spec.

    It is the directory that the spec carries, or what find() returns for the name.
    Raises what find() does.
    """
    return find(spec.image, home) if spec.rootfs is None else directory.image(spec.image, spec.rootfs)


def stacks_of(record: Record, home: Home) -> tuple[Stack, ...]:
    """Return the layers that a container was made of.

    They are those in the store by their names, or what a directory or this machine has
    now.
    Raises ImageNotFound.
    """
    if not record.layers:
        found = find(record.image, home)
        if record.rootfs:
            directory.check(found, tuple(record.rootfs), container=record.name)
        return found.stacks
    from cellhold.image import stored  # noqa: PLC0415
    from cellhold.spec.digest import Digest  # noqa: PLC0415  # as above

    return stored.stacks(tuple(home.layers.tree(Digest.parse(text)) for text in record.layers), home, on_host=len(record.overlays) > 1)
