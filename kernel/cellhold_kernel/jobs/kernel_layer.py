"""An image that gets a kernel, for a cell that waits for it.

    python -m cellhold_kernel.jobs.kernel_layer    its request as JSON on standard input

is the process that does it (images/kernel_layer.py), and says how far it is in lines of
JSON.
"""

from __future__ import annotations

import html
import json
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from cellhold import helper
from cellhold_kernel.jobs.job import ProcessJob
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold_kernel.gate.granted import GrantedContainer


class Layering(ProcessJob):
    """One kernel layer on its way."""

    variables = helper.PIP

    def __init__(self, granted: GrantedContainer, *, instead_of: Sequence[str] = ()) -> None:
        """Start it, for the image of that container.

        The container's limits hold where the packages are installed. instead_of: as of
        admission.admitted().
        """
        from cellhold.store import spec_codec  # noqa: PLC0415  # for this alone

        self.image = granted.spec.image
        self._done: list[str] = []
        job = {
            "image": self.image,
            "limits": spec_codec.limits_to_json(granted.spec.limits),
            "owner": granted.spec.owner,
            "claim": None if granted.claim is None else granted.claim.write(),
            "instead_of": list(instead_of),
        }
        super().__init__("cellhold_kernel.jobs.kernel_layer", [], given=json.dumps(job).encode())

    def _note(self, said: dict[str, Any]) -> None:
        if "doing" in said:
            self._done.append(escape(str(said["doing"])))

    def text(self) -> str:
        """Return what has been done, and what is being done."""
        return "\n".join([self._summary(), *(f"  {words}" for words in self._done)])

    def html(self) -> str:
        """Return the same as a list."""
        rows = "".join(f"<li>{html.escape(words)}</li>" for words in self._done)
        return f"<div>{html.escape(self._summary())}</div><ul>{rows}</ul>"

    def _summary(self) -> str:
        if self.is_going_on:
            return f"{escape(self.image)} has a Python and no kernel: it gets a layer with one, once ({self.seconds:.0f} s)"
        return f"{escape(self.image)} has got a layer with a kernel, in {self.seconds:.1f} s"


def main() -> int:
    """The process; its last line is {"image": ...} or {"error": ...}."""
    from cellhold.build.options import Options  # noqa: PLC0415  # what the host kernel does without
    from cellhold.errors import CellholdError  # noqa: PLC0415
    from cellhold.store import spec_codec  # noqa: PLC0415
    from cellhold.store.home import open_home  # noqa: PLC0415
    from cellhold_kernel.gate import admission  # noqa: PLC0415
    from cellhold_kernel.gate.claim import Claim  # noqa: PLC0415
    from cellhold_kernel.images.kernel_layer import derive  # noqa: PLC0415

    began = time.monotonic()
    job = json.load(sys.stdin)
    try:
        claim = None if job["claim"] is None else Claim(**job["claim"])
        admit = partial(admission.admitted, claim=claim, instead_of=job["instead_of"])
        around = Options(limits=spec_codec.limits_from_json(job["limits"]), owner=job["owner"], admit=admit)
        image = derive(job["image"], open_home(), around, lambda text: _say(doing=text, seconds=time.monotonic() - began))
    except CellholdError as error:
        _say(error=type(error).__name__, sentence=str(error), hint=error.hint)
        return 1
    _say(image=str(image.id))
    return 0


def _say(**members: object) -> None:
    print(json.dumps(members), flush=True)  # noqa: T201  # what a program reads


if __name__ == "__main__":
    sys.exit(main())
