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
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from cellhold.image.model import Image, Stack
    from cellhold.spec.spec import Spec
    from cellhold.store.home import Home
    from cellhold.store.record import Record


def is_oci(name: str) -> bool:
    """Whether `name` means an OCI image."""
    return name != "host" and not name.startswith(("/", "."))


def is_here(name: str) -> bool:
    """Whether `name` needs no pull: all that is no OCI image's name, and the images in the store. Raises InvalidSpec, NotSupported."""
    if not is_oci(name):
        return True
    from cellhold.image import stored  # noqa: PLC0415  # as below

    return stored.has(name, open_home())


def find(name: str, home: Home) -> Image:
    """The image called `name`: "host", the path of a directory (it starts with / or .), or what an OCI image in the store is called.

    Raises ImageNotFound, InvalidSpec.
    """
    if name == "host":
        return host.image(home)
    if name.startswith(("/", ".")):
        return directory.image(name)
    from cellhold.image import stored  # noqa: PLC0415  # JSON, dates and references take as long to load as the host image to start

    return stored.prepared(stored.find(name, home), home, name=name)


def of(spec: Spec, home: Home) -> Image:
    """The image of a spec: the directory that it carries, or what find() finds by the name. Raises what find() does."""
    return find(spec.image, home) if spec.rootfs is None else directory.image(spec.image, spec.rootfs)


def stacks_of(known: Record, home: Home) -> tuple[Stack, ...]:
    """The layers that a container was made of: those in the store by their names, or what a directory or this machine has now.

    Raises ImageNotFound.
    """
    if not known.layers:
        found = find(known.image, home)
        if known.rootfs:
            directory.check(found, tuple(known.rootfs), container=known.name)
        return found.stacks
    from cellhold.image import stored  # noqa: PLC0415
    from cellhold.spec.digest import Digest  # noqa: PLC0415  # as above

    return stored.stacks(tuple(home.layers.tree(Digest.parse(text)) for text in known.layers), home, on_host=len(known.overlays) > 1)
