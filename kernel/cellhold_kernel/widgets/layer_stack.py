"""The layers that a container's root lies on, for the panel and for `%container layers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cellhold import image
from cellhold.errors import CellholdError
from cellhold.spec import units
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold_kernel.engine.holder import Held

_LONGEST = 200


class Layer(NamedTuple):
    """One layer. size: bytes, None where it is not measured; text: the instruction that made it; shared: by how many others, in words."""

    name: str
    size: int | None
    text: str
    shared: str


def layers(kernel: Held) -> list[Layer]:
    """The read-only ones, the topmost first."""
    name = kernel.box.spec.image
    if not image.is_oci(name):
        return [Layer("host" if name == "host" else "directory", None, _describe_lowest(kernel), "read-only")]
    try:
        return list(_of_image(name))[::-1]
    except CellholdError:  # it was removed meanwhile
        return []


def _describe_lowest(kernel: Held) -> str:
    if kernel.box.spec.image != "host":
        return escape(kernel.box.spec.image, most=_LONGEST)
    return "this machine's own programs and libraries"


def _of_image(name: str) -> Iterator[Layer]:
    from cellhold.image import layer_diff, stored  # noqa: PLC0415  # what the host image does without
    from cellhold.store.home import open_home  # noqa: PLC0415

    home = open_home()
    found = stored.find(name, home)
    images, containers = layer_diff.sharers(home)
    steps = [entry.created_by or "" for entry in found.config.history if not entry.empty_layer]
    for number, chain in enumerate(found.chain_ids):
        others = images[chain] + containers[chain] - 2  # but for this image and this container
        words = escape(steps[number], most=_LONGEST) if number < len(steps) else ""
        yield Layer(
            found.config.diff_ids[number].short, home.layers.facts(chain).size_bytes, words, f"{others} others" if others > 0 else ""
        )


def text(kernel: Held) -> str:
    """The stack in lines, the writable layer first."""
    limit = kernel.spec.limits.disk_bytes
    try:
        free, total = kernel.box.writable_layer()
        used = f"{units.size(total - free)} of {units.size(limit)}" if limit else f"{units.size(free)} left on its disk"
    except CellholdError:
        used = "not measured"
    rows = [("writable", used, "what this container has written", "its own")]
    rows += [(layer.name, "" if layer.size is None else units.size(layer.size), layer.text, layer.shared) for layer in layers(kernel)]
    return "\n".join(f"{name:<14}{size:>24}  {words:<60.60}  {shared}".rstrip() for name, size, words, shared in rows)
