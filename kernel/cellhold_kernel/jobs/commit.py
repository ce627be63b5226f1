"""An image that is made of a container, for a cell that waits for it.

    python -m cellhold_kernel.jobs.commit CONTAINER OWNER NAME

is the process that does it, and writes the result as a line of JSON.
"""

from __future__ import annotations

import html
import json
import sys
from typing import TYPE_CHECKING, Any

from cellhold.spec import units
from cellhold_kernel.jobs.job import ProcessJob
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from cellhold_kernel.gate.granted import GrantedCommit


class Commit(ProcessJob):
    """One commit. The container is frozen meanwhile."""

    interrupted_message = "nothing was committed"

    def __init__(self, granted: GrantedCommit) -> None:
        """Start it."""
        self._container, self._name = granted.container, granted.asked
        self._layer_bytes: int | None = None
        super().__init__("cellhold_kernel.jobs.commit", [granted.container, granted.owner, granted.name])

    def _note(self, said: dict[str, Any]) -> None:
        self._layer_bytes = int(said["layer_bytes"])

    def text(self) -> str:
        """Return what is being made, or was."""
        if self._layer_bytes is None:
            return f"making image {escape(self._name)} of container {self._container} ({self.seconds:.0f} s)"
        layer = f"a new layer of {units.size(self._layer_bytes)} (compressed)"
        return f"container {self._container} is now image {escape(self._name)}, with {layer}"

    def html(self) -> str:
        """Return the same for a browser."""
        return f"<div>{html.escape(self.text())}</div>"


def main() -> int:
    """The process."""
    from cellhold.container import commit  # noqa: PLC0415  # what the host kernel does without
    from cellhold.errors import CellholdError  # noqa: PLC0415
    from cellhold.store.home import open_home  # noqa: PLC0415

    container, owner, name = sys.argv[1:]
    try:
        image = commit.commit(container, name, open_home(), owner=owner)
        said: dict[str, object] = {"layer_bytes": image.manifest.layers[-1].size_bytes}
    except CellholdError as error:
        said = {"error": type(error).__name__, "sentence": str(error), "hint": error.hint}
    print(json.dumps(said), flush=True)  # noqa: T201  # what a program reads
    return 1 if "error" in said else 0


if __name__ == "__main__":
    sys.exit(main())
