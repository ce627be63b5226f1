"""Unpacked layers, each stored once however many images and containers use it.

layers/
    CHAIN/              the hexadecimal digits of the chain id (OCI image-spec,
                        config.md); locked by whoever makes or removes it
        tree/           mounted read-only as a lower directory of overlays; never
                        changed
        layer.json      what it is; written last, so that a layer with it is whole
        layer.boot      the same, for a layer that is whole until the machine stops

Trees are not written out one by one: a layer has a layer.boot at first, and a
layer.json from settle() on, which is called once per image, before a name leads there.
What a power cut left of the others is made anew.

The key is the chain id and not the layer's own digest because a tar may leave out
directories and hard links' targets that lie in the layers below, so that the same tar
makes different trees.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, Damaged, ImageNotFound, NotSupported
from cellhold.spec.digest import Digest
from cellhold.store import delete, durable, locks, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_FACTS, _NEW = "layer.json", "layer.boot"
_CHAIN = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class LayerFacts:
    """What is recorded about an unpacked layer.

    diff_id: of its tar; size_bytes: of the files in it; told: what unpacking left out,
    in words.
    """

    diff_id: str
    parent: str | None
    size_bytes: int
    entries: int
    told: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _New(LayerFacts):
    """The content of layer.boot. boot: the id of the one boot for which it holds."""

    boot: str


_FORM = table.Form(kind=LayerFacts, version=1, steps=table.BEFORE_VERSIONS, check=lambda _facts: None)
_NEW_FORM = table.Form(kind=_New, version=1, steps=table.BEFORE_VERSIONS, check=lambda _facts: None)


class Layers:
    """The unpacked layers of one store, in the directory `root`."""

    def __init__(self, root: Path) -> None:
        """Use the existing directory `root`."""
        self.root = root

    def tree(self, chain_id: Digest) -> Path:
        """Return the path at which the layer's files lie or would lie."""
        return self.root / chain_id.encoded / "tree"

    def has(self, chain_id: Digest) -> bool:
        """Return whether the layer is present and whole.

        True also if its layer.json cannot be read, as containers may be mounted from
        it.
        """
        try:
            self.facts(chain_id)
        except ImageNotFound:
            return False
        except (Damaged, NotSupported):
            return True
        return True

    def facts(self, chain_id: Digest) -> LayerFacts:
        """Return what is recorded about a layer.

        Raises ImageNotFound, Damaged, NotSupported.
        """
        remedy = "cellhold rmi for the images that have it, cellhold builder prune, and pull or load them again"
        for _try in range(2):  # layer.boot may become layer.json while we read
            with suppress(FileNotFoundError):
                return _FORM.read(self.root / chain_id.encoded / _FACTS, f"layer {chain_id}", hint=remedy)
            if (facts := self._new(chain_id)) is not None:
                return facts
        raise ImageNotFound(f"cannot use layer {chain_id}: the store does not have it", hint="pull or load its image again")

    def _new(self, chain_id: Digest) -> LayerFacts | None:
        """Return what is recorded about a layer that is whole in this boot.

        A layer.boot that cannot be read counts as absent: nobody was told that the
        layer exists.
        """
        try:
            members = vars(_NEW_FORM.read(self.root / chain_id.encoded / _NEW, f"layer {chain_id}", hint="")).copy()
        except (FileNotFoundError, CellholdError):
            return None
        return LayerFacts(**members) if members.pop("boot") == _boot() else None

    def settle(self, chain_ids: Iterable[Digest]) -> None:
        """Make layers survive the end of this boot. Raises OSError, ImageNotFound.

        One syncfs(2) for all that are new.
        """
        fresh = {chain_id: self.facts(chain_id) for chain_id in chain_ids if not (self.root / chain_id.encoded / _FACTS).exists()}
        if fresh:
            durable.sync_filesystem(self.root)
        for chain_id, facts in fresh.items():
            place = self.root / chain_id.encoded
            with locks.held(place, locks.directory(place)):
                durable.write(place / _FACTS, _FORM.dumps(asdict(facts)))
                (place / _NEW).unlink(missing_ok=True)
        if fresh:
            durable.sync(self.root)

    @contextmanager
    def draft(self, chain_id: Digest, *, patience: Callable[[], object] | None = None) -> Iterator[LayerDraft | None]:
        """Yield the one draft of a layer once no other process makes it.

        patience: as in locks.py. Yields None if the layer is present by then. A draft
        that is not kept is removed.
        """
        place = self.root / chain_id.encoded
        while not self.has(chain_id):
            with locks.held(place, locks.directory(place), patience=patience):
                if self.has(chain_id):
                    break
                delete.remove(place / "tree")  # left by a process that was killed
                (place / "tree").mkdir()
                (place / "tree").chmod(0o755)  # of the container's root, unless the layer says otherwise
                try:
                    yield LayerDraft(place)
                finally:
                    if not self.has(chain_id):
                        delete.remove(place)
                return
        yield None

    def all(self) -> list[Digest]:
        """Return every layer, whole or not."""
        return [Digest("sha256", name) for name in os.listdir(self.root) if _CHAIN.fullmatch(name)]

    def hold(self, chain_id: Digest) -> int:
        """Keep garbage collection away from a layer that no record names.

        Returns a descriptor: it does so as long as that is open. Raises OSError.
        """
        return locks.try_directory(self.root / chain_id.encoded, shared=True)

    def remove(self, chain_id: Digest) -> int:
        """Remove a layer and return the size of its files in bytes.

        Nobody may use it: store/garbage.py makes sure of that. Raises BlockingIOError
        where somebody holds it.
        """
        place = self.root / chain_id.encoded
        with locks.held(place, locks.directory(place), wait=False):
            try:
                size = self.facts(chain_id).size_bytes
            except CellholdError:  # half of one, or damaged
                size = 0
            for name in (_FACTS, _NEW):
                (place / name).unlink(missing_ok=True)  # first, so that what is left after a crash does not count as a layer
            delete.remove(place)
        return size


class LayerDraft:
    """A layer that is being unpacked into `directory`, which is empty at first."""

    def __init__(self, place: Path) -> None:
        """The layer's place in the store; its lock is held."""
        self.directory = place / "tree"
        self._place = place

    def keep(self, facts: LayerFacts) -> None:
        """Mark the layer as whole."""
        durable.write(self._place / _NEW, _NEW_FORM.dumps({**asdict(facts), "boot": _boot()}), lasting=False)


@cache
def _boot() -> str:
    """Return the id that tells this boot of the machine apart (proc_sys_kernel(5))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
