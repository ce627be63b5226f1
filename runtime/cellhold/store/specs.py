"""A Spec as JSON has it, in the record of a container that is kept, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cellhold.spec import Device, Fixed, Health, IoLimit, Limits, Mount, Port, Spec


def plain(spec: Spec) -> dict[str, Any]:
    """For JSON: dictionaries, lists, texts and numbers."""
    mappings = {"env": dict(spec.env), "labels": dict(spec.labels)}
    return {
        **{
            name: value
            for name, value in vars(spec).items()
            if name not in ("env", "labels", "limits", "mounts", "capabilities", "health", "devices", "ports", "rootfs")
        },
        **mappings,
        "capabilities": None if spec.capabilities is None else sorted(spec.capabilities),
        "limits": plain_limits(spec.limits),
        "mounts": [_written(entry) for entry in spec.mounts],
        "health": None if spec.health is None else asdict(spec.health),
        "devices": [_written(entry) for entry in spec.devices],
        "ports": [asdict(entry) for entry in spec.ports],
    }


def _written(entry: Mount | Device) -> dict[str, Any]:
    """Its fields without descriptors: another process opens them anew, and compares what has an identity."""
    found = {name: value for name, value in vars(entry).items() if name != "opened"}
    if isinstance(entry, Mount):
        found["fixed"] = [{name: value for name, value in vars(one).items() if name != "opened"} for one in entry.fixed]
    return found


def _mount(text: dict[str, Any]) -> Mount:
    """What _written() was given; records of before there were identities have none."""
    identity = text.get("identity")
    fixed = (Fixed(**{**one, "identity": tuple(one["identity"])}) for one in text.get("fixed", ()))
    more = {"hidden": tuple(text["hidden"]), "fixed": tuple(fixed), "identity": None if identity is None else tuple(identity)}
    return Mount(**{**text, **more})


def plain_limits(limits: Limits) -> dict[str, Any]:
    """The same of the limits alone."""
    return {
        **vars(limits),
        "io": [asdict(entry) for entry in limits.io],
        "rlimits": {name: list(pair) for name, pair in limits.rlimits.items()},
    }


def spec(text: dict[str, Any]) -> Spec:
    """What plain() was given. Raises InvalidSpec, TypeError or ValueError for anything else."""
    tuples = ("args", "groups", "aliases")
    return Spec(
        **{
            **text,
            **{name: tuple(text[name]) for name in tuples},
            "entrypoint": None if text["entrypoint"] is None else tuple(text["entrypoint"]),
            "hosts": tuple((name, address) for name, address in text["hosts"]),
            "capabilities": None if text["capabilities"] is None else frozenset(text["capabilities"]),
            "limits": limits(text["limits"]),
            "health": None if text["health"] is None else Health(**{**text["health"], "args": tuple(text["health"]["args"])}),
            "ports": tuple(Port(**entry) for entry in text["ports"]),
            "devices": tuple(Device(**entry) for entry in text["devices"]),
            "mounts": tuple(_mount(entry) for entry in text["mounts"]),
        }
    )


def limits(text: dict[str, Any]) -> Limits:
    """What plain_limits() was given."""
    return Limits(
        **{
            **text,
            "io": tuple(IoLimit(**entry) for entry in text["io"]),
            "rlimits": {name: (soft, hard) for name, (soft, hard) in text["rlimits"].items()},
        }
    )
