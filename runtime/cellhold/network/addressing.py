"""Subnets of networks, chosen or checked.

They overlap with nothing that this host is connected to.

Each network has a subnet of IPv4, and where the host speaks IPv6 one of that: unique
local addresses (RFC 4193) made of the network's id.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cellhold.errors import InvalidSpec, NotAllowed, NotSupported
from cellhold.network import proc_net, sysctl

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cellhold.network.model import Network
    from cellhold.network.proc_net import Subnet

_POOL = ipaddress.ip_network("10.87.0.0/16")  # cut into subnets of 254 containers; podman's is 10.88, docker's 172.17
_PREFIX = 24
_PREFIX6 = 64
_LEAST_BITS = 2  # of a host's part: the host and one container


class Addressing(NamedTuple):
    """The subnets of a network, and the host's addresses on them.

    subnet6 and gateway6 are "" for one without IPv6.
    """

    subnet: str
    gateway: str
    subnet6: str = ""
    gateway6: str = ""


class Taken(NamedTuple):
    """A subnet that is in use, and by whom: "network lab"."""

    user: str
    subnet: Subnet


@dataclass(frozen=True, kw_only=True)
class Request:
    """The addressing that somebody wants; None = any.

    ipv6: None = where the host speaks it.
    """

    subnet: str | None
    gateway: str | None
    subnet6: str | None
    gateway6: str | None
    ipv6: bool | None

    @classmethod
    def parse(cls, subnets: Sequence[str], gateways: Sequence[str], *, ipv6: bool | None) -> Request:
        """Sort subnets and gateways by family.

        Raises InvalidSpec for two of a family, NotSupported for IPv6 where the host
        does not speak it.
        """
        subnet, subnet6 = _by_family("subnet", subnets)
        gateway, gateway6 = _by_family("gateway", gateways)
        if subnet6 and ipv6 is False:
            raise InvalidSpec(f"cannot use subnet={subnet6} without IPv6", hint="leave one of them out")
        if (subnet6 or ipv6) and not sysctl.has_ipv6():
            raise NotSupported("cannot make a network with IPv6: this host does not speak it", hint="sysctl net.ipv6.conf.all.disable_ipv6")
        return cls(subnet=subnet, gateway=gateway, subnet6=subnet6, gateway6=gateway6, ipv6=ipv6)

    def choose(self, number: str, taken: Sequence[Taken]) -> Addressing:
        """Return what is wanted, and what is free where nothing is.

        number: the network's id.

        Raises InvalidSpec for a subnet that is not one or is taken and for a gateway
        outside of it, NotAllowed where all are taken.
        """
        subnet = _free(taken) if self.subnet is None else _check(self.subnet, taken)
        gateway = _gateway(self.gateway, subnet)
        if not (self.ipv6 or self.subnet6 or (self.ipv6 is None and sysctl.has_ipv6())):
            if self.gateway6:
                raise InvalidSpec(f"cannot use gateway={self.gateway6}: the network has no IPv6", hint="--ipv6")
            return Addressing(str(subnet), gateway)
        own = f"fd{number[:2]}:{number[2:6]}:{number[6:10]}:{number[10:]}::/{_PREFIX6}"
        subnet6 = _check(self.subnet6 or own, taken)
        return Addressing(str(subnet), gateway, str(subnet6), _gateway(self.gateway6, subnet6))


def in_use(networks: Iterable[Network]) -> Iterator[Taken]:
    """Iterate over the subnets of this host's devices, and of those networks."""
    for device, subnet in proc_net.routes():
        yield Taken(f"device {device} of this host", subnet)
    for network in networks:
        for text in (network.subnet, network.subnet6):
            if text:
                yield Taken(f"network {network.name}", ipaddress.ip_network(text))


def _by_family(what: str, texts: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the one of IPv4 and the one of IPv6.

    Raises InvalidSpec for two of a family.
    """
    by_family: dict[bool, str] = {}
    for text in texts:
        if (is_ipv6 := ":" in text) in by_family:
            raise InvalidSpec(f"cannot use {what}={text}: there is {by_family[is_ipv6]} already", hint="one of IPv4, one of IPv6")
        by_family[is_ipv6] = text
    return by_family.get(False), by_family.get(True)


def _free(taken: Sequence[Taken]) -> Subnet:
    for subnet in _POOL.subnets(new_prefix=_PREFIX):
        if not any(proc_net.overlap(subnet, other) for _user, other in taken):
            return subnet
    raise NotAllowed(f"cannot make a network: every /{_PREFIX} of {_POOL} is taken", hint="cellhold network prune, or --subnet")


def _check(text: str, taken: Sequence[Taken]) -> Subnet:
    try:
        subnet = ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidSpec(f"cannot use subnet={text}: {error}", hint="10.99.0.0/24 or fd00:99::/64, for example") from error
    if subnet.version == 6 and subnet.prefixlen != _PREFIX6:  # noqa: PLR2004
        raise InvalidSpec(f"cannot use subnet={text}: IPv6 subnets must be /{_PREFIX6} (RFC 4291)", hint="fd00:99::/64, for example")
    if subnet.max_prefixlen - subnet.prefixlen < _LEAST_BITS:
        raise InvalidSpec(f"cannot use subnet={text}: it has no room for a container")
    for user, other in taken:
        if proc_net.overlap(subnet, other):
            raise InvalidSpec(f"cannot use subnet={text}: it overlaps with {other}, {user}", hint="leave it out for a free one")
    return subnet


def _gateway(text: str | None, subnet: Subnet) -> str:
    """Return the host's address: that one, or the subnet's first."""
    if text is None:
        return str(subnet[1])
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise InvalidSpec(f"cannot use gateway={text}: {error}") from error
    if address not in subnet or address in (subnet.network_address, subnet.broadcast_address):
        raise InvalidSpec(f"cannot use gateway={text}: it is not an address of a host in {subnet}")
    return str(address)
