"""Unpacked layers, each once, whatever number of images and containers have it.

layers/
    CHAIN/              the hexadecimal digits of the chain id (OCI image-spec, config.md); locked by whoever makes or removes it
        tree/           what is mounted, read-only, as a lower directory of overlays; never changed
        layer.json      what it is; written last, so that a layer with it is whole

Why by the chain and not by the layer's own digest: a tar may leave out directories and hard links' targets that lie in the layers
below, so that the same tar makes different trees.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from cellhold.digest import Digest
from cellhold.errors import ImageNotFound
from cellhold.store import locks, removal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_CHAIN = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class LayerFacts:
    """What is known of an unpacked layer. diff_id: of its tar; size_bytes: of the files in it; told: what unpacking left out, in words."""

    diff_id: str
    parent: str | None
    size_bytes: int
    entries: int
    told: tuple[str, ...] = ()


class Layers:
    """The unpacked layers of one store, in the directory `root`."""

    def __init__(self, root: Path) -> None:
        """The directory is there."""
        self.root = root

    def tree(self, chain_id: Digest) -> Path:
        """Where the layer's files are, or would be."""
        return self.root / chain_id.encoded / "tree"

    def has(self, chain_id: Digest) -> bool:
        """Whether it is there, and whole."""
        return (self.root / chain_id.encoded / "layer.json").exists()

    def facts(self, chain_id: Digest) -> LayerFacts:
        """What is known of it. Raises ImageNotFound."""
        try:
            known = json.loads((self.root / chain_id.encoded / "layer.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ImageNotFound(f"cannot use layer {chain_id}: the store does not have it", hint="pull or load its image again") from error
        return LayerFacts(**{**known, "told": tuple(known["told"])})

    @contextmanager
    def draft(self, chain_id: Digest, *, patience: Callable[[], object] | None = None) -> Iterator[LayerDraft | None]:
        """The one draft of a layer, once nobody else makes it (patience: as in locks.py); None if it is there by then.

        What is not kept is removed.
        """
        place = self.root / chain_id.encoded
        while not self.has(chain_id):
            with locks.held(place, locks.directory(place), patience=patience):
                if self.has(chain_id):
                    break
                removal.remove(place / "tree")  # of somebody who was killed
                (place / "tree").mkdir()
                (place / "tree").chmod(0o755)  # the root of containers, unless the layer says otherwise
                try:
                    yield LayerDraft(place)
                finally:
                    if not self.has(chain_id):
                        removal.remove(place)
                return
        yield None

    def all(self) -> list[Digest]:
        """Every layer, whole or not."""
        return [Digest("sha256", name) for name in os.listdir(self.root) if _CHAIN.fullmatch(name)]

    def remove(self, chain_id: Digest) -> int:
        """Remove a layer that nobody uses (store/garbage.py sees to that); the bytes of its files."""
        place = self.root / chain_id.encoded
        with locks.held(place, locks.directory(place)):
            size = self.facts(chain_id).size_bytes if self.has(chain_id) else 0
            (place / "layer.json").unlink(missing_ok=True)  # first: what is left after a crash is no layer
            removal.remove(place)
        return size


class LayerDraft:
    """A layer that is being unpacked into `directory`, which is empty at first."""

    def __init__(self, place: Path) -> None:
        """The layer's place in the store; its lock is held."""
        self.directory = place / "tree"
        self._place = place

    def keep(self, facts: LayerFacts) -> None:
        """It is whole."""
        draft = self._place / "layer.new"
        draft.write_text(json.dumps(asdict(facts)), encoding="utf-8")
        draft.rename(self._place / "layer.json")
