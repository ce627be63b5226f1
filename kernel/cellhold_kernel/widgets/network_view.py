"""The container's connections, for the panel: host, bridge, veth and egress.

Each connection is a mapping (Topic.NETWORK; made by engine/local/inspection.py): name,
bridge, gateway, subnet, device, inside, address, address6, ports, policy, internal,
received, sent (packets), received_bytes, sent_bytes, refused, places_refused.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError
from cellhold.spec.networks import NONE
from cellhold_kernel.engine.base import Topic

if TYPE_CHECKING:
    from cellhold_kernel.engine.holder import HeldSandbox

_REFRESH_SECONDS = 2.0  # where the engine does not say


class NetworkView:
    """The connections, refreshed every few seconds."""

    def __init__(self) -> None:
        """Start without connections."""
        self._kernel: HeldSandbox | None = None
        self._due = 0.0
        self._connections: list[dict[str, Any]] = []

    def describe(self, kernel: HeldSandbox | None) -> list[dict[str, Any]]:
        """Return the connections; none without a network, or if the engine has none."""
        if kernel is None or kernel.spec.network == NONE:
            return []
        now = time.monotonic()
        if kernel is not self._kernel or now >= self._due:
            self._kernel, self._due, self._connections = kernel, now + _REFRESH_SECONDS, []
            with suppress(CellholdError, OSError):  # it is being removed
                network = kernel.sandbox.inspect(Topic.NETWORK)
                self._connections, self._due = network["connections"], now + network["refresh_seconds"]
        return self._connections


def text(connections: list[dict[str, Any]]) -> list[str]:
    """Return the connections as lines of text."""
    lines = []
    for one in connections:
        addresses = f"{one['address']} {one['address6']}".rstrip()
        lines.append(
            f"{one['name']}: {one['inside']} {addresses} = {one['device']} on {one['bridge']} {one['gateway']}, egress {one['policy']}"
        )
        lines += [f"  published {port['told']}" for port in one["ports"]]
        lines += [f"  refused {place['protocol']} to {place['where']}, {place['packets']} packets" for place in one["refused"]]
    return lines
