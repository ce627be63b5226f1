"""The images of the store: found by name, read, and prepared for a container."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, Damaged, ImageNotFound, ImageRefused, InvalidSpec, NotAllowed
from cellhold.image import config, host, layer_queries, manifest
from cellhold.image.model import DEFAULT_PATH, Image, Stack
from cellhold.image.reference import Reference
from cellhold.spec.spec import Health
from cellhold.spec.units import parse_signal
from cellhold.store.names import Entry
from cellhold.store.table import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellhold.image.config import Config, Healthcheck
    from cellhold.image.manifest import Manifest
    from cellhold.spec.digest import Digest
    from cellhold.store.home import Home
    from cellhold.store.names import Table

_ID = re.compile(r"(sha256:|sha512:)?([0-9a-f]{4,128})")
_SHORT_ID = 12  # as it is printed: so many digits or more are never a name (reference.new_name)


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """A complete image in the store.

    names: in full, sorted.
    came_as: NAME@DIGEST, as registries called it.
    arrived: seconds since the epoch.
    base: what it was derived from here, if that is here (store/names.py).
    """

    digest: Digest
    names: tuple[str, ...]
    came_as: tuple[str, ...]
    arrived: float
    on_host: bool = False
    base: Digest | None = None
    manifest: Manifest = field(repr=False)
    config: Config = field(repr=False)

    @property
    def entry(self) -> Entry:
        """What the table of images says of it."""
        return Entry(
            media_type=self.manifest.media_type,
            size_bytes=len(self.manifest.raw),
            created=self.arrived,
            came_as=list(self.came_as),
            on_host=self.on_host,
        )

    @property
    def id(self) -> Digest:
        """What docker calls the image's id: the digest of its config."""
        return self.manifest.config.digest

    @cached_property
    def chain_ids(self) -> tuple[Digest, ...]:
        """Of its layers, lowest first."""
        return config.chain_ids(self.config.diff_ids)

    @property
    def name(self) -> str:
        """One of its names, short, as docker prints it; else its id."""
        return Reference.parse(self.names[0]).familiar() if self.names else str(self.id)


def find(text: str, home: Home) -> StoredImage:
    """Return the image called `text`.

    text: a name, a name with a digest, an id or the beginning of one. What reads as an
        id means that image, whatever others are called.
    Raises ImageNotFound, InvalidSpec.
    """
    table = home.names.read()
    digest = digest_of(text, home, table)
    if digest is None:
        raise ImageNotFound(f"cannot use image={text}: it is not here", hint=f"cellhold pull {text}; cellhold images lists the store")
    return read(digest, home, table)


def has(text: str, home: Home) -> bool:
    """Return whether find() would find it. Raises InvalidSpec."""
    return digest_of(text, home, home.names.read()) is not None


def digest_of(text: str, home: Home, table: Table) -> Digest | None:
    """Return the digest of the manifest of the image called `text`.

    None if it is not here. Raises InvalidSpec, ImageNotFound if it may mean several.
    """
    match = _ID.fullmatch(text)
    numbered = _numbered(text, home, table) if match else None
    if match and (match[1] or len(match[2]) >= _SHORT_ID):
        return numbered
    named = _named(text, table)
    if named and numbered and named != numbered:
        raise ImageNotFound(
            f"cannot use image={text}: one image is called so, and the id of another begins so",
            hint=f"write {text}:latest for the one, more of the id for the other",
        )
    return named or numbered


def derived(key: str, home: Home) -> StoredImage | None:
    """Return the image that was derived from another one here; None if missing.

    It is found by the hash of all that it was made of.
    """
    table = home.names.read()
    known = table.derived.get(key)
    return None if known is None else read(known.image, home, table)


def every(home: Home) -> list[StoredImage]:
    """Return all images that can be read, the newest first."""
    return [one for one in _all(home) if isinstance(one, StoredImage)]


def unreadable(home: Home) -> list[Unreadable]:
    """Return the other images, by the digests of their manifests.

    They stay as they are until they are removed by force.
    """
    return [one for one in _all(home) if isinstance(one, Unreadable)]


def _all(home: Home) -> Iterator[StoredImage | Unreadable]:
    table = home.names.read()
    for digest in sorted(table.images, key=lambda digest: table.images[digest].created, reverse=True):
        try:
            yield read(digest, home, table)
        except Damaged as error:
            yield Unreadable(name=str(digest), place=home.blobs.path(digest), error=error)


def read(digest: Digest, home: Home, table: Table) -> StoredImage:
    """Return the image of that manifest.

    Raises Damaged if its manifest or its config is gone, or has other content.
    """
    try:
        return _read(digest, home, table)
    except (Damaged, ImageNotFound, ImageRefused) as error:
        called = next((Reference.parse(name).familiar() for name in table.names_of(digest)), str(digest))
        raise Damaged(
            f"cannot read image {called}: {error}", hint="pull or load it again; or cellhold rmi --force, which removes it"
        ) from error


def _read(digest: Digest, home: Home, table: Table) -> StoredImage:
    entry = table.images[digest]
    found = manifest.parse(home.blobs.read(digest), entry.media_type)
    if not isinstance(found, manifest.Manifest):
        raise ImageRefused(f"cannot use {digest}: it is an index, not an image")
    return StoredImage(
        digest=digest,
        names=tuple(table.names_of(digest)),
        came_as=tuple(entry.came_as),
        arrived=entry.created,
        on_host=entry.on_host,
        base=table.base_of(digest),
        manifest=found,
        config=config.parse(home.blobs.read(found.config.digest), layers=len(found.layers)),
    )


def name_as(text: str, image: StoredImage) -> str | None:
    """Return the full name of the image that `text` means.

    None if `text` means the image by its id or digest.
    """
    name = full_name(text)
    return name if name in image.names else None


def full_name(text: str) -> str | None:
    """Return a name as the table has it; None if it is not a valid name."""
    try:
        return str(Reference.parse(text))
    except InvalidSpec:
        return None


def check_whole(image: StoredImage, text: str) -> None:
    """Raise NotAllowed for an image that is nothing without this machine's own files."""
    if image.on_host:
        raise NotAllowed(
            f"cannot send image {text} anywhere: it is built on this machine's own files (FROM host)", hint="build it FROM an OCI image"
        )


def prepared(stored: StoredImage, home: Home, *, name: str) -> Image:
    """Return the image as a container sees it: nothing is copied or unpacked.

    Raises ImageNotFound for a layer that is gone.
    """
    volumes = tuple(path for path in stored.config.volumes if path.startswith("/") and path.strip("/."))
    if len(volumes) > config.MOST_VOLUMES:
        raise ImageRefused(
            f"cannot use image={name}: it has {len(volumes)} volumes, and a container has {config.MOST_VOLUMES} of an image's at most",
            hint="they are what VOLUME in its Dockerfile names",
        )
    topmost_first = stored.chain_ids[::-1]
    for chain_id in topmost_first:
        home.layers.facts(chain_id)
    return Image(
        name=name,
        stacks=stacks(tuple(map(home.layers.tree, topmost_first)), home, on_host=stored.on_host),
        env=MappingProxyType({"PATH": DEFAULT_PATH} | dict(_variable(text) for text in stored.config.env)),
        cwd=_directory(stored.config.working_dir),
        entrypoint=stored.config.entrypoint or (),
        args=stored.config.cmd or (),
        user=stored.config.user,
        volumes=volumes,
        stop_signal=_signal(stored.config.stop_signal),
        labels=stored.config.labels,
        health=_health(stored.config.healthcheck),
        chain_ids=topmost_first,
        id=stored.id,
    )


def stacks(trees: tuple[Path, ...], home: Home, *, on_host: bool) -> tuple[Stack, ...]:
    """Return the layers, topmost first, as the overlays of a container.

    on_host: on top of this machine's own files.
    """
    if not on_host:
        return (Stack(target="/", layers=trees),)
    return tuple(Stack(target=below.target, layers=(*_parts(trees, below.target), *below.layers)) for below in host.image(home).stacks)


def _parts(trees: tuple[Path, ...], target: str) -> Iterator[Path]:
    """Yield the directories of the layers at a path.

    There is no link on the way, which a container could have put there.
    """
    names = [os.fsencode(name) for name in target.strip("/").split("/") if name]
    for tree in trees:
        if layer_queries.spot((tree,), b"/".join(names)) == (names, [], True):
            yield tree / target.strip("/")


def _named(text: str, table: Table) -> Digest | None:
    """Find an image by a name, or by a digest of a repository.

    A digest that the repository is not known to have had is not found by its name.
    """
    wanted = Reference.parse(text)
    if wanted.digest is None:
        return table.names.get(str(wanted))
    repository = f"{wanted.registry}/{wanted.repository}"
    full = f"{repository}@{wanted.digest}"
    for digest, entry in table.images.items():
        if full in entry.came_as:
            return digest
        if digest == wanted.digest and any(name.rpartition(":")[0] == repository for name in table.names_of(digest)):
            return digest
    return None


def _numbered(text: str, home: Home, table: Table) -> Digest | None:
    """Find an image by an id or the digest of a manifest, or a prefix of one.

    Raises ImageNotFound if several match.
    """
    found: dict[Digest, Digest] = {}  # by id: what several manifests have in common is one image
    for digest in table.images:
        id_ = digest  # of a damaged one, which has no other
        with suppress(CellholdError):
            id_ = read(digest, home, table).id
        if any(word.startswith(text) for known in (id_, digest) for word in (known.encoded, str(known))):
            found.setdefault(id_, digest)
    if len(found) > 1:
        raise ImageNotFound(f"cannot use image={text}: {len(found)} images have ids that begin so", hint="write more of the id")
    return next(iter(found.values()), None)


def _variable(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _signal(text: str | None) -> int | None:
    """Return the image's stop signal; an invalid one is ignored."""
    try:
        return None if text is None else parse_signal(text)
    except InvalidSpec:
        return None


def _health(check: Healthcheck | None) -> Health | None:
    """Return the image's healthcheck; Docker's defaults fill the gaps."""
    if check is None or not check.test:
        return None
    kind, *words = check.test
    given = {
        "interval_seconds": check.interval_seconds,
        "timeout_seconds": check.timeout_seconds,
        "start_seconds": check.start_period_seconds,
        "retries": check.retries or None,
    }
    args = {"CMD": tuple(words), "CMD-SHELL": ("/bin/sh", "-c", *words[:1])}.get(kind, ())
    return Health(args=args, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # by name


def _directory(path: str) -> str:
    """Return the working directory, from the root on.

    The image may say it without the leading slash.
    """
    return "/" + path.lstrip("/")
