"""An image that gets a kernel, for a cell that waits for it (images/kernel_layer.py does it, in a process of its own)."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from cellhold import helper
from cellhold_kernel.jobs.job import Work
from cellhold_kernel.protocol.text import plain
from cellhold_kernel.settings import flags

if TYPE_CHECKING:
    from cellhold_kernel.gate.granted import GrantedContainer


class Layering(Work):
    """One kernel layer on its way."""

    variables = helper.PIP

    def __init__(self, granted: GrantedContainer) -> None:
        """Start it, for the image of that container; its limits hold where the packages are installed."""
        self.image = granted.spec.image
        self._done: list[str] = []
        super().__init__("cellhold_kernel.images.kernel_layer", [*flags.of(granted.spec.limits), "--", self.image])

    def _note(self, said: dict[str, Any]) -> None:
        if "doing" in said:
            self._done.append(plain(str(said["doing"])))

    def text(self) -> str:
        """What has been done, and what is being done."""
        return "\n".join([self._summary(), *(f"  {words}" for words in self._done)])

    def html(self) -> str:
        """The same as a list."""
        rows = "".join(f"<li>{html.escape(words)}</li>" for words in self._done)
        return f"<div>{html.escape(self._summary())}</div><ul>{rows}</ul>"

    def _summary(self) -> str:
        if self.is_going_on:
            return f"{plain(self.image)} has a Python and no kernel: it gets a layer with one, once ({self.seconds:.0f} s)"
        return f"{plain(self.image)} has got a layer with a kernel, in {self.seconds:.1f} s"
