"""Attach a container to a bridge of the host's, and detach it.

An address is reserved first; veth pair and rules are made while PID 1 mounts.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from contextlib import closing as closed
from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec, NotSupported
from cellhold.network import dns, egress_rules, firewall, leases, namespaces, networks, nft, proc_net, veth
from cellhold.network.kinds.leased import DANGEROUS, LeasedNetwork
from cellhold.network.model import link_local
from cellhold.spec.networks import BRIDGE
from cellhold.spec.units import rate

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from cellhold.network.egress import Policy
    from cellhold.network.model import Lease, Network
    from cellhold.network.namespaces import Running
    from cellhold.network.proc_net import Traffic
    from cellhold.spec.spec import Spec
    from cellhold.store.home import Home


class BridgeNetwork(LeasedNetwork):
    """A place on a bridge: an address, names, published ports, an egress policy."""

    @classmethod
    def missing(cls) -> str | None:
        """Return why there are no bridges here."""
        try:
            nft.library()
        except NotSupported as error:
            return str(error)
        return None

    @classmethod
    def _check(cls, spec: Spec, policy: Policy, home: Home) -> None:  # noqa: ARG003  # any policy will do
        nft.library()
        networks.find(spec.network, home)
        check_aliases(spec.network, spec.aliases)

    def _find(self) -> Network:
        return networks.find(self._word, self._home)

    def _resolver(self) -> str:
        return self.network.gateway

    def _acquire(self) -> Lease:
        return self._reserve(is_raw=bool(DANGEROUS & (self._spec.capabilities or frozenset())))

    def _connect(self, gate: socket.socket) -> None:
        with ExitStack() as closing:
            veth_pair = closing.enter_context(closed(veth.VethPair(self.network, self.lease, rates=self._rates)))
            namespace, user = namespaces.receive(gate)
            closing.callback(os.close, namespace)
            closing.callback(os.close, user)
            with self._home.networks_locked():
                veth_pair.plug(namespace)
                try:
                    enforce(self._policy, [(self.network, self.lease)], namespace, is_new=True)
                    firewall.add(self.network, self.lease, self._home)
                finally:
                    veth_pair.wait()
                dns.serve(self.network, self._home)
            gate.send(b"1")

    def _describe(self) -> Iterator[str]:
        lease, network = self.lease, self.network
        down, up = self._rates
        yield f"RTM_NEWLINK({network.bridge}, kind=bridge); RTM_NEWADDR({network.gateway}/{network.prefix})  if it was not there"
        peer = f"peer={lease.inside} {lease.hardware_address}, its namespace"
        yield f"RTM_NEWLINK({lease.device}, kind=veth, master={network.bridge}, {peer})"
        if down:
            yield f"RTM_NEWQDISC({lease.device}, tbf, rate={rate(down)})"
        yield "setns(its network namespace, CLONE_NEWNET)"
        yield f"RTM_NEWADDR({lease.inside}, {lease.address}/{network.prefix}); RTM_NEWLINK({lease.inside}, up)"
        if lease.address6:
            yield f"RTM_NEWADDR({lease.inside}, {lease.address6}/64, IFA_F_NODAD)"
        if not network.internal:
            yield f"RTM_NEWROUTE(default via {network.gateway})"
        if lease.address6 and not network.internal:
            yield f"RTM_NEWROUTE(default via {network.gateway6})"
        if up:
            yield f"RTM_NEWQDISC({lease.inside}, tbf, rate={rate(up)})"
        if self._policy.is_limited:
            yield f"nft: table inet {egress_rules.TABLE} in its namespace: egress {self._policy}"
        if lease.address6:
            yield f"nft: table ip6 {egress_rules.TABLE} in its namespace: ip6 saddr != {lease.address6} drop"
        yield from firewall.describe(network, lease, self._home)

    def _as_seen(self, network: Network) -> Network:
        return network

    def _traffic(self, lease: Lease, pid: int | None) -> Traffic:  # noqa: ARG002  # the host's end is here
        return proc_net.traffic(lease.device).at_peer()

    def _enforce(self, policy: Policy, at: Running) -> None:
        enforce(policy, leases.memberships(self._container, self._home), at.namespace)

    def _refresh(self) -> None:
        firewall.write(self._home)

    @classmethod
    def _settle(cls, container: str, left: Sequence[Network], home: Home) -> None:  # noqa: ARG003  # its veth pair goes by itself
        dns.settle(left, home)

    @classmethod
    def _clear(cls, home: Home) -> None:
        dns.clear(home)


def check_aliases(network: str, aliases: Sequence[str]) -> None:
    """Raise InvalidSpec for an alias on the network where everybody is."""
    if aliases and network == BRIDGE:
        raise InvalidSpec(
            f"cannot use network-alias={aliases[0]} with network={network}: aliases are for networks of your own",
            hint="cellhold network create lab, then --network lab",
        )


def enforce(policy: Policy, on: Sequence[tuple[Network, Lease]], namespace: int, *, is_new: bool = False) -> None:
    """Set the egress rules in a container's namespace.

    on: its networks. is_new: there are no rules yet. Raises SetupFailed.
    """
    members = [
        egress_rules.Membership(network, network.gateway, lease.address6, link_local(lease.hardware_address)) for network, lease in on
    ]
    if not is_new or policy.is_limited or any(member.own for member in members):
        nft.apply(egress_rules.script(policy, members, is_new=is_new), namespace=namespace)
