"""What a container has written: list it (diff), make an image of it (commit).

export() writes it as a tar, with everything below it.

Works from any process, while the container runs; it is frozen meanwhile, so that no
file is half written.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from cellhold import cgroups, helper, image
from cellhold.errors import CellholdError, ImageNotFound, NotAllowed
from cellhold.image import ingest, layer_ingest, layer_making, stored, writing
from cellhold.image.config import History
from cellhold.image.reference import new_name
from cellhold.layer.pack import CHANGES_MOST, Comparison, Packing, compare
from cellhold.spec.digest import Digest
from cellhold.storage import live
from cellhold.store import ids, record, subids

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from cellhold.image.layer_making import MadeLayer
    from cellhold.image.model import Layer
    from cellhold.image.stored import StoredImage
    from cellhold.store.home import Home
    from cellhold.store.record import Record
    from cellhold.store.subids import Ids


class Overlaid(NamedTuple):
    """One overlay of a container.

    target: where it is mounted. upper: what was written there. lowers: the layers
    below, topmost first.
    """

    target: str
    upper: Path
    lowers: tuple[Layer, ...]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a container has written, open for reading.

    overlays: the root's first. ids: the container's, which own the files.
    """

    overlays: tuple[Overlaid, ...]
    ids: Ids


def diff(container: str, home: Home, *, most: int = CHANGES_MOST) -> Comparison:
    """Return what the container has added, changed and deleted, by path.

    most: how many changes to list in each overlay.

    Raises ContainerNotFound, NotSupported.
    """
    known = record.find(container, home.containers)
    with home.used(), written(known, home, pause=False) as found:
        seccomp = layer_ingest.filtered(home)
        compared = [
            (one.target.rstrip("/"), compare(one.upper, one.lowers, ids=found.ids, seccomp=seccomp, most=most)) for one in found.overlays
        ]
    return Comparison(
        changes=tuple(sorted(replace(change, path=at + change.path) for at, one in compared for change in one.changes)),
        unlisted=sum(one.unlisted for _at, one in compared),
        size_bytes=sum(one.size_bytes for _at, one in compared),
    )


def commit(  # noqa: PLR0913  # docker's options
    container: str,
    name: str | None,
    home: Home,
    *,
    author: str | None = None,
    message: str | None = None,
    pause: bool = True,
    owner: str = "",
) -> StoredImage:
    """Make an image of the container's image and of what it has written.

    name: of the image, None = none. pause: freeze the container meanwhile. owner: the
    notebook that the name belongs to, "" = none (reference.new_name).

    The image's config stays as it is: what ran in the container is in the history only.
    Raises ContainerNotFound, ImageNotFound (its image is gone, or it has none),
    NotSupported, InvalidSpec.
    """
    known = _find(container, home)
    names = [] if name is None else [new_name(name, aim=f"commit container {known.name} as {name}", owner=owner)]
    with ingest.making(home):
        base = _base(known, home)
        with written(known, home, pause=pause) as found:
            layer = as_layer(found, home, below=base.config.diff_ids)
        now = datetime.now(UTC)
        entry = History(created=now, created_by=" ".join(known.args), author=author, comment=message)
        config = writing.changed_config(
            base.config,
            diff_ids=(*base.config.diff_ids, layer.diff_id),
            history=[entry],
            created=now,
            on_host=base.on_host,
        )
        home.blobs.put(config.raw)
        made = writing.changed_manifest(base.manifest, writing.config_descriptor(config), [*base.manifest.layers, layer.descriptor])
        ingest.arrive(made, ingest.Nowhere(), home, names=names, on_host=base.on_host)
        return stored.read(made.digest, home, home.names.read())


def export(container: str, to: BinaryIO, home: Home, *, pause: bool = True) -> None:
    """Write the container's whole root file system as a tar.

    Raises ContainerNotFound, NotSupported.
    """
    known = _find(container, home, whole=True)
    with (
        home.used(),
        written(known, home, pause=pause) as found,
        Packing(
            found.overlays[0].upper,
            lowers=found.overlays[0].lowers,
            ids=found.ids,
            compression="none",
            seccomp=layer_ingest.filtered(home),
        ) as packing,
    ):
        to.writelines(packing)


def as_layer(found: Written, home: Home, *, below: Sequence[Digest], mtime_limit_seconds: int | None = None) -> MadeLayer:
    """Make a layer of what was written, on top of those with the diff ids `below`.

    Raises ImageRefused, NotSupported, OSError.
    """
    seccomp = layer_ingest.filtered(home)
    root, *below_it = found.overlays
    more = [(one.target.strip("/"), one.upper) for one in below_it]
    with Packing(root.upper, more=more, ids=found.ids, mtime_limit_seconds=mtime_limit_seconds, seccomp=seccomp) as packing:
        return layer_making.make(packing, home, below=below)


def _find(container: str, home: Home, *, whole: bool = False) -> Record:
    known = record.find(container, home.containers)
    if whole and len(known.overlays) > 1 and known.layers:
        raise NotAllowed(
            f"cannot export container {known.name}: {known.image} is built on this machine's own files (FROM host)",
            hint="cellhold commit makes an image of what it has written, and cellhold layers lists its files",
        )
    if not known.layers:
        raise NotAllowed(
            f"cannot make an image of container {known.name}: it was made from {known.image}, which is not an OCI image",
            hint="cellhold run IMAGE, or %container image=IMAGE, with an image that `cellhold images` lists",
        )
    return known


@contextmanager
def written(known: Record, home: Home, *, pause: bool) -> Iterator[Written]:
    """Yield what a container has written.

    A layer in a file-system image is mounted as long as the container runs, or this
    block does.

    Raises NotSupported, NotAllowed.
    """
    with ExitStack() as closing:
        if pause:
            closing.enter_context(frozen(known))
        storage = home.container(known.id) / "storage"
        lowers = {stack.target: stack.layers for stack in image.stacks_of(known, home)}
        overlays = tuple(
            Overlaid(target, closing.enter_context(live.upper(storage, container=known.name, number=number)), lowers.get(target, ()))
            for number, target in enumerate(known.overlays)
        )
        yield Written(overlays=overlays, ids=_ids(known, home))


@contextmanager
def frozen(known: Record) -> Iterator[None]:
    """Freeze the container's processes for the block.

    Unless they are frozen already, or there is no cgroup that can. They are thawed
    afterwards, also if this process is killed.
    """
    with ExitStack() as closing:
        with suppress(CellholdError):
            if known.state == "running":
                group = cgroups.existing(known.id)
                closing.enter_context(_guarded(known.id))
                closing.callback(group.thaw)
                group.freeze()
        yield


@contextmanager
def _guarded(group: str) -> Iterator[None]:
    """Run a process that thaws the group when this process dies.

    Nobody else would ever thaw it.
    """
    thaw = f"from cellhold import cgroups; cgroups.existing({group!r}).thaw()"
    words = helper.python_code(f"sys.stdin.read(); {thaw}", has_site=False)
    guard = helper.start(words, env={}, is_tied=False, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        guard.kill()
        guard.communicate()


def _ids(known: Record, home: Home) -> Ids:
    if subids.is_rootless():
        return subids.delegation().ids
    base = ids.claimed_by(home.ids, known.id)
    if base is None:
        raise NotAllowed(f"cannot read what container {known.name} has written: it has ended")
    return subids.own(base)


def _base(known: Record, home: Home) -> StoredImage:
    """Return the image that the container is made of, by its id.

    Whatever it is called by now. An earlier version's record has no id: there its
    layers are compared alone; among several, the one with the recorded name wins,
    because other images have the same layers and a different config.
    """
    chains = tuple(reversed(_chains(known)))
    found = [one for one in stored.every(home) if one.chain_ids == chains and known.image_id in ("", str(one.id))]
    if not found:
        raise ImageNotFound(
            f"cannot commit container {known.name}: its image {known.image} is not in the store any more",
            hint=f"cellhold pull {known.image}",
        )
    return next((one for one in found if known.image == str(one.id) or stored.name_as(known.image, one)), found[0])


def _chains(known: Record) -> list[Digest]:
    return [Digest.parse(text) for text in known.layers]
