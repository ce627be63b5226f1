"""The facts about a container of this host: layers, network, steps, disk.

Read here from the store, the leases and the kernel's counters; the panel and the magics
have only what `Sandbox.inspect` returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError
from cellhold.spec.image_names import is_oci
from cellhold.spec.lifecycle import State
from cellhold_kernel.engine.base import Topic
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cellhold.network import Connection
    from cellhold.network.egress import Refused
    from cellhold_kernel.engine.local.container import InspectedContainer

_WORDS_MOST = 200  # characters of an instruction
_DETAIL_MOST = 300
_REFRESH_SECONDS, _ROOTLESS_REFRESH_SECONDS = 2.0, 10.0  # what was refused takes a process without root
_REFUSED_MOST = 8
_VICTIMS_MOST = 100


def _layers(container: InspectedContainer) -> dict[str, Any]:
    name = container.spec.image
    if not is_oci(name):
        words = "this machine's own programs and libraries" if name == "host" else escape(name, most=_WORDS_MOST)
        only = {"name": "host" if name == "host" else "directory", "size": None, "text": words, "shared": "read-only"}
        return {"layers": [only]}
    try:
        return {"layers": list(_of_image(name))[::-1]}
    except CellholdError:  # it was removed meanwhile
        return {"layers": []}


def _of_image(name: str) -> Iterator[dict[str, Any]]:
    from cellhold.image import layer_diff, stored  # noqa: PLC0415  # what the host image does without
    from cellhold.store.home import open_home  # noqa: PLC0415

    home = open_home()
    found = stored.find(name, home)
    images, containers = layer_diff.sharers(home)
    steps = [entry.created_by or "" for entry in found.config.history if not entry.empty_layer]
    for number, chain in enumerate(found.chain_ids):
        others = images[chain] + containers[chain] - 2  # but for this image and this container
        yield {
            "name": found.config.diff_ids[number].short,
            "size": home.layers.facts(chain).size_bytes,
            "text": escape(steps[number], most=_WORDS_MOST) if number < len(steps) else "",
            "shared": f"{others} others" if others > 0 else "",
        }


def _network(container: InspectedContainer) -> dict[str, Any]:
    from cellhold.store import subids  # noqa: PLC0415  # imported for a network's view

    connections: list[dict[str, Any]] = []
    if container.state in (State.RUNNING, State.PAUSED):
        refused = _refused(container)
        connections = [_connection(one, refused if not number else []) for number, one in enumerate(container.connections())]
    seconds = _ROOTLESS_REFRESH_SECONDS if subids.is_rootless() else _REFRESH_SECONDS
    return {"connections": connections, "refresh_seconds": seconds}


def _refused(container: InspectedContainer) -> list[Refused]:
    try:
        return container.refused()
    except CellholdError:  # it is on no network, or just going away
        return []


def _connection(one: Connection, refused: list[Refused]) -> dict[str, Any]:
    from cellhold.network import ports  # noqa: PLC0415  # as above
    from cellhold_kernel.settings.visiting import proxied, straight  # noqa: PLC0415

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
        "received_bytes": one.received_bytes,
        "sent_bytes": one.sent_bytes,
        "refused": [{**row._asdict(), "where": row.where} for row in refused[:_REFUSED_MOST]],
        "places_refused": len(refused),
    }


def _traffic(container: InspectedContainer) -> dict[str, Any]:
    counted = [one for one in container.connections() if one.received_bytes is not None]
    if not counted:
        return {"received": None, "sent": None}
    return {"received": sum(one.received_bytes or 0 for one in counted), "sent": sum(one.sent_bytes or 0 for one in counted)}


def _trace(container: InspectedContainer) -> dict[str, Any]:
    from cellhold.container.trace import format_trace  # noqa: PLC0415  # imported for the trace

    begin, calls = min((step.start for step in container.timings), default=0.0), container.calls()
    steps = [
        {
            "name": step.name,
            "detail": step.detail[:_DETAIL_MOST],
            "calls": calls.get(step.name) or (step.detail.split("; ") if "; " in step.detail else ()),
            "at": step.start - begin,
            "took": step.seconds,
        }
        for step in container.timings
        if step.name != "program.wait"  # which is the container's life, not how it was made
    ]
    return {"steps": steps, "text": format_trace(container.timings)}


def _disk(container: InspectedContainer) -> dict[str, Any]:
    free, total = container.writable_layer()
    return {"free": free, "total": total}


def _oom_victims(container: Any) -> dict[str, Any]:
    return {"names": list(container.oom_victims(_VICTIMS_MOST))}


def inspect(container: InspectedContainer, topic: Topic) -> Mapping[str, Any]:
    """Return the facts of a topic.

    Raises CellholdError, and OSError where the container is being removed.
    """
    return _TOPICS[topic](container)


_TOPICS: dict[Topic, Callable[[Any], dict[str, Any]]] = {
    Topic.LAYERS: _layers,
    Topic.NETWORK: _network,
    Topic.TRAFFIC: _traffic,
    Topic.TRACE: _trace,
    Topic.DISK: _disk,
    Topic.OOM_VICTIMS: _oom_victims,
}
