"""`%container usage`, `layers` and `trace`: what the panel shows, for those who have no browser."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from cellhold import quantity, story
from cellhold.errors import CellholdError, InvalidSpec, NotAllowed
from cellhold_kernel.magics import limits
from cellhold_kernel.tail import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold_kernel.cellkernel import CellKernel
    from cellhold_kernel.session import Session


def shown(session: Session, action: Sequence[str]) -> dict[str, str]:
    """What the action shows, as a MIME bundle. Raises NotAllowed where there is no container, InvalidSpec for more words."""
    word, *more = action
    if more:
        raise InvalidSpec(f"cannot use {plain(more[0], most=40)}: %container {word} takes no more words")
    if word == "usage":
        return limits.shown(session)
    kernel = session.current or session.stopped
    if kernel is None:
        raise NotAllowed(f"cannot show the {word} of the container: there is none")
    return _text(story.text(kernel.box.timings) if word == "trace" else _layers(kernel))


def _layers(kernel: CellKernel) -> str:
    """The stack, the topmost first; sizes of the image's layers are the store's."""
    lines = []
    try:
        free, total = kernel.box.writable_layer()
        limit = kernel.spec.limits.disk_bytes
        used = f"{quantity.size(total - free)} of {quantity.size(limit)}" if limit else f"{quantity.size(free)} left on its disk"
    except CellholdError:
        used = "not measured"
    lines.append(f"{'writable':<14}{used:>24}  (writes of this container)")
    return "\n".join([*lines, *_image_layers(kernel.box.spec.image)])


def _image_layers(name: str) -> list[str]:
    from cellhold import image  # noqa: PLC0415  # as below

    if not image.is_oci(name):
        return [f"{'read-only':<14}{'':>24}  {plain(name)}"]
    from cellhold.image import stored  # noqa: PLC0415  # what the host image does without
    from cellhold.store.home import open_home  # noqa: PLC0415

    home = open_home()
    found = stored.find(name, home)
    steps = [entry.created_by for entry in found.config.history if not entry.empty_layer]
    lines = []
    for number, chain in enumerate(found.chain_ids):
        size = home.layers.facts(chain).size_bytes
        words = steps[number] if number < len(steps) else ""
        lines.append(f"{chain.short:<14}{quantity.size(size):>24}  {plain(words or '', most=80)}")
    return lines[::-1]


def _text(text: str) -> dict[str, str]:
    return {"text/plain": text, "text/html": f"<pre>{escape(text)}</pre>"}
