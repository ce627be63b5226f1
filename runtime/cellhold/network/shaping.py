"""Rates of devices, by token buckets (tc-tbf(8)).

What is beyond is delayed, then dropped.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

from cellhold.errors import SetupFailed
from cellhold.network import netns_exec, rtnetlink
from cellhold.spec.units import rate

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT_HANDLE, _LATENCY, _BURST_SECONDS, _LEAST_BURST = 0x10000, "50ms", 0.01, 32 << 10
_DETOUR, _INGRESS_HANDLE, _ALL, _ANY_CLASS, _ALL_OF_IT = "ifb-in", 0xFFFF0000, 0x0003, 0x10020, "0x0/0x0+0"


def shape_alone(device: str, rates: tuple[int | None, int | None], *, namespace: int, user: int) -> None:
    """Limit a device that has no other end on this host, in a container's namespaces.

    rates: bits per second to the container, and from it.

    Raises SetupFailed.
    """
    netns_exec.call("cellhold.network.shaping:run_alone", [user, namespace], json.dumps([device, *rates]), step="network.rates")


def run_alone(text: str) -> str:
    """Do the work of shape_alone() in the process that has entered the namespaces.

    What arrives is sent through another device first, ifb, which can have a rate.
    """
    from pyroute2 import IPRoute  # noqa: PLC0415  # as rtnetlink.py says

    name, downward, upward = json.loads(text)
    device = socket.if_nametoindex(name)
    try:
        with IPRoute() as inside:
            if upward is not None:
                shape(inside, device, upward)
            if downward is not None:
                inside.link("add", ifname=_DETOUR, kind="ifb")
                detour = socket.if_nametoindex(_DETOUR)
                inside.link("set", index=detour, state="up")
                shape(inside, detour, downward)
                inside.tc("add", "ingress", index=device, handle=_INGRESS_HANDLE)
                sent_on = {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": detour}
                inside.tc(
                    "add-filter",
                    "u32",
                    index=device,
                    parent=_INGRESS_HANDLE,
                    protocol=_ALL,
                    target=_ANY_CLASS,
                    keys=[_ALL_OF_IT],
                    action=sent_on,
                )
    except Exception as error:
        raise SetupFailed(f"cannot limit {name}: {rtnetlink.reason(error)}", step="network.rates") from error
    return ""


def describe_alone(device: str, downward: int | None, upward: int | None) -> Iterator[str]:
    """Iterate over what shape_alone() asks the kernel, for people."""
    if upward is not None:
        yield f"RTM_NEWQDISC({device}, tbf, rate={rate(upward)})"
    if downward is not None:
        yield f"RTM_NEWLINK({_DETOUR}, kind=ifb); RTM_NEWQDISC({_DETOUR}, tbf, rate={rate(downward)})"
        yield f"RTM_NEWQDISC({device}, ingress); RTM_NEWTFILTER({device}, u32, mirred egress redirect dev {_DETOUR})"


def shape(route: Any, device: int, bits: int) -> None:
    """A token bucket on what the device sends: so many bits per second."""
    byte_rate = bits // 8
    burst = max(int(byte_rate * _BURST_SECONDS), _LEAST_BURST)
    route.tc("add", "tbf", index=device, handle=_ROOT_HANDLE, rate=byte_rate, latency=_LATENCY, burst=burst)
