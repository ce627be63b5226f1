"""Images described as docker's `inspect` and `history` do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError
from cellhold.image.reference import Reference
from cellhold.store.table import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cellhold.image.stored import StoredImage
    from cellhold.spec.digest import Digest
    from cellhold.store.home import Home

_SHELL = ("/bin/sh -c #(nop) ", "/bin/sh -c ")


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One line of an image's history.

    text: as in the Dockerfile, as far as that can be reconstructed.
    layer: the chain id; None if it made no layer.
    size_bytes: of the layer's files.
    created: None if the image does not say.
    """

    text: str
    created: datetime | None
    comment: str
    layer: Digest | None
    size_bytes: int


def size_bytes(image: StoredImage, home: Home) -> int:
    """Bytes of all files in its layers."""
    return sum(home.layers.facts(chain_id).size_bytes for chain_id in image.chain_ids)


def unreadable_layers(images: Iterable[StoredImage], home: Home) -> list[Unreadable]:
    """Return the layers of these images whose metadata cannot be read."""
    found = {}
    for chain in (chain for image in images for chain in image.chain_ids):
        try:
            home.layers.facts(chain)
        except CellholdError as error:
            found[chain] = Unreadable(name=str(chain), place=home.layers.root / chain.encoded, error=error)
    return list(found.values())


def inspected(image: StoredImage, home: Home) -> dict[str, Any]:
    """Return the object that `docker image inspect` prints.

    The config's own members are in it unchanged.
    """
    document = json.loads(image.config.raw)
    platform = image.config.platform
    return {
        "Id": str(image.id),
        "RepoTags": [Reference.parse(name).familiar() for name in image.names],
        "RepoDigests": [Reference.parse(name).familiar() for name in image.came_as],
        "Comment": next((entry.comment for entry in image.config.history[::-1] if entry.comment), ""),
        "Created": document.get("created"),
        "Author": image.config.author or "",
        "Config": document.get("config") or {},
        "Architecture": platform.architecture,
        **({"Variant": platform.variant} if platform.variant else {}),
        "Os": platform.os,
        "Size": size_bytes(image, home),
        "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in image.config.diff_ids]},
        "Metadata": {"LastTagTime": datetime.fromtimestamp(image.arrived, UTC).isoformat()},
        "Descriptor": {"mediaType": image.manifest.media_type, "digest": str(image.digest), "size": len(image.manifest.raw)},
    }


def history(image: StoredImage, home: Home) -> list[Instruction]:
    """Return the instructions, the last one first.

    A layer that the history does not mention becomes an instruction without text.
    """
    told, layers = [], iter(image.chain_ids)
    for entry in image.config.history:
        layer = None if entry.empty_layer else next(layers, None)
        told.append(_instruction(entry.created_by or "", entry.created, entry.comment or "", layer, home))
    told.extend(_instruction("", None, "", layer, home) for layer in layers)
    return told[::-1]


def by_layer(image: StoredImage, home: Home) -> list[Instruction]:
    """Return the instruction of each layer, the lowest first."""
    return [entry for entry in history(image, home)[::-1] if entry.layer is not None]


def instruction(created_by: str) -> str:
    """Return an instruction as it was written in the Dockerfile.

    "/bin/sh -c #(nop)  CMD [...]" becomes CMD [...], "/bin/sh -c x" becomes RUN x.
    """
    nop, shell = _SHELL
    text = " ".join(created_by.split())
    if text.startswith(nop):
        return text.removeprefix(nop).strip()
    return f"RUN {text.removeprefix(shell)}" if text.startswith(shell) else text


def _instruction(created_by: str, created: datetime | None, comment: str, layer: Digest | None, home: Home) -> Instruction:
    size = home.layers.facts(layer).size_bytes if layer else 0
    return Instruction(text=instruction(created_by), created=created, comment=comment, layer=layer, size_bytes=size)
