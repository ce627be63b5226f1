"""The names of images: tag, remove, prune.

An image whose last name goes stays if it was moved away, and goes if it was removed
(docker). What was derived from an image (store/names.py) has no name, goes with the
image that it was derived from, and is not a dangling image as long as that is there.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, Damaged, ImageNotFound, NotAllowed
from cellhold.image import stored
from cellhold.image.reference import new_name
from cellhold.spec.digest import Digest
from cellhold.store import garbage, record
from cellhold.store.garbage import Referred

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cellhold.image.stored import StoredImage
    from cellhold.store.garbage import Freed
    from cellhold.store.home import Home
    from cellhold.store.names import Table


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What a removal has done.

    untagged: names that are gone.
    deleted: images that are gone.
    freed: None while other processes use the store; the space is freed later.
    """

    untagged: tuple[str, ...]
    deleted: tuple[Digest, ...]
    freed: Freed | None


def tag(source: str, name: str, home: Home) -> None:
    """Call an image `name` too; another one that had the name loses it.

    Raises ImageNotFound, InvalidSpec.
    """
    wanted = new_name(name, aim=f"tag {source} as {name}")
    with home.written(), home.used():  # so that it is not collected between the two lines
        found = stored.find(source, home)
        with home.names.changed() as table:
            table.images.setdefault(found.digest, found.entry)
            table.names[wanted] = found.digest


def remove(text: str, home: Home, *, force: bool = False) -> Removed:
    """Remove a name, and the image with its last one.

    An id, or a name with a digest, means the image with its one name.
    force: remove all names of an image by its id, an image that a container has (which
        keeps its layers until it ends), and a damaged one.
    Raises ImageNotFound, NotAllowed, Damaged.
    """
    try:
        found = stored.find(text, home)
    except Damaged:
        if not force:
            raise
        return _remove_damaged(text, home)
    names = _names_to_take(text, found, force=force)
    goes = len(names) == len(found.names) and not (names and found.base)  # what is derived needs no name to stay
    users = _users(found, home)
    if goes and users and not force:
        raise NotAllowed(
            f"cannot remove image {text}: container {users[0]} is made of it", hint="remove the container first, or --force for the name"
        )
    gone = _take([found] if goes else [], names, home)
    return Removed(untagged=names, deleted=gone, freed=collect(home))


def _remove_damaged(text: str, home: Home) -> Removed:
    """Remove an image of which only the digest and the names are known."""
    with home.written(), home.names.changed() as table:
        digest = stored.digest_of(text, home, table)
        if digest is None:
            raise ImageNotFound(f"cannot remove image {text}: it is not here any more")
        every = table.names_of(digest)
        names = tuple(name for name in every if name == stored.full_name(text)) or tuple(every)
        for name in names:
            del table.names[name]
        gone = () if len(names) < len(every) else (digest,)
        for one in gone:
            table.forget(one)
    return Removed(untagged=names, deleted=gone, freed=collect(home))


def prune(home: Home, *, everything: bool = False) -> Removed:
    """Remove the images without a name.

    everything: those with a name too. Images that containers are made of stay, for
        `commit`.
    """
    used = garbage.in_containers(home)
    everything = everything and not record.unreadable(home.containers)  # a damaged one may be made of any
    going = [
        image
        for image in stored.every(home)
        if not used.intersection(image.chain_ids[-1:]) and (everything or not (image.names or image.base))
    ]
    untagged = tuple(name for image in going for name in image.names)
    return Removed(untagged=untagged, deleted=_take(going, untagged, home), freed=collect(home))


def _take(going: Sequence[StoredImage], names: Iterable[str], home: Home) -> tuple[Digest, ...]:
    """Remove names, and the images that have none then; return the images' ids.

    Another process may have given an image a name a moment ago.
    """
    with home.written(), home.names.changed() as table:
        for name in names:
            table.names.pop(name, None)
        gone = [image for image in going if not table.names_of(image.digest)]
        gone += _derived_from(gone, table, home)
        for image in gone:
            table.forget(image.digest)
    return tuple(dict.fromkeys(image.id for image in gone))


def _derived_from(gone: Sequence[StoredImage], table: Table, home: Home) -> list[StoredImage]:
    """Return the images that were derived from these.

    Those with a name, or with a container made of them, are left out.
    """
    used = garbage.in_containers(home)
    found = []
    for digest in (digest for image in gone for digest in table.derived_from(image.digest)):
        with suppress(Damaged):  # which stays
            found.append(stored.read(digest, home, table))
    return [image for image in found if not image.names and not used.intersection(image.chain_ids[-1:])]


def forget_builds(home: Home) -> Freed | None:
    """Empty the build cache. Raises SetupFailed if the store cannot be written to."""
    with home.written():
        home.builds.clear()
    return collect(home)


def collect(home: Home) -> Freed | None:
    """Remove what no image, no container and no step of a build refers to.

    Raises SetupFailed if the store cannot be written to.
    """
    with home.written():
        return garbage.collect(home, lambda: _referred(home))


def hindrance(home: Home) -> str:
    """Return why nothing was collected, in a sentence."""
    return garbage.hindrance(home, _unreadable(home))


def _unreadable(home: Home) -> list[CellholdError]:
    """Return why it is not known what all images and build steps refer to.

    The steps of builds are those that have made layers.
    """
    found = [one.error for one in stored.unreadable(home)]
    for chain in by_builds(home).layers:
        try:
            home.layers.facts(chain)
        except CellholdError as error:
            found.append(error)
    return found


def _referred(home: Home) -> Referred | None:
    if _unreadable(home):
        return None
    images, builds = by_images(stored.every(home)), by_builds(home)
    return Referred(blobs=images.blobs | builds.blobs, layers=images.layers | builds.layers)


def by_images(images: Iterable[StoredImage]) -> Referred:
    """Return what images refer to."""
    images = list(images)
    blobs = {
        digest
        for image in images
        for digest in (image.digest, image.manifest.config.digest, *(layer.digest for layer in image.manifest.layers))
    }
    return Referred(blobs=frozenset(blobs), layers=frozenset(chain for image in images for chain in image.chain_ids))


def by_builds(home: Home) -> Referred:
    """Return what the readable steps of builds refer to."""
    blobs: set[Digest] = set()
    layers: set[Digest] = set()
    for taken in home.builds.all():
        if taken.digest is not None:
            blobs.add(taken.digest)
        _add_with_those_below(taken.chain_id, layers, home)
    return Referred(blobs=frozenset(blobs), layers=frozenset(layers))


def _add_with_those_below(chain: Digest | None, found: set[Digest], home: Home) -> None:
    """Add a layer and those below it, down to one that is there.

    A build has a chain as long as it has steps.
    """
    while chain is not None and chain not in found and home.layers.has(chain):
        found.add(chain)
        try:
            parent = home.layers.facts(chain).parent
        except CellholdError:  # a damaged one
            break
        chain = Digest.parse(parent) if parent else None


def _names_to_take(text: str, found: StoredImage, *, force: bool) -> tuple[str, ...]:
    if name := stored.name_as(text, found):
        return (name,)
    if len(found.names) > 1 and not force:
        raise NotAllowed(
            f"cannot remove image {text}: it has {len(found.names)} names ({', '.join(found.names)})", hint="name one, or --force for all"
        )
    return found.names


def _users(found: StoredImage, home: Home) -> list[str]:
    if not found.chain_ids:
        return []
    top = str(found.chain_ids[-1])
    return [container.name for container in record.list_readable(home.containers) if top in container.layers[:1]]
