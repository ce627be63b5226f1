"""What a container is connected to: nothing, or a bridge of the host's with an address of its own.

    networks.py   networks as people know them: a name, a subnet, a bridge device; kept in the store
    leases.py     who is on a network: addresses, names and published ports, given out under a lock
    bridge.py    a container's way onto its network and off it again; what the rest of Cellhold calls
    sharing.py    a network that is not its own: this host's, or another container's
    namespace_handover.py       where a container's PID 1 hands its namespaces out and waits
    usermode.py   the same without root, by a program that stack.py starts
    slirp.py      slirp4netns, one of them
    forwarding.py published TCP ports beside slirp4netns
    pasta.py      pasta, the other
    veth.py      devices, addresses, routes and rates, by rtnetlink
    firewall.py      what the host's packet filter does for all of them: one table, written anew from the leases
    filters.py    nft(8), here and in a container's network namespace
    entering.py   work done in a container's network namespace
    egress.py     whom a container may talk to: rules in its own network namespace
    dns.py     the process of a network's name server; housekeeping.py: what it clears up after containers
    nameserver.py its answers: members.py who is there, questions.py their form, upstream.py what others know, shares.py
    names.py      which of the containers' names mean them, and to whom
    ports.py      published ports as people write them

The truth is in the store; devices and rules are made from it and can be made again. A container's end of the cable, and the rules in
its namespace, go with the namespace, whoever was killed.

What is here is loaded with every container; the rest only for one with a network.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from cellhold.errors import NotAllowed, NotSupported
from cellhold.spec.spec import shares_network
from cellhold.store import durable, subids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellhold.network.bridge import Joined
    from cellhold.network.egress import Refused
    from cellhold.network.leases import Lease
    from cellhold.network.networks import Network
    from cellhold.network.sharing import Shared
    from cellhold.network.usermode import UserMode
    from cellhold.spec.spec import Spec
    from cellhold.store.home import Home
    from cellhold.store.record import Record

NONE = "none"
# In a line of /proc/net/dev: the container's own end, and the host's, which sends what the container receives.
_OWN_COUNTS = {"received_bytes": 0, "sent_bytes": 8, "received_packets": 1, "sent_packets": 9}
_HOSTS_COUNTS = {"received_bytes": 8, "sent_bytes": 0, "received_packets": 9, "sent_packets": 1}


class Connection(NamedTuple):
    """A container on a network. Bytes and packets of this run; None where it has just ended."""

    lease: Lease
    network: Network
    received_bytes: int | None
    sent_bytes: int | None
    received_packets: int | None
    sent_packets: int | None


def default() -> str:
    """Of a container that is run by hand and has none said: CELLHOLD_NETWORK, else bridge where that can be had, else none."""
    from cellhold.network import nft, usermode  # noqa: PLC0415  # as said above

    if configured := os.environ.get("CELLHOLD_NETWORK"):
        return configured
    if subids.is_rootless():
        return "bridge" if usermode.missing() is None else NONE
    try:
        nft.library()
    except NotSupported:
        return NONE
    return "bridge"


def check(spec: Spec, home: Home) -> None:
    """Raise what join() would, as far as it can be told before. Raises NetworkNotFound, NotSupported, InvalidSpec."""
    if shares_network(spec.network):
        from cellhold.network import sharing  # noqa: PLC0415  # as said above

        sharing.check(spec, home)
    elif spec.network != NONE:
        from cellhold.network import bridge  # noqa: PLC0415  # as said above

        bridge.check(spec, home)


def join(spec: Spec, container: str, name: str, home: Home) -> Joined | UserMode | None:
    """Its place on a network, if it is to have one; nothing is taken yet. Raises NetworkNotFound."""
    if not is_own(spec.network):
        return None
    from cellhold.network import bridge  # noqa: PLC0415  # as said above

    return bridge.join(spec, container, name, home)


def is_own(network: str) -> bool:
    """Whether that is something that a container has a place of its own on."""
    return network != NONE and not shares_network(network)


def share(spec: Spec, home: Home) -> Shared | None:
    """Somebody else's network, if it is to have that. Raises ContainerNotFound, NotAllowed, NotSupported."""
    if not shares_network(spec.network):
        return None
    from cellhold.network import sharing  # noqa: PLC0415  # as said above

    return sharing.Shared(spec, home)


def leases_of(known: Record, home: Home) -> list[Lease]:
    """The places on networks that a container has while it runs, the first one's first."""
    if not known.networks:
        return []
    from cellhold.network import leases  # noqa: PLC0415  # as said above

    return leases.of_container(known.id, home)


def connections(known: Record, home: Home) -> list[Connection]:
    """How a container is connected while it runs, and what has gone over it in this run; the first network's first."""
    found = leases_of(known, home)
    if not found:
        return []
    from cellhold.network import networks  # noqa: PLC0415  # as said above

    rootless = subids.is_rootless()
    counts = _counts(str(known.pid) if rootless else "thread-self")
    columns = _OWN_COUNTS if rootless else _HOSTS_COUNTS
    return [
        Connection(
            lease=lease,
            network=_seen(networks.find(lease.network, home), known),
            **_traffic(counts.get(lease.inside if rootless else lease.device), columns),
        )
        for lease in found
    ]


def _seen(network: Network, known: Record) -> Network:
    """The network as the container sees it."""
    if not subids.is_rootless():
        return network
    from cellhold.network import usermode  # noqa: PLC0415  # as said above

    return usermode.behind(network, usermode.chosen(known.network))


def _counts(process: str) -> dict[str, list[str]]:
    """The numbers of each device of a process's network namespace (proc_pid_net(5))."""
    counts = {}
    with suppress(OSError), open(f"/proc/{process}/net/dev", encoding="ascii") as file:  # it has just ended
        for line in file:
            name, colon, numbers = line.partition(":")
            if colon:
                counts[name.strip()] = numbers.split()
    return counts


def _traffic(words: Sequence[str] | None, columns: Mapping[str, int]) -> dict[str, int | None]:
    return {name: None if words is None else int(words[at]) for name, at in columns.items()}


def refused(container: str, home: Home) -> list[Refused]:
    """What a container that runs wanted and did not get by its policy, the most often first. Raises NotAllowed, SetupFailed."""
    from cellhold.network import bridge  # noqa: PLC0415  # as said above

    return bridge.refused(container, home)


def restrict(known: Record, policy: str, home: Home) -> None:
    """Give a container that runs another egress policy. Raises InvalidSpec, NotAllowed where it is on no network, SetupFailed."""
    from cellhold.network import bridge, egress  # noqa: PLC0415  # as said above

    if not known.networks:
        raise NotAllowed(f"cannot change egress of container {known.name}: it is on no network", hint="network=bridge, when it is made")
    bridge.restrict(known.id, egress.parsed(policy), home)


def rename(container: str, new: str, home: Home) -> None:
    """Have others on its networks know a container by another name."""
    from cellhold.network import leases  # noqa: PLC0415  # as said above

    with home.networks_locked():
        leases.rename(container, new, home)


def release(container: str, home: Home) -> None:
    """Take a container off its networks; a second time there is nothing to do."""
    if any(home.networks.glob(f"*/leases/{container}")):
        from cellhold.network import bridge  # noqa: PLC0415  # as said above

        bridge.release(container, home)


def reclaim(home: Home) -> None:
    """Take those off that are no more: their process died in the middle."""
    if any(map(durable.is_half, home.networks.iterdir())):
        with home.networks_locked():
            durable.clear(home.networks)
    if (home.networks / ".rules").exists() or any(home.networks.glob("*/leases/*")):
        from cellhold.network import bridge  # noqa: PLC0415  # as said above

        bridge.reclaim(home)
