"""The host's packet filter for all networks of a store.

Two tables of our own, made from the leases; nothing else of the host's is touched.

The rules are the same whoever is there; who is there, is in sets and maps. To add to
those takes the kernel no time, to take away a grace period of RCU, some 10 ms: so a
container that comes is added, and what one that has gone leaves is taken away
afterwards, by the network's name server, which writes all anew. Only who has the right
to make packets by hand is looked at packet by packet, in a table that is there for
nobody else: all others speak with their own address because the kernel lets them use no
other. What an address, a port or a name means here has been checked when it was given
out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import SetupFailed
from cellhold.network import egress, leases, networks, nft

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from cellhold.network.model import Lease, Network
    from cellhold.store.home import Home

# Packets of one container to its name server, answered ones too: all containers'
# questions wait in one socket of that.
_QUESTIONS = "limit rate over 200/second burst 400 packets"
_CONNECTIONS = 16384  # of one container at a time through the host: its table of them is everybody's
_SHARE = 8  # and no more than that part of it
_TABLE_MAXIMUM = "/proc/sys/net/netfilter/nf_conntrack_max"
_SETS = {
    "inet": {
        "asking": "set asking { type ipv4_addr; flags dynamic; size 65536; }",
        "busy": "set busy { type ipv4_addr; flags dynamic; size 65536; }",
        "limited": "set limited { type ipv4_addr; }",
        "gateways": "set gateways { type ipv4_addr; }",
        "closed": "set closed { type ifname; }",
        "within": "set within { type ifname . ifname; }",
        "busy6": "set busy6 { type ipv6_addr; flags dynamic; size 65536; }",
        "limited6": "set limited6 { type ipv6_addr; }",
        "published6": "map published6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }",
        "published6_on_any": "map published6_on_any { type inet_proto . inet_service : ipv6_addr . inet_service; }",
        "published": "map published { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }",
        "published_on_any": "map published_on_any { type inet_proto . inet_service : ipv4_addr . inet_service; }",
    },
    "bridge": {
        "ends": "set ends { type ifname; }",
        "members": "set members { type ifname . ether_addr . ipv4_addr; }",
    },
}
_ROUTED = """
table inet {table} {{
  chain publish {{
    dnat ip to ip daddr . meta l4proto . th dport map @published
    fib daddr type local dnat ip to meta l4proto . th dport map @published_on_any
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @published6
    fib daddr type local ip6 daddr != ::1 dnat ip6 to meta l4proto . th dport map @published6_on_any
  }}
  chain arriving {{
    type nat hook prerouting priority dstnat; policy accept;
    jump publish
  }}
  chain leaving {{
    type nat hook output priority -100; policy accept;
    jump publish
  }}
  chain departing {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{bridges}" ip saddr 127.0.0.0/8 masquerade
    iifname "{bridges}" oifname "{bridges}" ct status dnat masquerade
    iifname "{bridges}" oifname != "{bridges}" masquerade
  }}
  chain from_containers {{
    type filter hook prerouting priority mangle; policy accept;
    iifname != "{bridges}" accept
    ip daddr @gateways meta l4proto {{ tcp, udp }} th dport 53 add @asking {{ ip saddr {questions} }} drop
    ct state established,related accept
    ip daddr 127.0.0.0/8 drop
    ip daddr {link_local} reject with icmp admin-prohibited
    ct state new add @busy {{ ip saddr ct count over {connections} }} drop
    ct state new add @busy6 {{ ip6 saddr ct count over {connections} }} drop
    ip daddr @gateways meta l4proto {{ tcp, udp }} th dport 53 accept
    ip saddr @limited fib daddr type local drop
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
    ip6 saddr {link_local6} drop
    ip6 daddr {link_local6} drop
    ip6 saddr @limited6 fib daddr type local drop
  }}
  chain passing {{
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    oifname "{bridges}" ct status dnat accept
    iifname . oifname @within accept
    oifname "{bridges}" drop
    iifname @closed drop
  }}
}}
"""
_BRIDGED = """
table bridge {table} {{
  chain checked {{
    iifname . ether saddr . ip saddr @members accept
    ether type arp iifname . ether saddr . arp saddr ip @members accept
    drop
  }}
  chain cables {{
    type filter hook prerouting priority dstnat; policy accept;
    iifname @ends jump checked
  }}
}}
"""


def table(home: Home) -> str:
    """Return the tables' name; every store on this host has another one."""
    return f"cellhold_{networks.key(home)}"


def add(network: Network, lease: Lease, home: Home) -> None:
    """Let one in. The caller has the networks' lock. Raises SetupFailed, NotSupported."""
    if not _mark(home).exists():
        write(home)
        return
    try:
        nft.apply("\n".join([*_elements(table(home), [network], [lease]), ""]))
    except SetupFailed:  # there are no tables yet, or something of one that has gone is in the way
        write(home)


def describe(network: Network, lease: Lease, home: Home) -> Iterator[str]:
    """Iterate over what add() does, for people."""
    return (f"nft: {line}" for line in _elements(table(home), [network], [lease]))


def write(home: Home) -> None:
    """Write all anew. The caller has the lock. Raises SetupFailed, NotSupported."""
    with home.written():
        _mark(home).touch()
    members = list(leases.every(home))
    used = {network.name: network for network, _lease in members}
    nft.apply(script(table(home), networks.bridges(home), used.values(), [lease for _network, lease in members]))


def are_there(home: Home) -> bool:
    """Whether they were written, and not removed since."""
    return _mark(home).exists()


def remove(home: Home) -> None:
    """Remove the tables, as nobody is on any network.

    The caller has the lock. Raises SetupFailed, NotSupported.
    """
    name = table(home)
    nft.apply("".join(f"add table {kind} {name}\ndelete table {kind} {name}\n" for kind in _SETS))
    _mark(home).unlink(missing_ok=True)


def _mark(home: Home) -> Path:
    """A file that is there as long as the tables may be."""
    return home.networks / ".rules"


def script(name: str, bridges: str, used: Iterable[Network], members: Iterable[Lease]) -> str:
    """Return the transaction that empties what there is, and fills it.

    bridges: what our bridges' names begin with, and a star.
    """
    members = list(members)
    routed = _ROUTED.format(
        table=name,
        bridges=bridges,
        connections=_connections(),
        questions=_QUESTIONS,
        link_local=egress.LINK_LOCAL,
        link_local6=egress.LINK_LOCAL6,
    )
    lines = [*_emptied("inet", name), routed]
    if any(lease.is_raw for lease in members):
        lines += [*_emptied("bridge", name), _BRIDGED.format(table=name)]
    else:  # each packet would pass through it
        lines += [f"add table bridge {name}", f"delete table bridge {name}"]
    return "\n".join([*lines, *_elements(name, used, members), ""])


def _connections() -> int:
    try:
        with open(_TABLE_MAXIMUM, encoding="ascii") as file:
            return min(_CONNECTIONS, max(int(file.read()) // _SHARE, 1))
    except OSError:  # nobody has needed the table yet
        return _CONNECTIONS


def _emptied(kind: str, name: str) -> Iterator[str]:
    """The table with its sets, there and empty."""
    yield f"add table {kind} {name}"
    for one, declared in _SETS[kind].items():
        word, _, rest = declared.partition(" ")
        yield f"add {word} {kind} {name} {rest}"
        yield f"flush {word} {kind} {name} {one}"
    yield f"flush table {kind} {name}"


def _elements(name: str, used: Iterable[Network], members: Iterable[Lease]) -> Iterator[str]:
    """Who is there."""
    for network in used:
        yield f"add element inet {name} gateways {{ {network.gateway} }}"
        yield f'add element inet {name} within {{ "{network.bridge}" . "{network.bridge}" }}'
        if network.internal:
            yield f'add element inet {name} closed {{ "{network.bridge}" }}'
    for lease in members:
        if lease.is_raw:
            yield f'add element bridge {name} ends {{ "{lease.device}" }}'
            yield f'add element bridge {name} members {{ "{lease.device}" . {lease.hardware_address} . {lease.address} }}'
        if lease.policy != "all":
            yield f"add element inet {name} limited {{ {lease.address} }}"
            if lease.address6:
                yield f"add element inet {name} limited6 {{ {lease.address6} }}"
        for port in lease.ports:
            of, address = ("6", lease.address6) if ":" in port.address else ("", lease.address)
            to = f"{port.protocol} . {port.host} : {address} . {port.container}"
            if port.address in leases.ANY:
                yield f"add element inet {name} published{of}_on_any {{ {to} }}"
            else:
                yield f"add element inet {name} published{of} {{ {port.address} . {to} }}"
