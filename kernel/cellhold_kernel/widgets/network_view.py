"""How the container is connected, for the panel: the host, the bridge, the cable, what is let through and what was refused."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError
from cellhold.network import NONE, ports
from cellhold.spec.lifecycle import State
from cellhold.store import subids
from cellhold_kernel.settings.visiting import proxied, straight

if TYPE_CHECKING:
    from cellhold.network import Connection
    from cellhold.network.egress import Refused
    from cellhold_kernel.engine.holder import Held

_SECONDS, _ROOTLESS_SECONDS = 2.0, 10.0  # between two looks at what was refused, which without root take a process of their own
_SHOWN = 8  # places


class Wiring:
    """What there is to show, asked for now and then."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self._kernel: Held | None = None
        self._due = 0.0
        self._known: list[dict[str, Any]] = []

    def describe(self, kernel: Held | None) -> list[dict[str, Any]]:
        """Each of its networks, as JSON has it; none where it has none."""
        if kernel is None or kernel.spec.network == NONE:
            return []
        now = time.monotonic()
        if kernel is not self._kernel or now >= self._due:
            self._kernel, self._due = kernel, now + (_ROOTLESS_SECONDS if subids.is_rootless() else _SECONDS)
            self._known = []
            with suppress(CellholdError, OSError):  # it is just going away
                if kernel.box.state in (State.RUNNING, State.PAUSED):
                    refused = refused_by(kernel)
                    self._known = [_describe_one(one, refused if not number else []) for number, one in enumerate(kernel.box.connections())]
        return self._known


def refused_by(kernel: Held) -> list[Refused]:
    """What was refused, as far as it can be told."""
    with suppress(CellholdError):  # it is on no network, or just going away
        return kernel.box.refused()
    return []


def _describe_one(one: Connection, refused: list[Refused]) -> dict[str, Any]:
    lease, network = one.lease, one.network
    return {
        "name": network.name,
        "bridge": network.bridge,
        "gateway": network.gateway,
        "subnet": network.subnet,
        "device": lease.device,
        "inside": lease.inside,
        "address": lease.address,
        "address6": lease.address6,
        "ports": [{"told": ports.format(port), "straight": straight(port), "proxied": proxied(port)} for port in lease.ports],
        "policy": lease.policy,
        "internal": network.internal,
        "received": one.received_packets,
        "sent": one.sent_packets,
        "refused": [{**place._asdict(), "where": place.where} for place in refused[:_SHOWN]],
        "places_refused": len(refused),
    }


def text(connections: list[dict[str, Any]]) -> list[str]:
    """The same in lines, for those who have no browser."""
    lines = []
    for one in connections:
        addresses = f"{one['address']} {one['address6']}".rstrip()
        lines.append(
            f"{one['name']}: {one['inside']} {addresses} = {one['device']} on {one['bridge']} {one['gateway']}, egress {one['policy']}"
        )
        lines += [f"  published {port['told']}" for port in one["ports"]]
        lines += [f"  refused {place['protocol']} to {place['where']}, {place['packets']} packets" for place in one["refused"]]
    return lines
