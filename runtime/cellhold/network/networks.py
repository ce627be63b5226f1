"""Networks: a name, a subnet, and a bridge device of the host for as long as a container is on it.

HOME/networks/            locked (flock) while a network, a lease or the rules are changed
    NAME/network.json     what it is
    NAME/leases/ID        who is on it (leases.py)
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from cellhold.errors import InvalidSpec, NetworkNotFound, NotAllowed
from cellhold.network import links
from cellhold.spec import check_name
from cellhold.store import removal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from cellhold.store.home import Home

DEFAULT = "bridge"
RESERVED = ("none", "host", "container", "default")
LEASES, _FACTS = "leases", "network.json"
_POOL = ipaddress.ip_network("10.87.0.0/16")  # cut into subnets of 254 containers; podman's is 10.88, docker's 172.17
_PREFIX = 24
_ROUTE_FIELDS, _UP = 8, 0x1


@dataclass(frozen=True, kw_only=True)
class Network:
    """One. id: twelve hexadecimal digits. bridge: the name of its device. subnet: "10.87.3.0/24". gateway: the host's address on it.

    internal: nothing beyond it can be reached. dns: servers that are asked for the names of others; () = this host's.
    """

    name: str
    id: str
    bridge: str
    subnet: str
    gateway: str
    internal: bool = False
    dns: tuple[str, ...] = ()
    created: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def prefix(self) -> int:
        """Bits of the subnet's mask."""
        return ipaddress.ip_network(self.subnet).prefixlen

    def directory(self, home: Home) -> Path:
        """Where it is kept."""
        return home.networks / self.name

    def leases(self, home: Home) -> Path:
        """The directory of its leases."""
        return home.networks / self.name / LEASES

    def addresses(self) -> Iterator[str]:
        """Those that containers can have, the lowest first."""
        return (str(one) for one in ipaddress.ip_network(self.subnet).hosts() if str(one) != self.gateway)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "labels": dict(self.labels)}


def key(home: Home) -> str:
    """What tells the devices and rules of this store from another's on the same host."""
    return hashlib.sha256(str(home.root).encode()).hexdigest()[:4]


def bridges(home: Home) -> str:
    """The pattern of our bridges' names, as nft(8) has it; with the eight digits after it, the most that a name can have."""
    return f"ch{key(home)}-*"


def every(home: Home) -> list[Network]:
    """All of them, by name."""
    found = (_read(entry) for entry in sorted(home.networks.iterdir()) if entry.is_dir())
    return [network for network in found if network is not None]


def find(name: str, home: Home) -> Network:
    """The one of that name; the default one is made where it is missing. Raises NetworkNotFound."""
    check_name(name)
    network = _read(home.networks / name)
    if network is None and name == DEFAULT:
        with suppress(InvalidSpec):  # somebody else has just made it
            return create(name, home)
        network = _read(home.networks / name)
    if network is None:
        known = ", ".join(one.name for one in every(home)) or "none"
        raise NetworkNotFound(f"cannot find network {name}: there are {known}", hint=f"cellhold network create {name}")
    return network


def create(  # noqa: PLR0913  # docker's flags
    name: str,
    home: Home,
    *,
    subnet: str | None = None,
    gateway: str | None = None,
    internal: bool = False,
    dns: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
) -> Network:
    """Make one; its device is made when a container joins it. subnet: None = a free one.

    Raises InvalidSpec for a name that is taken or none, a subnet that is none or overlaps with what the host is connected to, and a
    gateway outside of it; NotAllowed where all subnets are taken.
    """
    check_name(name)
    if name in RESERVED:
        raise InvalidSpec(f"cannot make network {name}: the name means something else")
    with home.networks_locked():
        if _read(home.networks / name) is not None:
            raise InvalidSpec(f"cannot make network {name}: there is one of that name", hint=f"cellhold network rm {name}, or another name")
        taken = {f"network {one.name}": ipaddress.IPv4Network(one.subnet) for one in every(home)} | _routes()
        chosen = _free(taken) if subnet is None else _checked(subnet, taken)
        host = next(chosen.hosts()) if gateway is None else _inside(gateway, chosen)
        number = os.urandom(6).hex()
        network = Network(
            name=name,
            id=number,
            bridge=f"{bridges(home)[:-1]}{number[:8]}",
            subnet=str(chosen),
            gateway=str(host),
            internal=internal,
            dns=tuple(map(_server, dns)),
            created=time.time(),
            labels=dict(labels or {}),
        )
        with home.written():
            network.leases(home).mkdir(parents=True, exist_ok=True)
            draft = network.directory(home) / f"{_FACTS}.new"
            draft.write_text(json.dumps(network.plain()), encoding="utf-8")
            draft.replace(network.directory(home) / _FACTS)
        return network


def remove(name: str, home: Home) -> None:
    """Remove one that nobody is on. Raises NetworkNotFound, NotAllowed."""
    if name == DEFAULT:
        raise NotAllowed(f"cannot remove network {name}: it is the one that is always there")
    with home.networks_locked():
        network = find(name, home)
        if using := sorted(name for name in os.listdir(network.leases(home)) if not name.startswith(".")):  # those are half written
            raise NotAllowed(f"cannot remove network {name}: container {using[0]} is on it", hint=f"cellhold rm -f {using[0]}, then again")
        if links.is_there(network):  # its name server, which would have removed that soon, sees that the network is gone
            links.remove_bridge(network)
        (network.directory(home) / _FACTS).unlink()
        removal.remove(network.directory(home))


def prune(home: Home, *, needed: Collection[str] = ()) -> list[str]:
    """Remove all that nobody is on, but the default one and those that are needed; gives their names."""
    gone = []
    for network in every(home):
        if network.name not in needed:
            with suppress(NotAllowed, NetworkNotFound):
                remove(network.name, home)
                gone.append(network.name)
    return gone


def _read(directory: Path) -> Network | None:
    try:
        text = json.loads((directory / _FACTS).read_text(encoding="utf-8"))
        return Network(**{**text, "dns": tuple(text["dns"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _server(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise InvalidSpec(f"cannot use dns={text}: {error}") from error


def _routes() -> dict[str, ipaddress.IPv4Network]:
    """What the host is connected to, by the device: its routes but the default one (proc_net_route; words in the machine's order)."""
    found = {}
    with open("/proc/self/net/route", encoding="ascii") as file:
        for line in list(file)[1:]:
            words = line.split()
            if len(words) >= _ROUTE_FIELDS and int(words[3], 16) & _UP and int(words[7], 16):
                address, mask = (ipaddress.IPv4Address(bytes.fromhex(words[at])[::-1]) for at in (1, 7))
                found[f"device {words[0]} of this host"] = ipaddress.IPv4Network(f"{address}/{mask}", strict=False)
    return found


def _free(taken: Mapping[str, ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    for subnet in _POOL.subnets(new_prefix=_PREFIX):
        if isinstance(subnet, ipaddress.IPv4Network) and not any(subnet.overlaps(other) for other in taken.values()):
            return subnet
    raise NotAllowed(f"cannot make a network: every /{_PREFIX} of {_POOL} is taken", hint="cellhold network prune, or --subnet")


def _checked(text: str, taken: Mapping[str, ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise InvalidSpec(f"cannot use subnet={text}: {error}", hint="10.99.0.0/24, for example") from error
    if subnet.prefixlen > 30:  # noqa: PLR2004  # the host and one container
        raise InvalidSpec(f"cannot use subnet={text}: there is no room for a container in it")
    for who, other in taken.items():
        if subnet.overlaps(other):
            raise InvalidSpec(f"cannot use subnet={text}: it overlaps with {other}, {who}", hint="leave it out for a free one")
    return subnet


def _inside(text: str, subnet: ipaddress.IPv4Network) -> ipaddress.IPv4Address:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError as error:
        raise InvalidSpec(f"cannot use gateway={text}: {error}") from error
    if address not in set(subnet.hosts()):
        raise InvalidSpec(f"cannot use gateway={text}: it is not an address of a host in {subnet}")
    return address
