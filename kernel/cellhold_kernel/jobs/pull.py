"""A pull that a cell waits for: `cellhold pull --progress json`, layer by layer."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from cellhold import helper
from cellhold.spec import units
from cellhold_kernel.jobs.job import ProcessJob, bar
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold_kernel.gate.granted import GrantedPull

_HIDDEN = ("Already exists", "Pull complete")


class Rows:
    """The layers that are pulled.

    rows: digest -> (what is done with the layer, bytes done, bytes in all).
    """

    def __init__(self) -> None:
        """None yet."""
        self.rows: dict[str, tuple[str, int, int]] = {}

    def note(self, said: dict[str, Any]) -> None:
        """Take in a line of `cellhold pull --progress json`.

        Raises KeyError, ValueError, TypeError.
        """
        digest = escape(str(said["digest"]).rpartition(":")[2], most=12)
        self.rows[digest] = (escape(str(said["doing"]), most=20), int(said["done_bytes"]), int(said["total_bytes"]))

    @property
    def here(self) -> int:
        """How many need nothing more."""
        return sum(doing in _HIDDEN for doing, _done, _total in self.rows.values())

    @property
    def new_bytes(self) -> int:
        """Bytes of the layers that came."""
        return sum(total for doing, _done, total in self.rows.values() if doing == "Pull complete")

    def lines(self) -> Iterator[str]:
        """Yield a line for each layer that is being pulled."""
        for digest, (doing, done, total) in self.rows.items():
            if doing not in _HIDDEN:
                yield f"{digest}  {doing:<14} {bar(done, total)} {units.size(done)} of {units.size(total)}"

    def table(self) -> str:
        """Return the same in HTML."""
        rows = "".join(
            f"<tr><td><code>{html.escape(digest)}</code></td><td>{html.escape(doing)}</td>"
            f'<td><progress value="{done}" max="{max(total, 1)}"></progress></td>'
            f"<td>{units.size(done)} of {units.size(total)}</td></tr>"
            for digest, (doing, done, total) in self.rows.items()
            if doing not in _HIDDEN
        )
        return f"<table>{rows}</table>" if rows else ""


class Pull(ProcessJob):
    """One pull."""

    variables = helper.REGISTRIES

    def __init__(self, granted: GrantedPull) -> None:
        """Start it."""
        self.image = granted.image
        self._layers = Rows()
        super().__init__("cellhold.cli", ["pull", "--progress", "json", "--", granted.image])

    def _note(self, said: dict[str, Any]) -> None:
        self._layers.note(said)

    def text(self) -> str:
        """Return how far it is, a line for each layer that is being pulled."""
        return "\n".join([self._summary(), *self._layers.lines()])

    def html(self) -> str:
        """Return the same as a table with a bar for each layer."""
        return f"<div>{html.escape(self._summary())}</div>{self._layers.table()}"

    def _summary(self) -> str:
        layers = len(self._layers.rows)
        if self.is_going_on:
            return f"pulling {escape(self.image)}: {self._layers.here} of {layers or '?'} layers are here"
        return f"pulled {escape(self.image)}: {layers} layers, {units.size(self._layers.new_bytes)} of them new, in {self.seconds:.1f} s"
