"""cellhold layers, which: look into the layers of an image."""

from __future__ import annotations

import json
import stat
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from cellhold.cli import table
from cellhold.spec.units import size
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from cellhold.image.layer_diff import Change, Layer
    from cellhold.store.scan import LayerEntry

NOT_FOUND = 1
_MOST_WASTE = 10
_TREE_MOST = 200
_KINDS = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFIFO: "FIFO"}


def add(commands: Any) -> None:
    """Add the commands and their flags."""
    layers = commands.add_parser(
        "layers",
        help="list the layers of an image: what each adds, changes, removes and wastes",
        description="List the layers of an image, the topmost first.",
    )
    layers.add_argument("image", metavar="IMAGE")
    layers.add_argument("--tree", action="store_true", help=f"list the files of each layer, too (the first {_TREE_MOST}; --all: every one)")
    layers.add_argument("--all", action="store_true", help="do not shorten any list")
    layers.add_argument("--format", choices=("table", "json"), default="table", help="json: one object per layer")
    layers.set_defaults(run=show_layers)
    which = commands.add_parser(
        "which", help="find the layer of an image that a path comes from", description="Find the layer of an image that a path comes from."
    )
    which.add_argument("image", metavar="IMAGE")
    which.add_argument("path", metavar="PATH")
    which.set_defaults(run=show_which)


def show_layers(arguments: argparse.Namespace) -> int:
    """Print the layers, the topmost first."""
    from cellhold.image import layer_diff, stored  # noqa: PLC0415  # what only images need is not loaded for containers

    home = open_home()
    image = stored.find(arguments.image, home)
    layers = layer_diff.layers(image, home)
    if arguments.format == "json":
        print("\n".join(json.dumps(_object(layer)) for layer in layers))
        return 0
    if not arguments.tree:
        table.show([_row(layer) for layer in layers[::-1]], list(_row(layers[0])) if layers else [], form="table")
    for layer in layers[::-1] if arguments.tree else ():
        print(f"{'  '.join(f'{name} {value}' for name, value in _row(layer).items() if name != 'instruction')}")
        print(f"  {table.printable(_row(layer)['instruction'])}")
        print("\n".join(tree(layer.changes, None if arguments.all else _TREE_MOST)))
    total, waste = sum(layer.size_bytes for layer in layers), sum(layer.wasted_bytes for layer in layers)
    print(
        f"\n{len(layers)} layer{'' if len(layers) == 1 else 's'}, {size(total)}; {size(waste)} wasted: replaced or removed by a layer above"
    )
    for change in layer_diff.wasted(layers)[: None if arguments.all else _MOST_WASTE]:
        print(f"  {size(change.hidden_bytes):>10}  {table.printable(change.path)}")
    return 0


def show_which(arguments: argparse.Namespace) -> int:
    """Print which layer has the path, and what it hides; status 1 if none has it."""
    from cellhold.image import layer_diff, stored  # noqa: PLC0415

    home = open_home()
    image = stored.find(arguments.image, home)
    answer = layer_diff.lookup(image, home).which(arguments.path)
    place = table.printable(answer.path)
    if answer.layer is None:
        print(f"{place}: not in any layer")
        return NOT_FOUND
    layer = layer_diff.layers(image, home)[answer.layer - 1]
    by = f"layer {layer.number} ({layer.diff_id.short}) {table.printable(_row(layer)['instruction'])}".rstrip()
    what = "removed" if answer.found is None else _kind(answer.found)
    print(f"{place}: {what} by {by}" if answer.found is None else f"{place}: {what}, from {by}")
    for number in answer.shadows:
        print(f"  hides the one of layer {number}")
    return NOT_FOUND if answer.found is None else 0


def _row(layer: Layer) -> dict[str, str]:
    from cellhold.image.layer_diff import Kind  # noqa: PLC0415

    return {
        "layer": str(layer.number),
        "diff_id": layer.diff_id.short,
        "size": size(layer.size_bytes),
        "added": str(layer.count(Kind.ADDED)),
        "changed": str(layer.count(Kind.CHANGED)),
        "removed": str(layer.count(Kind.REMOVED)),
        "wasted": size(layer.wasted_bytes),
        "images": str(layer.images),
        "containers": str(layer.containers),
        "instruction": layer.instruction.text if layer.instruction else "",
    }


def _object(layer: Layer) -> dict[str, object]:
    return {
        "layer": layer.number,
        "diff_id": str(layer.diff_id),
        "chain_id": str(layer.chain_id),
        "instruction": layer.instruction.text if layer.instruction else None,
        "size_bytes": layer.size_bytes,
        "compressed_bytes": layer.compressed_bytes,
        "wasted_bytes": layer.wasted_bytes,
        "images": layer.images,
        "containers": layer.containers,
        "changes": [{"kind": str(change.kind), "path": change.path, "size_bytes": change.size_bytes} for change in layer.changes],
    }


def tree(changes: Iterable[Change], most: int | None) -> Iterator[str]:
    """Yield the changes as a tree; directories on the way have no letter."""
    ordered = sorted(changes, key=lambda change: change.path.split("/"))
    above: list[str] = []
    for change in ordered[:most]:
        *directories, name = change.path.split("/")[1:]
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(directories, above, strict=False)))
        for depth, directory in enumerate(directories[common:], common):
            yield f"    {'  ' * depth}{table.printable(directory)}/"
        above = [*directories, name]
        amount = size(change.size_bytes) if change.size_bytes else ""
        yield f"  {change.kind} {'  ' * len(directories)}{table.printable(name)}{'/' if change.is_directory else ''}  {amount}".rstrip()
    if most is not None and len(ordered) > most:
        yield f"  ... and {len(ordered) - most} more (--all)"


def _kind(found: LayerEntry) -> str:
    kind = _KINDS.get(stat.S_IFMT(found.mode), "special file")
    points = f" to {table.printable(found.link)}" if found.link is not None else ""
    return f"{kind}{points}, {stat.filemode(found.mode)}, {size(found.size_bytes)}" if kind == "file" else f"{kind}{points}"
