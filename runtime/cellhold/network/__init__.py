"""What a container is connected to.

open() chooses the kind of its network, and imports that alone.

    kinds/           no network, a shared one, a bridge of the host's, a process of the
                     user's
    hotplug.py       a running container on one more network
    model.py         networks and leases as values
    networks.py      networks as people know them: a name, subnets (addressing.py), a
                     bridge device; kept in the store
    leases.py        who is on a network: addresses, names and published ports, reserved
                     under a lock
    namespaces.py    descriptors of a container's namespaces: handed out by its PID 1,
                     or opened
    veth.py          veth pairs, with addresses and routes; bridge_device.py, shaping.py
                     (rates), rtnetlink.py what they share
    firewall.py      what the host's packet filter does for all of them: one table,
                     written anew from the leases
    nft.py           nft(8), here and in a container's network namespace
    netns_exec.py    work done in a container's network namespace
    egress.py        whom a container may talk to; egress_rules.py: the rules in its own
                     network namespace
    proc_net.py      what /proc/net says: devices, traffic, addresses, routes; sysctl.py
    dns.py           the process of a network's name server; housekeeping.py: what it
                     clears up after containers
    nameserver.py    its answers: members.py who is there, questions.py their form,
                     upstream.py what others know, shares.py
    names.py         which of the containers' names mean them, and to whom
    ports.py         published ports as people write them
    slirp.py         slirp4netns, one of the programs without root; forwarding.py:
                     published TCP ports beside it
    pasta.py         pasta, the other; usermode_process.py: how both are started

The truth is in the store; devices and rules are made from it and can be made again. A
container's end of a veth pair, and the rules in its namespace, go with the namespace,
whoever was killed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cellhold.network.kinds.base import Connection, NetworkKind
from cellhold.network.kinds.none import NoNetwork
from cellhold.spec.networks import BRIDGE, NONE, is_own
from cellhold.spec.spec import shares_network
from cellhold.store import durable, subids

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.network.kinds.leased import LeasedNetwork
    from cellhold.spec.spec import Spec
    from cellhold.spec.tracing import Step
    from cellhold.store.home import Home
    from cellhold.store.record import Record

__all__ = ["BRIDGE", "NONE", "Connection", "NetworkKind", "check", "default", "is_own", "of", "open", "reclaim", "release"]


def open(  # noqa: A001  # as tarfile.open
    word: str, home: Home, *, container: str, name: str, report: Callable[[Step], None] = lambda _step: None
) -> NetworkKind:
    """Return the network of a container; nothing is looked up or taken yet.

    word: Spec.network. container: its id. report: is called with the steps of attach().
    """
    return _kind(word)(word, home, container=container, name=name, report=report)


def of(record: Record, home: Home) -> NetworkKind:
    """Return the network of a container that others may have started, by its record."""
    return open(record.network, home, container=record.id, name=record.name)


def check(spec: Spec, home: Home) -> None:
    """Raise what a start on the spec's network would, as far as can be known before.

    Raises NetworkNotFound, ContainerNotFound, NotAllowed, NotSupported, InvalidSpec.
    """
    _kind(spec.network).check(spec, home)


def default() -> str:
    """Return the network of a container that is run by hand.

    CELLHOLD_NETWORK, else bridge where that works, else none.
    """
    return os.environ.get("CELLHOLD_NETWORK") or (BRIDGE if _leased().missing() is None else NONE)


def release(container: str, home: Home) -> None:
    """Take a container, of which perhaps nothing is left, off its networks.

    Does nothing the second time.
    """
    if any(home.networks.glob(f"*/leases/{container}")):
        _leased().release(container, home)


def reclaim(home: Home) -> None:
    """Take containers off that are gone: their process died in the middle."""
    if any(map(durable.is_half, home.networks.iterdir())):
        with home.networks_locked():
            durable.clear(home.networks)
    if (home.networks / ".rules").exists() or any(home.networks.glob("*/leases/*")):
        _leased().reclaim(home)


def _kind(word: str) -> type[NetworkKind]:
    """Choose the kind.

    Only what is chosen is imported: most containers have no network, and start in less
    time than that takes.
    """
    if word == NONE:
        return NoNetwork
    if shares_network(word):
        from cellhold.network.kinds.shared import SharedNetwork  # noqa: PLC0415  # as said above

        return SharedNetwork
    return _leased()


def _leased() -> type[LeasedNetwork]:
    """Choose the kind on which this user's containers have addresses of their own."""
    if subids.is_rootless():
        from cellhold.network.kinds.usermode import UserModeNetwork  # noqa: PLC0415  # as said above

        return UserModeNetwork
    from cellhold.network.kinds.bridge import BridgeNetwork  # noqa: PLC0415  # as said above

    return BridgeNetwork
