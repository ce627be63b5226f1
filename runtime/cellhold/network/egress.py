"""Whom a container may talk to: rules in its own network namespace, which it has not the rights to change, and which go with it.

    all                  anybody: docker's way
    internet             public addresses only: no private, link-local or shared ones, no metadata service, nothing of this host
    none                 nobody; who reaches it by a published port is answered
    allow=WHERE,...      only these: a host's name, an address or a network, each with :PORT or without ("mirror.example:443,10.1.0.0/16")

Others on a network of the user's own can always be reached; on the default one only with `all`. What is refused is answered with
"administratively prohibited", and remembered with where it wanted to go. Names are let in as the name server answers them (naming.py),
for as long as the answer holds.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cellhold.errors import InvalidSpec
from cellhold.network import filters
from cellhold.network.networks import DEFAULT
from cellhold.spec import PORT_MAXIMUM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cellhold.network.networks import Network

TABLE = "cellhold"
_ALLOW = "allow="
_KINDS = ("all", "internet", "none")
_NAME = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_MOST_REFUSED = 1024  # places that are remembered
# IANA's registry of special-purpose IPv4 addresses (RFC 6890 and after it): what is not globally reachable, multicast, and 240/4.
_NOT_PUBLIC = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
)


# Whatever a name is answered with: who answers for it need not be whom the list means.
_NEVER_LEARNED = tuple(map(ipaddress.IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")))


class Place(NamedTuple):
    """Somewhere that is allowed: a network ("10.1.0.0/16") or a name ("*.example" is everything below it), and a port, None = any."""

    where: str
    port: int | None
    is_name: bool


@dataclass(frozen=True)
class Policy:
    """One. kind: all, internet, none or allow."""

    kind: str
    places: tuple[Place, ...] = ()

    @property
    def is_limited(self) -> bool:
        """Whether there is somebody whom it refuses."""
        return self.kind != "all"

    def names(self) -> Iterator[Place]:
        """The places that are names."""
        return (place for place in self.places if place.is_name)

    def allows_name(self, name: str) -> bool:
        """Whether the name server may ask others for it: with a list of places only for what is on it."""
        if self.kind in ("all", "internet"):
            return True
        return any(matches(place, name) for place in self.names())

    def __str__(self) -> str:
        """As parsed() takes it."""
        if self.kind != "allow":
            return self.kind
        return _ALLOW + ",".join(f"{place.where}{'' if place.port is None else f':{place.port}'}" for place in self.places)


class Refused(NamedTuple):
    """Something that a container wanted and did not get: so many packets to there."""

    address: str
    protocol: str
    port: int
    packets: int


def parsed(text: str | None) -> Policy:
    """The policy of that text; None is all. Raises InvalidSpec."""
    if text is None or text in _KINDS:
        return Policy(text or "all")
    if not text.startswith(_ALLOW) or text == _ALLOW:
        raise InvalidSpec(
            f"cannot use egress={text}: not internet, all, none or allow=...",
            hint="egress=allow=mirror.example:443,10.1.0.0/16, for example",
        )
    return Policy("allow", tuple(_place(part, text) for part in text.removeprefix(_ALLOW).split(",")))


def matches(place: Place, name: str) -> bool:
    """Whether a name (of any case, with a dot at its end or not) is the place's, or below it."""
    plain, wanted = name.lower().rstrip("."), place.where.lower()
    return plain.endswith(wanted[1:]) if wanted.startswith("*.") else plain == wanted


def _place(part: str, text: str) -> Place:
    where, colon, port = part.partition(":")
    if colon and not (port.isascii() and port.isdigit() and 1 <= int(port) <= PORT_MAXIMUM):
        raise InvalidSpec(f"cannot use egress={text}: {port!r} is no port")
    number = int(port) if colon else None
    try:
        return Place(str(ipaddress.IPv4Network(where)), number, is_name=False)
    except ValueError:
        if not _NAME.fullmatch(where) or where.replace(".", "").isdigit() or "/" in where:
            raise InvalidSpec(
                f"cannot use egress={text}: {where!r} is no host name, IPv4 address or network", hint="mirror.example:443 or 10.1.0.0/16"
            ) from None
    return Place(where, number, is_name=True)


def script(policy: Policy, on: Sequence[Network], *, local: Sequence[str] = ()) -> str:
    """The rules for a container's namespace, replacing what was there. on: its networks. local: this host's own addresses.

    Others on a network may be talked to unless it is the default one, where everybody is.
    """
    lines = [
        f"add table inet {TABLE}",
        f"delete table inet {TABLE}",
    ]
    if not policy.is_limited:
        return "\n".join([*lines, ""])
    static = [place for place in policy.places if not place.is_name]
    whole = ", ".join(place.where for place in static if place.port is None)
    ported = ", ".join(f"{place.where} . {place.port}" for place in static if place.port is not None)
    lines += [
        f"table inet {TABLE} {{",
        f"  set refused {{ type ipv4_addr . inet_proto . inet_service; flags dynamic; size {_MOST_REFUSED}; counter; }}",
        f"  set hosts {{ type ipv4_addr; flags interval; auto-merge; {f'elements = {{ {whole} }};' if whole else ''} }}",
        f"  set services {{ type ipv4_addr . inet_service; flags interval; {f'elements = {{ {ported} }};' if ported else ''} }}",
        "  set named { type ipv4_addr; flags timeout; }",
        "  set named_services { type ipv4_addr . inet_service; flags timeout; }",
        "  chain refuse {",
        "    update @refused { ip daddr . meta l4proto . th dport }",
        "    reject with icmpx admin-prohibited",
        "  }",
        "  chain output {",
        "    type filter hook output priority filter; policy drop;",
        '    oifname "lo" accept',
        "    ct state established,related accept",
        *(f"    ip daddr {network.gateway} meta l4proto {{ tcp, udp }} th dport 53 accept" for network in on),
    ]
    for network in on:
        if network.name != DEFAULT:
            lines += [f"    ip daddr {network.gateway} goto refuse", f"    ip daddr {network.subnet} accept"]
    if policy.kind == "internet":
        refused = ", ".join([*_NOT_PUBLIC, *(one for one in local if not _is_special(one))])
        lines += [f"    ip daddr {{ {refused} }} goto refuse", "    meta nfproto ipv4 accept"]
    elif policy.kind == "allow":
        lines += [
            "    ip daddr @hosts accept",
            "    ip daddr @named accept",
            "    ip daddr . th dport @services accept",
            "    ip daddr . th dport @named_services accept",
        ]
    return "\n".join([*lines, "    goto refuse", "  }", "}", ""])


def _is_special(address: str) -> bool:
    return any(ipaddress.IPv4Address(address) in ipaddress.IPv4Network(one) for one in _NOT_PUBLIC)


def learned(policy: Policy, name: str, addresses: Sequence[str], seconds: int) -> str:
    """The script that lets a container talk to what a name was answered with; "" where the policy does not ask for it.

    Loopback, link-local and multicast addresses are never let in that way.
    """
    known = [one for one in addresses if not any(ipaddress.IPv4Address(one) in network for network in _NEVER_LEARNED)]
    lines = [
        f"add element inet {TABLE} {'named' if place.port is None else 'named_services'} "
        f"{{ {address}{'' if place.port is None else f' . {place.port}'} timeout {seconds}s }}"
        for place in policy.names()
        if matches(place, name)
        for address in known
    ]
    return "\n".join([*lines, ""]) if lines else ""


def refused(namespace: int) -> list[Refused]:
    """What was refused in a network namespace (a descriptor), the most often first. Raises SetupFailed where there is no policy."""
    found = []
    for entry in filters.listed(f"set inet {TABLE} refused", namespace=namespace):
        for element in entry.get("set", {}).get("elem", ()):
            address, protocol, port = element["elem"]["val"]["concat"]
            found.append(Refused(str(address), str(protocol), int(port), int(element["elem"]["counter"]["packets"])))
    return sorted(found, key=lambda one: -one.packets)
