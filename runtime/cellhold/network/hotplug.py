"""Connect a running container to one more network, and disconnect it again.

As `docker network connect`; for root only.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from contextlib import closing as closed
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, NotAllowed, NotSupported
from cellhold.network import dns, egress, firewall, leases, namespaces, networks, veth
from cellhold.network.kinds.bridge import check_aliases, enforce
from cellhold.store import subids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold.network.model import Lease
    from cellhold.store.home import Home
    from cellhold.store.record import Record


def connect(container: Record, name: str, home: Home, *, aliases: Sequence[str] = ()) -> Lease:
    """Connect a container that runs to one more network, until it ends.

    Raises NotAllowed, NetworkNotFound, SetupFailed.
    """
    _need_root("connect a container")
    network = networks.find(name, home)
    check_aliases(name, aliases)
    if not container.is_alive:
        raise NotAllowed(
            f"cannot connect container {container.name} to {name}: it does not run", hint=f"cellhold start {container.name}, then again"
        )
    if not container.networks:
        raise NotAllowed(
            f"cannot connect container {container.name} to {name}: it was made with network=none", hint="make it with --network"
        )
    with ExitStack() as closing, home.networks_locked():
        if any(lease.container == container.id for lease in leases.of(network, home)):
            raise NotAllowed(f"cannot connect container {container.name} to {name}: it is on it")
        namespace = os.open(f"/proc/{container.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        closing.callback(os.close, namespace)
        first = next(iter(leases.of_container(container.id, home)), None)
        policy = first.policy if first is not None else str(container.spec.get("egress") or "all")
        is_raw = first is None or first.is_raw
        owner = first.owner if first is not None else str(container.spec.get("owner") or "")
        names = (container.name, container.id, *aliases)
        lease = leases.acquire(network, home, container=container.id, names=names, ports=(), policy=policy, is_raw=is_raw, owner=owner)
        try:
            firewall.add(network, lease, home)
            veth_pair = closing.enter_context(closed(veth.VethPair(network, lease, rates=(None, None))))
            veth_pair.plug(namespace)
            veth_pair.wait()
            enforce(egress.parse(policy), leases.memberships(container.id, home), namespace)
            dns.serve(network, home)
        except CellholdError:
            leases.release(container.id, home, only=network)
            raise
        return lease


def disconnect(container: Record, name: str, home: Home) -> None:
    """Take a container that runs off a network.

    Raises NotAllowed where it is not on it, NetworkNotFound.
    """
    _need_root("disconnect a container")
    network = networks.find(name, home)
    with home.networks_locked():
        lease = next((one for one in leases.of(network, home) if one.container == container.id), None)
        if lease is None:
            raise NotAllowed(f"cannot disconnect container {container.name} from {name}: it is not on it")
        veth.unplug(lease.device)
        dns.settle(leases.release(container.id, home, only=network), home)
        # Its address there is not its own any more; one that is just ending speaks no
        # more anyway.
        with suppress(NotAllowed), namespaces.running(container.id, home, lease) as at:
            enforce(egress.parse(lease.policy), leases.memberships(container.id, home), at.namespace)


def _need_root(what: str) -> None:
    if subids.is_rootless():
        raise NotSupported(f"cannot {what} without root: its namespaces are nobody's to enter", hint="make it anew, or run as root")
