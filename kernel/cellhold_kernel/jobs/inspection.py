"""A look into layers, for the panel, by a process that may read all of them.

    python -m cellhold_kernel.jobs.inspection layers IMAGE | which IMAGE PATH
        | browse IMAGE LAYER PATH | compare IMAGE OTHER | written CONTAINER

writes as a line of JSON what each layer of an image changes, which of them answers for
a path, what one of them has in a directory, how an image differs from another one, or
what a container has written.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from cellhold import helper
from cellhold.errors import CellholdError, InvalidSpec
from cellhold_kernel.jobs.job import ProcessJob
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.image.layer_diff import Layer
    from cellhold.store.home import Home

_WASTED_MOST = 5
_DEEP, _PLACES_MOST = 4, 3  # /usr/lib/python3, say
_CHANGES_MOST = 100_000  # that are looked at one by one; the bytes are of all
_LISTED_MOST, _TIMES_MOST = 200, 5000
_DIGITS_MOST = 6


class Look(ProcessJob):
    """One look. found: what it gave, {} until then."""

    bounds = helper.Bounds(memory_bytes=2 << 30, seconds=300)  # a large image takes 3 on a quiet machine

    def __init__(self, what: str, *words: str) -> None:
        """Start it."""
        self.found: dict[str, Any] = {}
        super().__init__("cellhold_kernel.jobs.inspection", [what, *words])

    def _note(self, said: dict[str, Any]) -> None:
        self.found = said

    def text(self) -> str:
        """Return nothing: the panel shows the result."""
        return ""

    def html(self) -> str:
        """Return nothing, as text() does."""
        return ""


def layers(home: Home, name: str) -> dict[str, Any]:
    """Return what each layer changes, the topmost first, and what is wasted.

    That is what a layer above replaces or removes.
    """
    from cellhold.image import layer_diff, stored  # noqa: PLC0415  # what the host kernel does without

    found = layer_diff.layers(stored.find(name, home), home)
    wasted = [f"{escape(change.path, most=200)}" for change in layer_diff.wasted(found)[:_WASTED_MOST]]
    return {
        "changes": [_changes(layer) for layer in reversed(found)],
        "wasted_bytes": sum(layer.wasted_bytes for layer in found),
        "wasted": wasted,
    }


def _changes(layer: Layer) -> str:
    from cellhold.image.layer_diff import Kind  # noqa: PLC0415  # as above

    return f"+{layer.count(Kind.ADDED)} ~{layer.count(Kind.CHANGED)} -{layer.count(Kind.REMOVED)}"


def which(home: Home, name: str, path: str) -> dict[str, Any]:
    """Return which layer answers for a path: name and answer of each, topmost first."""
    from cellhold.image import layer_diff, stored  # noqa: PLC0415  # as above

    image = stored.find(name, home)
    answer = layer_diff.lookup(image, home).which(path)
    steps = []
    for number in range(len(image.chain_ids), 0, -1):
        if answer.layer is None or number > answer.layer:
            said = "does not have it"
        elif number == answer.layer:
            said = "removes it" if answer.found is None else "has it"
        else:
            said = "has it too, hidden" if number in answer.shadows else "not asked"
        steps.append([image.config.diff_ids[number - 1].short, said])
    return {"path": escape(answer.path, most=300), "steps": steps, "is_there": answer.found is not None}


def written(home: Home, container: str) -> dict[str, Any]:
    """Return what a container has added, changed and deleted, and its bytes on disk.

    Its `most` are the places with the most bytes. A path's row is [kind, path, bytes,
    when it was changed last]: a file that was there before was copied up to be changed.
    """
    from cellhold.container import commit  # noqa: PLC0415  # as above

    found = commit.diff(container, home, most=_CHANGES_MOST)
    kinds = Counter(change.kind for change in found.changes)
    places = Counter[str]()
    for change in found.changes:
        places["/".join(change.path.split("/")[:-1][:_DEEP]) or "/"] += change.size_bytes
    files = [change for change in found.changes if not change.is_directory]
    newest = sorted(files, key=lambda change: -change.changed)[:_LISTED_MOST]
    return {
        "bytes": found.size_bytes,
        "added": kinds["A"],
        "changed": kinds["C"],
        "deleted": kinds["D"],
        "unlisted": found.unlisted + len(files) - len(newest),
        "times": sorted((round(change.changed, 3) for change in files if change.changed), reverse=True)[:_TIMES_MOST],
        "most": [[escape(place, most=100), size] for place, size in places.most_common(_PLACES_MOST) if size],
        "paths": [[change.kind, escape(change.path, most=200), change.size_bytes, round(change.changed, 3)] for change in newest],
    }


def browse(home: Home, name: str, layer: str, path: str) -> dict[str, Any]:
    """Return a layer's directory: rows of [kind, name, bytes, is it a directory].

    layer: its number, 1 is the lowest.
    """
    from cellhold.image import layer_diff, stored  # noqa: PLC0415  # as above

    stack = layer_diff.lookup(stored.find(name, home), home)
    number, inside = _number(layer, len(stack.trees)), path.strip("/")
    kinds = {change.path.lstrip("/"): str(change.kind) for change in layer_diff.changes(stack, number - 1)}
    below = f"{inside}/" if inside else ""
    here = sorted(
        (found.path, found)
        for found in stack.contents[number - 1].values()
        if found.path.startswith(below) and found.path and "/" not in found.path[len(below) :]
    )
    rows = [
        [kinds.get(at, ""), escape(at[len(below) :], most=200), found.size_bytes, found.is_directory] for at, found in here[:_LISTED_MOST]
    ]
    return {"entries": rows, "unlisted": len(here) - len(rows)}


def compare(home: Home, name: str, other: str) -> dict[str, Any]:
    """Return how an image differs from another one: rows of [kind, path, bytes].

    other: an image, or a number: so many of the image's own lowest layers.
    """
    from cellhold.image import layer_diff, stored  # noqa: PLC0415  # as above
    from cellhold.image.path_lookup import Lookup  # noqa: PLC0415

    stack = layer_diff.lookup(stored.find(name, home), home)
    lowest = Lookup(stack.trees[: _number(other, len(stack.trees))]) if other.isdecimal() else None
    before = lowest or layer_diff.lookup(stored.find(other, home), home)
    found = list(layer_diff.compare(before, stack))
    kinds = Counter(str(change.kind) for change in found)
    files = sorted((change for change in found if not change.is_directory), key=lambda change: -max(change.size_bytes, change.hidden_bytes))
    rows = [[str(one.kind), escape(one.path, most=200), one.size_bytes or one.hidden_bytes] for one in files[:_LISTED_MOST]]
    counted = {"added": kinds["A"], "changed": kinds["C"], "deleted": kinds["D"]}
    return {**counted, "paths": rows, "unlisted": len(files) - len(rows)}


def _number(text: str, most: int) -> int:
    number = int(text) if text.isdecimal() and len(text) < _DIGITS_MOST else 0
    if not 1 <= number <= most:
        raise InvalidSpec(f"cannot look into layer {escape(text, most=40)}: the image has {most} layers", hint="1 is the lowest")
    return number


def main() -> int:
    """The process."""
    from cellhold.store.home import open_home  # noqa: PLC0415  # as above

    what, *words = sys.argv[1:]
    try:
        said = LOOKS[what](open_home(), *words)
    except CellholdError as error:
        said = {"error": type(error).__name__, "sentence": str(error), "hint": error.hint}
    print(json.dumps(said), flush=True)  # noqa: T201  # what a program reads
    return 1 if "error" in said else 0


LOOKS: dict[str, Callable[..., dict[str, Any]]] = {
    "layers": layers,
    "which": which,
    "written": written,
    "browse": browse,
    "compare": compare,
}

if __name__ == "__main__":
    sys.exit(main())
