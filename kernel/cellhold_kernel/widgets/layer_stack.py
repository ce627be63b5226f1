"""The layers of a container's root, for the panel and for `%container layers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError
from cellhold.spec import units
from cellhold_kernel.engine.base import Topic

if TYPE_CHECKING:
    from cellhold_kernel.engine.holder import HeldSandbox


def layers(kernel: HeldSandbox) -> list[dict[str, Any]]:
    """Return the read-only layers (Topic.LAYERS), topmost first.

    Returns [] if the engine does not know them.
    """
    try:
        return list(kernel.sandbox.inspect(Topic.LAYERS)["layers"])
    except CellholdError:
        return []


def text(kernel: HeldSandbox) -> str:
    """Return the layers as lines of text, the writable layer first."""
    limit = kernel.spec.limits.disk_bytes
    try:
        disk = kernel.sandbox.inspect(Topic.DISK)
        free, total = disk["free"], disk["total"]
        used = f"{units.size(total - free)} of {units.size(limit)}" if limit else f"{units.size(free)} left on its disk"
    except CellholdError:
        used = "not measured"
    rows = [("writable", used, "what this container has written", "its own")]
    for layer in layers(kernel):
        size = "" if layer["size"] is None else units.size(layer["size"])
        rows.append((layer["name"], size, layer["text"], layer["shared"]))
    return "\n".join(f"{name:<14}{size:>24}  {words:<60.60}  {shared}".rstrip() for name, size, words, shared in rows)
