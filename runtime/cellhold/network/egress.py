"""Egress policies as values: whom a container may talk to.

egress_rules.py makes rules of them.

    all                  anybody: docker's way
    internet             public addresses only: no private, link-local or shared ones,
                         no metadata service, nothing of this host
    none                 nobody; who reaches it by a published port is answered
    allow=WHERE,...      only these: a host's name, an address or a network, each with
                         :PORT or without ("mirror.example:443,10.1.0.0/16")

Whatever the policy is, link-local addresses are refused: the metadata service of a
cloud is at one (169.254.169.254).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cellhold.errors import InvalidSpec
from cellhold.network import ports
from cellhold.spec.spec import PORT_MAXIMUM

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALLOW = "allow="
_KINDS = ("all", "internet", "none")
_NAME = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
LINK_LOCAL, LINK_LOCAL6 = "169.254.0.0/16", "fe80::/10"
_LINK_LOCAL_NETWORKS = tuple(map(ipaddress.ip_network, (LINK_LOCAL, LINK_LOCAL6)))


class Place(NamedTuple):
    """Somewhere that is allowed.

    where: a network ("10.1.0.0/16"), or a name ("*.example" is everything below it).
    port: None = any.
    """

    where: str
    port: int | None
    is_name: bool


@dataclass(frozen=True)
class Policy:
    """A policy. kind: all, internet, none or allow."""

    kind: str
    places: tuple[Place, ...] = ()

    @property
    def is_limited(self) -> bool:
        """Whether there is somebody whom it refuses."""
        return self.kind != "all"

    def names(self) -> Iterator[Place]:
        """Iterate over the places that are names."""
        return (place for place in self.places if place.is_name)

    def allows_name(self, name: str) -> bool:
        """Whether the name server may ask others for it.

        With a list of places only for what is on it.
        """
        if self.kind in ("all", "internet"):
            return True
        return any(matches(place, name) for place in self.names())

    def __str__(self) -> str:
        """Return it as parse() takes it."""
        if self.kind != "allow":
            return self.kind
        return _ALLOW + ",".join(map(_format, self.places))


class Refused(NamedTuple):
    """Something that a container wanted and did not get: so many packets to there."""

    address: str
    protocol: str
    port: int
    packets: int

    @property
    def where(self) -> str:
        """Return address and port as people write them."""
        return ports.socket_address(self.address, self.port)


def parse(text: str | None) -> Policy:
    """Parse a policy; None is all. Raises InvalidSpec."""
    if text is None or text in _KINDS:
        return Policy(text or "all")
    if not text.startswith(_ALLOW) or text == _ALLOW:
        raise InvalidSpec(
            f"cannot use egress={text}: not internet, all, none or allow=...",
            hint="egress=allow=mirror.example:443,10.1.0.0/16, for example",
        )
    return Policy("allow", tuple(_parse_place(part, text) for part in text.removeprefix(_ALLOW).split(",")))


def matches(place: Place, name: str) -> bool:
    """Whether a name is the place's, or below it.

    name: of any case, with a dot at its end or without.
    """
    asked, wanted = name.lower().rstrip("."), place.where.lower()
    if "\\" in asked:  # a label that holds a dot, or what else no host's name does
        return False
    return asked.endswith(wanted[1:]) if wanted.startswith("*.") else asked == wanted


def _parse_place(part: str, text: str) -> Place:
    where, port = _split(part)
    if port is not None and not (port.isascii() and port.isdigit() and 1 <= int(port) <= PORT_MAXIMUM):
        raise InvalidSpec(f"cannot use egress={text}: {port!r} is not a port")
    number = None if port is None else int(port)
    try:
        network = ipaddress.ip_network(where)
    except ValueError:
        if not _NAME.fullmatch(where) or where.replace(".", "").isdigit() or "/" in where:
            raise InvalidSpec(
                f"cannot use egress={text}: {where!r} is not a host name, IP address or network",
                hint="mirror.example:443, 10.1.0.0/16 or [fd00:1::5]:443",
            ) from None
        return Place(where, number, is_name=True)
    if any(network.version == one.version and network[0] in one and network[-1] in one for one in _LINK_LOCAL_NETWORKS):
        raise InvalidSpec(
            f"cannot use egress={text}: {where} is link-local, and a container reaches no such address",
            hint="network=host, where the metadata service of a cloud is wanted",
        )
    return Place(str(network), number, is_name=False)


def _split(part: str) -> tuple[str, str | None]:
    """Where, and the port: an address of IPv6 with one stands in brackets."""
    if part.startswith("["):
        where, _, port = part[1:].partition("]")
        return where, port.removeprefix(":") or None
    if part.count(":") > 1:
        return part, None
    where, colon, port = part.partition(":")
    return where, port if colon else None


def _format(place: Place) -> str:
    if place.port is None:
        return place.where
    return f"[{place.where}]:{place.port}" if ":" in place.where else f"{place.where}:{place.port}"
