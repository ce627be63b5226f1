"""Networks: a name, a subnet, and a bridge device of the host for as long as a container is on it.

Each has a subnet of IPv4, and where the host speaks IPv6 one of that: unique local addresses (RFC 4193) made of the network's id.

HOME/networks/            locked (flock) while a network, a lease or the rules are changed
    NAME/network.json     what it is
    NAME/leases/ID        who is on it (leases.py)
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from cellhold.errors import Damaged, InvalidSpec, NetworkNotFound, NotAllowed, NotSupported
from cellhold.network import veth
from cellhold.spec.spec import check_name
from cellhold.store import delete, durable, table
from cellhold.store.table import Unreadable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from cellhold.store.home import Home

DEFAULT = "bridge"
RESERVED = ("none", "host", "container", "default", "slirp4netns", "pasta")
LEASES, _FACTS = "leases", "network.json"
_POOL = ipaddress.ip_network("10.87.0.0/16")  # cut into subnets of 254 containers; podman's is 10.88, docker's 172.17
_SHOWN = 80
_PREFIX = 24
_PREFIX6 = 64
_ROUTE_FIELDS, _UP = 8, 0x1
_LINK_LOCAL, _MULTICAST = ipaddress.IPv6Network("fe80::/10"), ipaddress.IPv6Network("ff00::/8")

Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, kw_only=True)
class Network:
    """One. id: twelve hexadecimal digits. bridge: the name of its device. subnet: "10.87.3.0/24". gateway: the host's address on it.

    subnet6, gateway6: the same of IPv6, "fd3c:9a01:77e0:5d::/64"; "" for a network that has none.
    internal: nothing beyond it can be reached. dns: servers that are asked for the names of others; () = this host's.
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
        """Where it is kept."""
        return home.networks / self.name

    def leases(self, home: Home) -> Path:
        """The directory of its leases."""
        return home.networks / self.name / LEASES

    def addresses(self, after: str | None = None) -> Iterator[str]:
        """Those that containers can have: the lowest first, or those after one of them, and then the others."""
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
        found = ipaddress.ip_address(address)
        return any(found in ipaddress.ip_network(subnet) for subnet in (self.subnet, self.subnet6) if subnet)

    def address6(self, address: str) -> str:
        """The address of IPv6 that goes with one of the subnet: as far into the other subnet. "" where there is none."""
        if not self.subnet6:
            return ""
        offset = int(ipaddress.IPv4Address(address)) - int(ipaddress.IPv4Network(self.subnet).network_address)
        return str(ipaddress.IPv6Network(self.subnet6)[offset])

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
    """All that can be read, by name."""
    return [network for network in map(_look, _places(home)) if isinstance(network, Network)]


def unreadable(home: Home) -> list[Unreadable]:
    """The others."""
    return [network for network in map(_look, _places(home)) if isinstance(network, Unreadable)]


def _places(home: Home) -> list[Path]:
    return sorted(entry for entry in home.networks.iterdir() if not entry.name.startswith(".") and entry.is_dir())


def find(name: str, home: Home) -> Network:
    """The one of that name; the default one is made where it is missing. Raises NetworkNotFound, Damaged, NotSupported."""
    check_name(name)
    network = _read(home.networks / name)
    if network is None and name == DEFAULT:
        with suppress(InvalidSpec):  # somebody else has just made it
            return create(name, home)
        network = _read(home.networks / name)
    if network is None:
        raise _not_found(name, home)
    return network


def _not_found(name: str, home: Home) -> NetworkNotFound:
    known = ", ".join(one.name for one in every(home)) or "none"
    return NetworkNotFound(f"cannot find network {name}: there are {known}", hint=f"cellhold network create {name}")


def create(  # noqa: PLR0913  # docker's flags
    name: str,
    home: Home,
    *,
    subnets: Sequence[str] = (),
    gateways: Sequence[str] = (),
    ipv6: bool | None = None,
    internal: bool = False,
    dns: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
) -> Network:
    """Make one; its device is made when a container joins it. subnets: at most one of each kind; a free one where it is left out.

    ipv6: whether it has a subnet of that; None = where the host speaks it.
    Raises InvalidSpec for a name that is taken or none, a subnet that is none or overlaps with what the host is connected to, and a
    gateway outside of them; NotAllowed where all subnets are taken; NotSupported for IPv6 where the host does not speak it.
    """
    check_name(name)
    if name in RESERVED:
        raise InvalidSpec(f"cannot make network {name}: the name means something else")
    asked4, asked6 = _by_kind("subnet", subnets)
    first4, first6 = _by_kind("gateway", gateways)
    if asked6 and ipv6 is False:
        raise InvalidSpec(f"cannot use subnet={asked6} without IPv6", hint="leave one of them out")
    if (asked6 or ipv6) and not veth.has_ipv6():
        raise NotSupported("cannot make a network with IPv6: this host does not speak it", hint="sysctl net.ipv6.conf.all.disable_ipv6")
    with home.networks_locked():
        if _read(home.networks / name) is not None:
            raise InvalidSpec(f"cannot make network {name}: there is one of that name", hint=f"cellhold network rm {name}, or another name")
        taken = _taken(home)
        number = os.urandom(6).hex()
        chosen = _free(taken) if asked4 is None else _checked(asked4, taken)
        subnet6, gateway6 = "", ""
        if ipv6 or asked6 or (ipv6 is None and veth.has_ipv6()):
            chosen6 = _checked(asked6 or f"fd{number[:2]}:{number[2:6]}:{number[6:10]}:{number[10:]}::/{_PREFIX6}", taken)
            subnet6, gateway6 = str(chosen6), _inside(first6, chosen6)
        elif first6:
            raise InvalidSpec(f"cannot use gateway={first6}: the network has no IPv6", hint="--ipv6")
        network = Network(
            name=name,
            id=number,
            bridge=f"{bridges(home)[:-1]}{number[:8]}",
            subnet=str(chosen),
            gateway=_inside(first4, chosen),
            subnet6=subnet6,
            gateway6=gateway6,
            internal=internal,
            dns=tuple(map(_server, dns)),
            created=time.time(),
            labels=dict(labels or {}),
        )
        with home.written():
            delete.remove(network.directory(home))  # there is nothing in it, says _read()
            with durable.appearing(network.directory(home)) as draft:
                (draft / LEASES).mkdir(mode=0o700)
                durable.write(draft / _FACTS, _FORM.dumps(network.plain()))
        return network


def remove(name: str, home: Home, *, force: bool = False) -> None:
    """Remove one that nobody is on. force: also one that is damaged; none of that name is no error. Raises NetworkNotFound, NotAllowed."""
    check_name(name)
    with home.networks_locked():
        try:
            network = _read(home.networks / name)
        except Damaged:
            if not force:
                raise
            with home.written():
                durable.remove(home.networks / name)
            return
        if name == DEFAULT:
            raise NotAllowed(f"cannot remove network {name}: it is the one that is always there")
        if network is None:
            if force:
                return
            raise _not_found(name, home)
        if using := sorted(name for name in os.listdir(network.leases(home)) if not name.startswith(".")):  # those are half written
            raise NotAllowed(f"cannot remove network {name}: container {using[0]} is on it", hint=f"cellhold rm -f {using[0]}, then again")
        if veth.is_there(network):  # its name server, which would have removed that soon, sees that the network is gone
            veth.remove_bridge(network)
        with home.written():
            durable.remove(network.directory(home))


def prune(home: Home, *, needed: Collection[str] = ()) -> list[str]:
    """Remove all that nobody is on, but the default one and those that are needed; gives their names."""
    gone = []
    for network in every(home):
        if network.name not in needed:
            with suppress(NotAllowed, NetworkNotFound):
                remove(network.name, home)
                gone.append(network.name)
    return gone


def _look(directory: Path) -> Network | Unreadable | None:
    try:
        return _read(directory)
    except (Damaged, NotSupported) as error:
        return Unreadable(name=directory.name, place=directory, error=error)


def _read(directory: Path) -> Network | None:
    """None where there is none. Raises Damaged, NotSupported."""
    name = directory.name
    remedy = f"`cellhold network rm --force {name}` removes it, and `cellhold network create {name}` makes it anew"
    try:
        found = _FORM.read(directory / _FACTS, f"network {name}", hint=remedy)
    except FileNotFoundError:
        if _is_empty(directory):
            return None
        raise Damaged(f"cannot read network {name}: {directory / _FACTS} is damaged: it is not there", hint=remedy) from None
    if found.name != name:
        raise Damaged(f"cannot read network {name}: {directory / _FACTS} is of {found.name[:_SHOWN]!r}", hint=remedy)
    return found


def _is_empty(directory: Path) -> bool:
    """Whether there is nothing, or what is left where an earlier version was killed before the network was there."""
    with suppress(FileNotFoundError):
        return set(os.listdir(directory)) <= {LEASES, f"{_FACTS}.new"} and not any((directory / LEASES).glob("*"))
    return True


def _check(network: Network) -> None:
    """Raise ValueError for addresses that are none."""
    table.check_moment(network.created, "created")
    for text in (network.subnet, network.subnet6):
        if text:
            ipaddress.ip_network(text)
    for text in (network.gateway, network.gateway6, *network.dns):
        if text:
            ipaddress.ip_address(text)


_FORM = table.Form(kind=Network, version=1, steps=table.BEFORE_VERSIONS, check=_check)


def _server(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise InvalidSpec(f"cannot use dns={text}: {error}") from error


def _by_kind(what: str, texts: Sequence[str]) -> tuple[str | None, str | None]:
    """The one of IPv4 and the one of IPv6. Raises InvalidSpec for two of a kind."""
    found: dict[bool, str] = {}
    for text in texts:
        if (is_ipv6 := ":" in text) in found:
            raise InvalidSpec(f"cannot use {what}={text}: there is {found[is_ipv6]} already", hint="one of IPv4, one of IPv6")
        found[is_ipv6] = text
    return found.get(False), found.get(True)


def _taken(home: Home) -> list[tuple[str, Subnet]]:
    """All subnets that there are, each with whose it is."""
    found = [*_routes(), *_routes6()]
    for one in every(home):
        found += [(f"network {one.name}", ipaddress.ip_network(text)) for text in (one.subnet, one.subnet6) if text]
    return found


def _routes() -> Iterator[tuple[str, Subnet]]:
    """What the host is connected to: its routes but the default one (proc_net_route; words in the machine's order)."""
    with open("/proc/thread-self/net/route", encoding="ascii") as file:
        for words in map(str.split, list(file)[1:]):
            if len(words) >= _ROUTE_FIELDS and int(words[3], 16) & _UP and int(words[7], 16):
                address, mask = (ipaddress.IPv4Address(bytes.fromhex(words[at])[::-1]) for at in (1, 7))
                yield f"device {words[0]} of this host", ipaddress.IPv4Network(f"{address}/{mask}", strict=False)


def _routes6() -> Iterator[tuple[str, Subnet]]:
    """The same of IPv6: destination, its prefix, source, its prefix, next hop, metric, references, uses, flags, device."""
    with suppress(FileNotFoundError), open("/proc/thread-self/net/ipv6_route", encoding="ascii") as file:
        for words in map(str.split, file):
            subnet = ipaddress.IPv6Network((bytes.fromhex(words[0]), int(words[1], 16)), strict=False)
            if subnet.prefixlen and not _overlap(subnet, _LINK_LOCAL) and not _overlap(subnet, _MULTICAST):
                yield f"device {words[9]} of this host", subnet


def _free(taken: Sequence[tuple[str, Subnet]]) -> Subnet:
    for subnet in _POOL.subnets(new_prefix=_PREFIX):
        if not any(_overlap(subnet, other) for _who, other in taken):
            return subnet
    raise NotAllowed(f"cannot make a network: every /{_PREFIX} of {_POOL} is taken", hint="cellhold network prune, or --subnet")


def _overlap(one: Subnet, other: Subnet) -> bool:
    return one.version == other.version and (one[0] in other or other[0] in one)


def _checked(text: str, taken: Sequence[tuple[str, Subnet]]) -> Subnet:
    try:
        subnet = ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidSpec(f"cannot use subnet={text}: {error}", hint="10.99.0.0/24 or fd00:99::/64, for example") from error
    if subnet.version == 6 and subnet.prefixlen != _PREFIX6:  # noqa: PLR2004
        raise InvalidSpec(f"cannot use subnet={text}: a subnet of IPv6 is a /{_PREFIX6} (RFC 4291)", hint="fd00:99::/64, for example")
    if subnet.max_prefixlen - subnet.prefixlen < 2:  # noqa: PLR2004  # the host and one container
        raise InvalidSpec(f"cannot use subnet={text}: there is no room for a container in it")
    for who, other in taken:
        if _overlap(subnet, other):
            raise InvalidSpec(f"cannot use subnet={text}: it overlaps with {other}, {who}", hint="leave it out for a free one")
    return subnet


def _inside(text: str | None, subnet: Subnet) -> str:
    """The host's address: that one, or the subnet's first."""
    if text is None:
        return str(subnet[1])
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise InvalidSpec(f"cannot use gateway={text}: {error}") from error
    if address not in subnet or address in (subnet.network_address, subnet.broadcast_address):
        raise InvalidSpec(f"cannot use gateway={text}: it is not an address of a host in {subnet}")
    return str(address)
