"""What a notebook's own metadata may ask for: it travels with the notebook, and nobody sees it.

It may choose among what is here (an image, a kernel, a host name) and lower what holds without it;
whatever gives the notebook more is for a cell, where it is seen. A key without a row in the table
cannot be said there.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cellhold.cgroups.processors import ranges
from cellhold.errors import NotAllowed
from cellhold.network import NONE
from cellhold.spec.fields import BY_KEY
from cellhold_kernel.gate.ceilings import built_in
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.policy import EGRESSES
from cellhold_kernel.settings.settings import GUARDS, KEYS, Kind, Trust
from cellhold_kernel.settings.workspace import WAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellhold_kernel.settings.settings import Settings

_SHOWN = 64
_CPUS_MOST = 4096  # of a list of processors that is compared one by one
_DEFAULTS: Mapping[str, Any] = {"network": NONE, "mount": "ro", "storage": "disk"}  # when nobody says it


def check(settings: Settings, values: Mapping[str, Any], without: Mapping[str, Any]) -> None:
    """Raise NotAllowed for a word of the metadata that gives more than there would be without it.

    values: key -> value as it is to be; without: as it would be if the metadata said nothing.
    """
    for key, word in settings.said.items():
        if word.trust is not Trust.METADATA or key not in values:  # what a container without a network has no use for
            continue
        rule = MAY.get(key)
        may = rule is not None and rule(values[key], _base(key, without))
        if not may or (key == "memory-swap" and _swap(values) > _swap(without)):
            beneath = f", here {key}={escape(word.beneath.text, most=_SHOWN)}" if word.beneath else ""
            text = escape(word.text, most=_SHOWN)
            raise NotAllowed(
                f"cannot use {key}={text} of the notebook's metadata: nobody sees it there, so that it can only"
                f" take away from what holds without it{beneath}",
                hint=f"write it where it is seen, in a cell: %container {key}={text}",
            )


def _base(key: str, without: Mapping[str, Any]) -> Any:
    if key in without:
        return without[key]
    if key == "memory-swap":  # when nobody says it, there is no swap at all
        return without.get("memory")
    if KEYS[key].kind in (Kind.LIMIT, Kind.CELL):
        return built_in(key)
    return _DEFAULTS.get(key, () if key in ("ports", "volume", "tmpfs") else None)


def _swap(values: Mapping[str, Any]) -> float:
    """Bytes of swap that may be used beside the memory."""
    memory, both = values.get("memory"), values.get("memory-swap")
    if memory is None:
        return math.inf
    return 0 if both is None else both - memory


def _always(_value: Any, _base: Any) -> bool:
    return True


def _is_lower(value: Any, base: Any) -> bool:
    return base is None or (value is not None and value <= base)


def _are_fewer(value: Any, base: Any) -> bool:
    """Of ports and mounts: each of them is there without the metadata, too, or one that can do more."""
    return all(one in base or _as_writable(one) in base for one in value)


def _as_writable(one: Any) -> Any:
    return replace(one, read_only=False) if hasattr(one, "read_only") else one


def _is_part(value: str | None, base: str | None) -> bool:
    """Of lists of processors."""
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
    """Of egress policies; what a list (allow=...) lets through nobody can compare."""
    if value == base:
        return True
    known = value in EGRESSES and base in EGRESSES
    return value == EGRESSES[0] or (known and EGRESSES.index(value) < EGRESSES.index(str(base)))


MAY: dict[str, Callable[[Any, Any], bool]] = {
    "image": _always,  # one that is here: what has to be fetched is refused by PullRequest
    "kernel": _always,
    "hostname": _always,
    **{key: _is_lower for key, field in BY_KEY.items() if field.is_amount},
    "cpuset": _is_part,
    "cell-time": _is_lower,
    "output": _is_lower,
    "message": _is_lower,
    "memory-guard": _guards_more,
    "network": lambda value, base: value in (NONE, base),
    "ports": _are_fewer,
    "egress": _is_narrower,
    "storage": lambda value, base: value in ("tmpfs", base),  # which takes memory, and a limit of that
    "mount": lambda value, base: WAYS.index(value) <= WAYS.index(base),
    "volume": _are_fewer,
    "tmpfs": _always,  # memory too
}
