"""An egress policy as rules in the container's own network namespace.

The container has no rights to change them, and they go with it.

What a name of the public system is answered with is let in where it is public: who
answers for it need not be whom the list means (DNS rebinding).

Others on a network of the user's own can always be reached; on the default one only
with `all`. What is refused is answered with "administratively prohibited", and
remembered with where it wanted to go. Names are let in as the name server answers them
(dns.py), for as long as the answer holds; a connection that was let in goes on until
the policy changes: then each is judged anew.

With IPv6 there is a rule whatever the policy is: only the container's own address may
be spoken from. (With IPv4 the kernel sees to that; of IPv6 any program may write
another's, with IPV6_FREEBIND.)
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
from typing import TYPE_CHECKING, NamedTuple

from cellhold.network import nft, proc_net
from cellhold.network.egress import LINK_LOCAL, LINK_LOCAL6, Refused, matches
from cellhold.spec.networks import BRIDGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cellhold.network.egress import Policy
    from cellhold.network.model import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

TABLE = "cellhold"
_MOST_REFUSED = 1024  # places that are remembered
# IANA's registry of special-purpose IPv4 addresses (RFC 6890 and after it): what is not
# globally reachable, multicast, and 240/4.
_NOT_PUBLIC = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",  # public by its number, and Azure's host for its guests
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
# The same of IPv6: only 2000::/3 is given out (RFC 4291); of that, what is not
# reachable, or is another way to write an address of IPv4.
_PUBLIC6 = "2000::/3"
_NOT_PUBLIC6 = ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
_NEIGHBOURS = "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }"
# No name means these: the host itself, neighbours, groups, metadata services, and other
# ways to write an address of IPv4 (RFC 4291, 3056, 4380, 6052, 8215, 2765).
_NEVER_LEARNED = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "127.0.0.0/8", "168.63.129.16/32", LINK_LOCAL, "192.0.0.0/24", "224.0.0.0/3"),
            *("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/23", "2002::/16"),
            *(LINK_LOCAL6, "fec0::/10", "fd00:ec2::/32", "ff00::/8"),
        ),
    )
)
_NOT_PUBLIC_NETWORKS = tuple(map(ipaddress.ip_network, (*_NOT_PUBLIC, *_NOT_PUBLIC6)))
# Names of these, and those of one label, are nobody's in the public system (RFC 6761,
# 6762 with its appendix G, 8375, ICANN's "internal"): who answers for them is the site,
# and private addresses are what they are for.
_PRIVATE_NAMES = frozenset({"corp", "example", "home", "home.arpa", "internal", "intranet", "lan", "local", "private", "test"})
_MOST_LEARNED = 8192  # addresses that are let in at a time
_KIND_OF_ADDRESS = {4: "ipv4_addr", 6: "ipv6_addr"}
_FAMILY = {4: "ip", 6: "ip6"}
_OF = {4: "", 6: "6"}  # what the names of IPv6's sets end with


class Membership(NamedTuple):
    """A network that a container is on, as its rules have it.

    resolver: who answers for names there. own, link_local: the container's addresses of
    IPv6.

    is_policed: the resolver knows the container's policy; one that does not is closed
    to who may not ask for any name.
    """

    network: Network
    resolver: str
    own: str = ""
    link_local: str = ""
    is_policed: bool = True


def script(policy: Policy, on: Sequence[Membership], *, is_new: bool = False) -> str:
    """Return the rules for a container's namespace, replacing what was there.

    on: its networks.

    is_new: nothing was there; to take away what is not there would take the kernel 10
    ms as well.

    Others on a network may be talked to unless it is the default one, where everybody
    is.
    """
    lines = []
    for family in () if is_new else ("inet", "ip6"):
        lines += [f"add table {family} {TABLE}", f"delete table {family} {TABLE}"]
    if own := ", ".join(f"{one.own}, {one.link_local}" for one in on if one.own):
        lines += [
            f"table ip6 {TABLE} {{",
            "  chain own {",
            "    type filter hook output priority raw; policy accept;",
            f'    oifname != "lo" ip6 saddr != {{ ::, {own} }} drop',
            f'    oifname != "lo" ip6 daddr {LINK_LOCAL6} {_NEIGHBOURS} accept',
            f'    oifname != "lo" ip6 daddr {LINK_LOCAL6} reject with icmpv6 admin-prohibited',
            "  }",
            "}",
        ]
    if policy.is_limited:
        lines += [f"table inet {TABLE} {{", *_sets(policy), *_chains(policy, on), "}"]
    elif not all(one.is_policed for one in on):  # nobody's host has rules for it (firewall.py)
        lines += [
            f"table inet {TABLE} {{",
            "  chain output {",
            "    type filter hook output priority filter; policy accept;",
            f'    oifname != "lo" ip daddr {LINK_LOCAL} reject with icmpx admin-prohibited',
            "  }",
            "}",
        ]
    return "\n".join([*lines, ""])


def _sets(policy: Policy) -> Iterator[str]:
    for version, address in _KIND_OF_ADDRESS.items():
        static = [place for place in policy.places if not place.is_name and (":" in place.where) == (version == 6)]  # noqa: PLR2004
        whole = ", ".join(place.where for place in static if place.port is None)
        ported = ", ".join(f"{place.where} . {place.port}" for place in static if place.port is not None)
        of = _OF[version]
        yield f"  set refused{of} {{ type {address} . inet_proto . inet_service; flags dynamic; size {_MOST_REFUSED}; counter; }}"
        yield f"  set hosts{of} {{ type {address}; flags interval; auto-merge; {f'elements = {{ {whole} }};' if whole else ''} }}"
        yield (f"  set services{of} {{ type {address} . inet_service; flags interval; {f'elements = {{ {ported} }};' if ported else ''} }}")
        yield f"  set named{of} {{ type {address}; flags timeout; size {_MOST_LEARNED}; }}"
        yield f"  set named_services{of} {{ type {address} . inet_service; flags timeout; size {_MOST_LEARNED}; }}"


def _chains(policy: Policy, on: Sequence[Membership]) -> Iterator[str]:
    mark = int.from_bytes(os.urandom(4)) | 1  # of connections that this policy has let in; not 0, which is nobody's
    yield f"  chain {_chain(policy)} {{ }}"
    yield from (
        "  chain allow {",
        f"    ct mark set {mark} accept",
        "  }",
        "  chain refuse {",
        "    update @refused { ip daddr . meta l4proto . th dport }",
        "    update @refused6 { ip6 daddr . meta l4proto . th dport }",
        "    meta l4proto tcp ct state established reject with tcp reset",
        "    reject with icmpx admin-prohibited",
        "  }",
        "  chain output {",
        "    type filter hook output priority filter; policy drop;",
        '    oifname "lo" accept',
        "    ct direction reply accept",
        "    ct state related accept",
        f"    ct mark {mark} accept",
        "    icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } accept",
    )
    yield f"    ip daddr {LINK_LOCAL} goto refuse"
    for one in on:
        if one.is_policed or policy.kind == "internet":
            yield f"    ip daddr {one.resolver} meta l4proto {{ tcp, udp }} th dport 53 accept"
        else:  # also where a network on the list has the address
            yield f"    ip daddr {one.resolver} goto refuse"
    for network in (one.network for one in on if one.network.name != BRIDGE):
        yield f"    ip daddr {network.gateway} goto refuse"
        yield f"    ip daddr {network.subnet} goto allow"
        if network.subnet6:
            yield f"    ip6 daddr {network.gateway6} goto refuse"
            yield f"    ip6 daddr {network.subnet6} goto allow"
    if policy.kind == "internet":
        near = [one for one in proc_net.addresses() if not _is_special(one)]
        yield f"    ip daddr {{ {', '.join([*_NOT_PUBLIC, *(one for one in near if ':' not in one)])} }} goto refuse"
        yield f"    ip6 daddr {{ {', '.join([*_NOT_PUBLIC6, *(one for one in near if ':' in one)])} }} goto refuse"
        yield "    meta nfproto ipv4 goto allow"
        yield f"    ip6 daddr {_PUBLIC6} goto allow"
    elif policy.kind == "allow":
        for version, family in _FAMILY.items():
            of = _OF[version]
            yield f"    {family} daddr @hosts{of} goto allow"
            yield f"    {family} daddr @named{of} goto allow"
            yield f"    {family} daddr . th dport @services{of} goto allow"
            yield f"    {family} daddr . th dport @named_services{of} goto allow"
    yield from ("    goto refuse", "  }")


def _is_special(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(parsed in ipaddress.ip_network(one) for one in (*_NOT_PUBLIC, *_NOT_PUBLIC6)) or (
        ":" in address and parsed not in ipaddress.ip_network(_PUBLIC6)
    )


def learn(policy: Policy, name: str, addresses: Sequence[str], seconds: int) -> str:
    """Return the script that lets a container talk to what a name was answered with.

    "" where the policy does not ask for it.

    A name of the public system lets public addresses in. Loopback, link-local and
    multicast addresses are never let in that way, and none of IPv4 that is written as
    one of IPv6.
    """
    allowed = [one for one in map(ipaddress.ip_address, addresses) if _may_mean(name, one)]
    lines = [
        f"add element inet {TABLE} {'named' if place.port is None else 'named_services'}{_OF[address.version]} "
        f"{{ {address}{'' if place.port is None else f' . {place.port}'} timeout {seconds}s }}"
        for place in policy.names()
        if matches(place, name)
        for address in allowed
    ]
    return "\n".join([*lines, ""]) if lines else ""


def guard(policy: Policy, script: str) -> str:
    """Return the script, guarded by the policy.

    The kernel does nothing of it where the container has another policy by now.
    """
    return f"flush chain inet {TABLE} {_chain(policy)}\n{script}"


def _chain(policy: Policy) -> str:
    """Return the name of an empty chain that only the rules of that policy have."""
    return f"policy_{hashlib.sha256(str(policy).encode()).hexdigest()[:16]}"


def _may_mean(name: str, address: Address) -> bool:
    """Whether that is an address that the name lets in."""
    if any(address in network for network in _NEVER_LEARNED):
        return False
    labels = name.lower().rstrip(".").split(".")
    if len(labels) == 1 or {labels[-1], ".".join(labels[-2:])} & _PRIVATE_NAMES:
        return True
    return not any(address in network for network in _NOT_PUBLIC_NETWORKS) and (
        address.version == 4 or address in ipaddress.ip_network(_PUBLIC6)  # noqa: PLR2004
    )


def read_refused(namespace: int, user: int | None = None) -> list[Refused]:
    """Read what was refused in a network namespace, the most often first.

    Raises SetupFailed where there is no policy.

    namespace, user: as nft.apply() has them.
    """
    refused = []
    for of in _OF.values():
        for entry in nft.query(f"set inet {TABLE} refused{of}", namespace=namespace, user=user):
            for element in entry.get("set", {}).get("elem", ()):
                address, protocol, port = element["elem"]["val"]["concat"]
                refused.append(Refused(str(address), str(protocol), int(port), int(element["elem"]["counter"]["packets"])))
    return sorted(refused, key=lambda one: -one.packets)
