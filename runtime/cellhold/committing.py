"""What a container has written: told (diff), made an image of (commit), or with all that is below it a tar (export).

From any process, while the container runs; frozen meanwhile, so that no file is half written.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold import cgroups
from cellhold.digest import Digest
from cellhold.errors import CellholdError, ImageNotFound, NotAllowed
from cellhold.image import arrival, layer_arrival, mediatypes, stored, writing
from cellhold.image.config import History
from cellhold.image.descriptor import Descriptor
from cellhold.image.reference import Reference
from cellhold.layer.pack import Packing, changes
from cellhold.storage import live
from cellhold.store import ids, record, subids
from cellhold.store.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from cellhold.image.stored import StoredImage
    from cellhold.layer.pack import Change, Packed
    from cellhold.store.home import Home
    from cellhold.store.record import Record
    from cellhold.store.subids import Ids

_PACKAGE_PARENT = str(Path(__file__).parents[1])


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a container has written, to be read now: its upper directory, the layers below it, topmost first, and whose files they are."""

    upper: Path
    lowers: tuple[Path, ...]
    ids: Ids


def diff(container: str, home: Home) -> list[Change]:
    """What the container has added, changed and deleted, by path. Raises ContainerNotFound, NotSupported."""
    known = _found(container, home)
    with home.used(), _written(known, home, pause=False) as written:
        return sorted(changes(written.upper, written.lowers, ids=written.ids, seccomp=layer_arrival.filtered(home)))


def commit(  # noqa: PLR0913  # docker's options
    container: str, name: str | None, home: Home, *, author: str | None = None, message: str | None = None, pause: bool = True
) -> StoredImage:
    """Make an image of the container's image and what it has written, and call it `name`. pause: freeze it meanwhile.

    The image's config stays as it is: what ran in the container is in the history only.
    Raises ContainerNotFound, ImageNotFound (its image is gone, or is none), NotSupported, InvalidSpec.
    """
    known = _found(container, home)
    names = [] if name is None else [str(Reference.parse(name))]
    with arrival.making(home):
        base = _base(known, home)
        with _written(known, home, pause=pause) as written:
            packed = _packed(written, home)
        now = datetime.now(UTC)
        entry = History(created=now, created_by=" ".join(known.args), author=author, comment=message)
        config = writing.changed_config(base.config, diff_ids=(*base.config.diff_ids, packed.diff_id), history=[entry], created=now)
        home.blobs.put(config.raw)
        layer = Descriptor(media_type=mediatypes.LAYER_GZIP, digest=packed.digest, size_bytes=packed.compressed_bytes)
        made = writing.changed_manifest(base.manifest, writing.config_descriptor(config), [*base.manifest.layers, layer])
        arrival.arrive(made, arrival.Nowhere(), home, names=names)
        return stored.read(made.digest, home, home.names.read())


def export(container: str, to: BinaryIO, home: Home, *, pause: bool = True) -> None:
    """Write the container's whole root file system as a tar. Raises ContainerNotFound, NotSupported."""
    known = _found(container, home)
    with (
        home.used(),
        _written(known, home, pause=pause) as written,
        Packing(written.upper, lowers=written.lowers, ids=written.ids, compression="none", seccomp=layer_arrival.filtered(home)) as packing,
    ):
        to.writelines(packing)


def _packed(written: Written, home: Home) -> Packed:
    """What was written as a layer of an image, kept as a blob."""
    with scratch(home.root) as place, Packing(written.upper, ids=written.ids, seccomp=layer_arrival.filtered(home)) as packing:
        with (place / "layer").open("xb") as file:
            for chunk in packing:
                file.write(chunk)
        assert packing.packed is not None  # noqa: S101  # for mypy: it was read to its end
        home.blobs.adopt(place / "layer", packing.packed.digest)
        return packing.packed


def _found(container: str, home: Home) -> Record:
    known = record.find(container, home.containers)
    if not known.layers:
        raise NotAllowed(
            f"cannot look at what container {known.name} has written: it is of {known.image}, which is no OCI image",
            hint="cellhold run IMAGE, or %container image=IMAGE, with an image that `cellhold images` lists",
        )
    return known


@contextmanager
def _written(known: Record, home: Home, *, pause: bool) -> Iterator[Written]:
    with ExitStack() as closing:
        if pause:
            closing.enter_context(frozen(known))
        upper = closing.enter_context(live.upper(home.container(known.id) / "storage", container=known.name))
        lowers = tuple(home.layers.tree(chain) for chain in _chains(known))
        yield Written(upper=upper, lowers=lowers, ids=_ids(known, home))


@contextmanager
def frozen(known: Record) -> Iterator[None]:
    """Stop its processes, unless they are stopped already, or no cgroup can. They go on in the end, also when this process is killed."""
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
    """A process that lets the group go on when this one dies: nobody else would ever thaw it."""
    thaw = f"from cellhold import cgroups; cgroups.existing({group!r}).thaw()"
    code = f"import sys; sys.path.append({_PACKAGE_PARENT!r}); sys.stdin.read(); {thaw}"
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, start_new_session=True
    )
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
        raise NotAllowed(f"cannot look at what container {known.name} has written: it has ended")
    return subids.own(base)


def _base(known: Record, home: Home) -> StoredImage:
    """The image that it is made of: by its layers, since the name may be another one's by now."""
    chains = tuple(reversed(_chains(known)))
    found = [image for image in stored.every(home) if image.chain_ids == chains]
    if not found:
        raise ImageNotFound(
            f"cannot commit container {known.name}: its image {known.image} is not here any more", hint=f"cellhold pull {known.image}"
        )
    return next((image for image in found if stored.name_as(known.image, image)), found[0])


def _chains(known: Record) -> list[Digest]:
    return [Digest.parse(text) for text in known.layers]
