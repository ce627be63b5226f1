"""The layers of an image: what each adds, changes and hides, and who shares it.

Bytes are wasted where an upper layer replaces or removes what a lower one brought: they
are stored and sent, and never visible (a file that comes N times is counted N-1 times).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from cellhold.image import description, stored
from cellhold.image.path_lookup import Lookup
from cellhold.spec.digest import Digest
from cellhold.store import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cellhold.image.description import Instruction
    from cellhold.image.stored import StoredImage
    from cellhold.store.home import Home
    from cellhold.store.scan import LayerEntry


class Kind(StrEnum):
    """How a layer changes a path, in `docker diff`'s letters."""

    ADDED = "A"
    CHANGED = "C"
    REMOVED = "D"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One path in one layer.

    path: from the root, "/etc/passwd".
    hidden_bytes: of lower layers' files that the change makes invisible.
    """

    kind: Kind
    path: str
    size_bytes: int
    hidden_bytes: int
    is_directory: bool


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of an image.

    number: 1 is the lowest.
    changes: by path.
    images, containers: how many have the layer.
    """

    number: int
    chain_id: Digest
    diff_id: Digest
    instruction: Instruction | None
    size_bytes: int
    compressed_bytes: int
    changes: tuple[Change, ...] = field(repr=False)
    images: int
    containers: int

    @property
    def wasted_bytes(self) -> int:
        """Bytes of the layers below that this one hides."""
        return sum(change.hidden_bytes for change in self.changes)

    def count(self, kind: Kind) -> int:
        """Return how many files the layer changes in that way.

        Directories that are there for themselves count as well.
        """
        return sum(change.kind is kind for change in self.changes)


def lookup(image: StoredImage, home: Home) -> Lookup:
    """Return the layers of an image, to look paths up in."""
    return Lookup([home.layers.tree(chain) for chain in image.chain_ids])


def layers(image: StoredImage, home: Home) -> list[Layer]:
    """Return all layers of an image, the lowest first."""
    stack = lookup(image, home)
    told = {entry.layer: entry for entry in description.by_layer(image, home)}
    images, containers = sharers(home)
    return [
        Layer(
            number=number + 1,
            chain_id=chain,
            diff_id=image.config.diff_ids[number],
            instruction=told.get(chain),
            size_bytes=home.layers.facts(chain).size_bytes,
            compressed_bytes=image.manifest.layers[number].size_bytes,
            changes=tuple(changes(stack, number)),
            images=images[chain],
            containers=containers[chain],
        )
        for number, chain in enumerate(image.chain_ids)
    ]


def changes(stack: Lookup, number: int) -> Iterator[Change]:
    """Yield what layer `number` (0 is the lowest) changes over the ones below it."""
    for path, found in stack.contents[number].items():
        before = stack.seen(path, number)
        if found.is_whiteout:
            if before is not None:
                yield _change(Kind.REMOVED, found, _hidden(stack, path, before, number))
        elif before is None:
            if path:
                yield _change(Kind.ADDED, found, 0)
        elif found.is_opaque or not (found.is_directory and before.is_directory):
            yield _change(Kind.CHANGED, found, _hidden(stack, path, before, number))
        elif path and (found.mode, found.mtime) != (before.mode, before.mtime):
            yield _change(Kind.CHANGED, found, 0)


def compare(one: Lookup, other: Lookup) -> Iterator[Change]:
    """Yield, by path, what `other` shows that `one` lacks or shows otherwise.

    A file differs if its size, mode, link or time does. hidden_bytes of a change: of
    what `one` shows there.
    """
    for path in sorted({path for stack in (one, other) for layer in stack.contents for path in layer if path}):
        before, after = one.seen(path, len(one.trees)), other.seen(path, len(other.trees))
        if after is None:
            if before is not None:
                yield _change(Kind.REMOVED, before, before.size_bytes)
        elif before is None:
            yield _change(Kind.ADDED, after, 0)
        elif _facts(before) != _facts(after):
            yield _change(Kind.CHANGED, after, before.size_bytes)


def _facts(found: LayerEntry) -> tuple[object, ...]:
    return (found.mode, found.link) if found.is_directory else (found.mode, found.link, found.size_bytes, found.mtime)


def _change(kind: Kind, found: LayerEntry, hidden_bytes: int) -> Change:
    return Change(kind=kind, path=f"/{found.path}", size_bytes=found.size_bytes, hidden_bytes=hidden_bytes, is_directory=found.is_directory)


def _hidden(stack: Lookup, path: str, before: LayerEntry, number: int) -> int:
    """Return the bytes at `path` that are visible under layer `number`.

    Of a directory, those below it.
    """
    if not before.is_directory:
        return before.size_bytes
    below = f"{path}/" if path else ""
    names = {name for layer in stack.contents[:number] for name in layer if name.startswith(below)}
    return sum(found.size_bytes for name in names if (found := stack.seen(name, number)) is not None)


def wasted(layers: Sequence[Layer]) -> list[Change]:
    """Return the changes that hide bytes, the worst first."""
    hiding = (change for layer in layers for change in layer.changes if change.hidden_bytes)
    return sorted(hiding, key=lambda change: -change.hidden_bytes)


def sharers(home: Home) -> tuple[Counter[Digest], Counter[Digest]]:
    """Return how many images, and how many containers, have each layer."""
    images = Counter(chain for image in stored.every(home) for chain in image.chain_ids)
    return images, Counter(Digest.parse(chain) for container in record.list_readable(home.containers) for chain in container.layers)
