"""What a notebook's own metadata, which travels with it unseen, may ask for.

It may choose among what is here (an image, a kernel, a host name) and lower what holds
without it; whatever allows the notebook more takes a cell, where it is seen. A key
without a row in the table is refused there.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cellhold.cgroups.processors import ranges
from cellhold.errors import NotAllowed
from cellhold.spec.fields import BY_KEY
from cellhold.spec.networks import NONE
from cellhold_kernel.gate.ceilings import built_in
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.policy import EGRESSES
from cellhold_kernel.settings.settings import GUARDS, KEYS, Kind, Trust
from cellhold_kernel.settings.workspace import WAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellhold_kernel.settings.settings import Settings

_SHOWN = 64
_CPUS_MOST = 4096  # the longest range of processors, which are compared one by one
_DEFAULTS: Mapping[str, Any] = {"network": NONE, "mount": "ro", "storage": "disk"}  # of keys that are not set


def check(settings: Settings, values: Mapping[str, Any], without: Mapping[str, Any]) -> None:
    """Raise NotAllowed for a key of the metadata that allows more than without it.

    values: key -> value as it will be; without: as it would be without metadata.
    """
    for key, word in settings.said.items():
        if word.trust is not Trust.METADATA or key not in values:  # a key of the network that the container does not have
            continue
        rule = MAY.get(key)
        may = rule is not None and rule(values[key], _base(key, without))
        if not may or (key == "memory-swap" and _swap(values) > _swap(without)):
            beneath = f", here {key}={escape(word.beneath.text, most=_SHOWN)}" if word.beneath else ""
            text = escape(word.text, most=_SHOWN)
            raise NotAllowed(
                f"cannot use {key}={text} of the notebook's metadata: nobody sees it there, so it can only"
                f" lower what holds without it{beneath}",
                hint=f"write it in a cell, where it is seen: %container {key}={text}",
            )


def _base(key: str, without: Mapping[str, Any]) -> Any:
    if key in without:
        return without[key]
    if key == "memory-swap":  # if it is not set, there is no swap at all
        return without.get("memory")
    if KEYS[key].kind in (Kind.LIMIT, Kind.CELL):
        return built_in(key)
    return _DEFAULTS.get(key, () if key in ("ports", "volume", "tmpfs") else None)


def _swap(values: Mapping[str, Any]) -> float:
    """Return the bytes of swap that may be used besides the memory."""
    memory, both = values.get("memory"), values.get("memory-swap")
    if memory is None:
        return math.inf
    return 0 if both is None else both - memory


def _always(_value: Any, _base: Any) -> bool:
    return True


def _is_lower(value: Any, base: Any) -> bool:
    return base is None or (value is not None and value <= base)


def _are_fewer(value: Any, base: Any) -> bool:
    """Return whether each port or mount is in `base`, or a writable form of it is."""
    return all(one in base or _as_writable(one) in base for one in value)


def _as_writable(one: Any) -> Any:
    return replace(one, read_only=False) if hasattr(one, "read_only") else one


def _is_part(value: str | None, base: str | None) -> bool:
    """Return whether a list of processors is a part of another."""
    if base is None or value is None:
        return base is None
    whole = ranges(base)
    return all(
        last - first < _CPUS_MOST and all(any(low <= cpu <= high for low, high in whole) for cpu in range(first, last + 1))
        for first, last in ranges(value)
    )


def _guards_more(value: Any, base: Any) -> bool:
    if base is None or value is None:
        return base is None
    return bool(value.share <= base.share and GUARDS.index(value.action) >= GUARDS.index(base.action))


def _is_narrower(value: str, base: str | None) -> bool:
    """Return whether an egress policy allows less; lists cannot be compared."""
    if value == base:
        return True
    are_comparable = value in EGRESSES and base in EGRESSES
    return value == EGRESSES[0] or (are_comparable and EGRESSES.index(value) < EGRESSES.index(str(base)))


MAY: dict[str, Callable[[Any, Any], bool]] = {
    "image": _always,  # one that is here: PullRequest refuses one that must be fetched
    "kernel": _always,
    "hostname": _always,
    "packages": _always,  # which run inside; what of them is fetched is for the policy to say
    "exclude-newer": _always,
    "env": _always,  # of programs inside, where its cells set them as well
    **{key: _is_lower for key, field in BY_KEY.items() if field.is_amount},
    "cpuset": _is_part,
    "cell-time": _is_lower,
    "output": _is_lower,
    "message": _is_lower,
    "memory-guard": _guards_more,
    "network": lambda value, base: value in (NONE, base),
    "ports": _are_fewer,
    "egress": _is_narrower,
    "storage": lambda value, base: value in ("tmpfs", base),  # tmpfs is memory, and limited as such
    "mount": lambda value, base: WAYS.index(value) <= WAYS.index(base),
    "volume": _are_fewer,
    "tmpfs": _always,  # memory too
}
