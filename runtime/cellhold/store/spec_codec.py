"""Encode a Spec as JSON for the record of a kept container, and decode it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cellhold.spec.limits import Limits
from cellhold.spec.spec import Mount, Spec
from cellhold.store import table

if TYPE_CHECKING:
    from cellhold.spec.spec import Device


def to_json(spec: Spec) -> dict[str, Any]:
    """Return a spec as a JSON object: dictionaries, lists, texts and numbers."""
    mappings = {"env": dict(spec.env), "labels": dict(spec.labels)}
    return {
        **{
            name: value
            for name, value in vars(spec).items()
            if name not in ("env", "labels", "limits", "mounts", "capabilities", "health", "devices", "ports", "rootfs", "exchange")
        },
        **mappings,
        "capabilities": None if spec.capabilities is None else sorted(spec.capabilities),
        "limits": limits_to_json(spec.limits),
        "mounts": [_without_descriptors(entry) for entry in spec.mounts],
        "health": None if spec.health is None else asdict(spec.health),
        "devices": [_without_descriptors(entry) for entry in spec.devices],
        "ports": [asdict(entry) for entry in spec.ports],
    }


def _without_descriptors(entry: Mount | Device) -> dict[str, Any]:
    """Return the fields of an entry without descriptors.

    Another process opens them anew, and compares what has an identity.
    """
    found = {name: value for name, value in vars(entry).items() if name != "opened"}
    if isinstance(entry, Mount):
        found["fixed"] = [{name: value for name, value in vars(one).items() if name != "opened"} for one in entry.fixed]
    return found


def limits_to_json(limits: Limits) -> dict[str, Any]:
    """Return limits as a JSON object."""
    return {
        **vars(limits),
        "io": [asdict(entry) for entry in limits.io],
        "rlimits": {name: list(pair) for name, pair in limits.rlimits.items()},
    }


def from_json(text: dict[str, Any]) -> Spec:
    """Return the spec that to_json() encoded.

    Missing members have a Spec's defaults. Raises ValueError, also as InvalidSpec.
    """
    return table.build(Spec, text)


def limits_from_json(text: dict[str, Any]) -> Limits:
    """Return the limits that limits_to_json() encoded."""
    return table.build(Limits, text)
