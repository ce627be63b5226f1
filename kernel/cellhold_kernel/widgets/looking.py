"""A look into layers, for the panel: it reads all of their directories, so a process of its own does it.

    python -m cellhold_kernel.widgets.looking layers IMAGE | which IMAGE PATH | written CONTAINER

says in a line of JSON what each layer of an image changes, which of them answers for a path, or what a container has written.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from cellhold_kernel.tail import plain
from cellhold_kernel.working import Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.image.looking import Layer
    from cellhold.store.home import Home

_WASTED_MOST = 5
_DEEP, _PLACES_MOST = 4, 3  # /usr/lib/python3, say


class Look(Work):
    """One look. found: what it gave, {} until then."""

    def __init__(self, what: str, *words: str) -> None:
        """Start it."""
        self.found: dict[str, Any] = {}
        super().__init__("cellhold_kernel.widgets.looking", [what, *words])

    def _note(self, said: dict[str, Any]) -> None:
        self.found = said

    def text(self) -> str:
        """Nothing: the panel shows it."""
        return ""

    def html(self) -> str:
        """Nothing, as text."""
        return ""


def layers(home: Home, name: str) -> dict[str, Any]:
    """What each changes, the topmost first, and what is wasted: replaced or removed by a layer above."""
    from cellhold.image import looking, stored  # noqa: PLC0415  # what the host kernel does without

    found = looking.layers(stored.find(name, home), home)
    wasted = [f"{plain(change.path, most=200)}" for change in looking.wasted(found)[:_WASTED_MOST]]
    return {
        "changes": [_changes(layer) for layer in reversed(found)],
        "wasted_bytes": sum(layer.wasted_bytes for layer in found),
        "wasted": wasted,
    }


def _changes(layer: Layer) -> str:
    from cellhold.image.looking import Kind  # noqa: PLC0415  # as above

    return f"+{layer.count(Kind.ADDED)} ~{layer.count(Kind.CHANGED)} -{layer.count(Kind.REMOVED)}"


def which(home: Home, name: str, path: str) -> dict[str, Any]:
    """Which layer answers for a path, the topmost first: each layer's name, and what it has to say."""
    from cellhold.image import looking, stored  # noqa: PLC0415  # as above

    image = stored.find(name, home)
    answer = looking.lookup(image, home).which(path)
    steps = []
    for number in range(len(image.chain_ids), 0, -1):
        if answer.layer is None or number > answer.layer:
            said = "does not have it"
        elif number == answer.layer:
            said = "removes it" if answer.found is None else "has it"
        else:
            said = "has it too, hidden" if number in answer.shadows else "not asked"
        steps.append([image.config.diff_ids[number - 1].short, said])
    return {"path": plain(answer.path, most=300), "steps": steps, "is_there": answer.found is not None}


def written(home: Home, container: str) -> dict[str, Any]:
    """How much a container has added, changed and deleted, and below which directories the most."""
    from cellhold import committing  # noqa: PLC0415  # as above

    changes = committing.diff(container, home)
    kinds = Counter(str(change.kind) for change in changes)
    places = Counter("/".join(change.path.split("/")[:-1][:_DEEP]) or "/" for change in changes)
    most = [f"{plain(place, most=100)} ({count})" for place, count in places.most_common(_PLACES_MOST)]
    return {"changes": f"+{kinds['A']} ~{kinds['C']} -{kinds['D']}", "most": most}


def main() -> int:
    """The process."""
    from cellhold.errors import CellholdError  # noqa: PLC0415  # as above
    from cellhold.store.home import open_home  # noqa: PLC0415

    what, *words = sys.argv[1:]
    looks: dict[str, Callable[..., dict[str, Any]]] = {"layers": layers, "which": which, "written": written}
    try:
        said = looks[what](open_home(), *words)
    except CellholdError as error:
        said = {"error": type(error).__name__, "sentence": str(error), "hint": error.hint}
    print(json.dumps(said), flush=True)  # noqa: T201  # what a program reads
    return 1 if "error" in said else 0


if __name__ == "__main__":
    sys.exit(main())
