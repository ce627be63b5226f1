"""Networks and leases as values, with the names and addresses made from them.

HOME/networks/            locked (flock) while a network, a lease or the rules are
                          changed
    NAME/network.json     a Network; networks.py reads and writes it
    NAME/leases/ID        a Lease, the container's whose id that is; leases.py reads and
                          writes it
"""

from __future__ import annotations

import hashlib
import ipaddress
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from cellhold.spec.spec import Port  # noqa: TC001  # store/table.py checks what it reads by it

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cellhold.store.home import Home

LEASES = "leases"


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network.

    id: twelve hexadecimal digits. bridge: the name of its device. subnet:
    "10.87.3.0/24".

    gateway: the host's address on it.
    subnet6, gateway6: the same for IPv6, "fd3c:9a01:77e0:5d::/64"; "" for a network
    that has none.
    internal: nothing beyond it can be reached. dns: servers that are asked for the
    names of others; () = this host's.
    """

    name: str
    id: str
    bridge: str
    subnet: str
    gateway: str
    subnet6: str = ""
    gateway6: str = ""
    internal: bool = False
    dns: tuple[str, ...] = ()
    created: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def prefix(self) -> int:
        """Bits of the subnet's mask."""
        return ipaddress.ip_network(self.subnet).prefixlen

    def directory(self, home: Home) -> Path:
        """Return where it is kept."""
        return home.networks / self.name

    def leases(self, home: Home) -> Path:
        """Return the directory of its leases."""
        return home.networks / self.name / LEASES

    def addresses(self, after: str | None = None) -> Iterator[str]:
        """Iterate over those that containers can have, the lowest first.

        after: begin behind that one; those before it come last.
        """
        subnet = ipaddress.IPv4Network(self.subnet)
        first, last = int(subnet.network_address) + 1, int(subnet.broadcast_address) - 1
        begin = first
        with suppress(ValueError):
            begin = max(first, min(int(ipaddress.IPv4Address(after or "")) + 1, last + 1))
        for number in chain(range(begin, last + 1), range(first, begin)):
            if (address := str(ipaddress.IPv4Address(number))) != self.gateway:
                yield address

    def has(self, address: str) -> bool:
        """Whether that is an address of its subnets."""
        parsed = ipaddress.ip_address(address)
        return any(parsed in ipaddress.ip_network(subnet) for subnet in (self.subnet, self.subnet6) if subnet)

    def address6(self, address: str) -> str:
        """Return the IPv6 address that goes with an address of the subnet.

        It is as far into the other subnet; "" where there is none.
        """
        if not self.subnet6:
            return ""
        offset = int(ipaddress.IPv4Address(address)) - int(ipaddress.IPv4Network(self.subnet).network_address)
        return str(ipaddress.IPv6Network(self.subnet6)[offset])

    def to_json(self) -> dict[str, Any]:
        """Return it as values for JSON."""
        return {**asdict(self), "labels": dict(self.labels)}


@dataclass(frozen=True, kw_only=True)
class Lease:
    """One container on one network.

    names: its own, its id, its aliases; who hears them, names.py says. owner: as Spec
    has it.

    ports: published, each with its number on the host. address6: of IPv6; "" = none.
    """

    container: str
    network: str
    address: str
    address6: str = ""
    inside: str  # the name of its own end of the veth pair, in the container: eth0
    names: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    policy: str = "all"  # as egress.Policy writes it
    is_raw: bool = False  # whether it may make packets by hand (CAP_NET_RAW) or change its devices (CAP_NET_ADMIN)
    owner: str = ""

    @property
    def device(self) -> str:
        """Return the name of the host's end of its veth pair."""
        return device_name(self.container, self.network)

    @property
    def hardware_address(self) -> str:
        """Return the hardware address of its own end."""
        return hardware_address(self.address)


def device_name(container: str, network: str) -> str:
    """Return the name of the host's end of a container's veth pair to a network."""
    return f"cv{hashlib.sha256(f'{container}/{network}'.encode()).hexdigest()[:12]}"


def hardware_address(address: str) -> str:
    """Return a hardware address that nobody else on the IPv4 network has."""
    return "02:43:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def link_local(hardware_address: str) -> str:
    """Return the address that the kernel gives a device (RFC 4291, appendix A)."""
    octets = bytes.fromhex(hardware_address.replace(":", ""))
    return str(ipaddress.IPv6Address(bytes((0xFE, 0x80, *bytes(6), octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))))
