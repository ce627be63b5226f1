"""A container's way onto its network: an address first, then the cable and the rules while PID 1 makes the rest, and off it again.

PID 1 hands its network namespace out over the gate, a socket pair, and waits there before it gives up its rights (init/steps.py).
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from contextlib import closing as closed
from dataclasses import replace
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, InvalidSpec, NotAllowed, NotSupported
from cellhold.network import dns, egress, firewall, leases, networks, nft, usermode, veth
from cellhold.network.namespace_handover import handed_out
from cellhold.spec.units import rate
from cellhold.store import record, subids

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from cellhold.network.leases import Lease
    from cellhold.network.networks import Network
    from cellhold.spec.spec import Spec
    from cellhold.store.home import Home
    from cellhold.store.record import Record

_DANGEROUS = frozenset({"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_ADMIN"})


def check(spec: Spec, home: Home) -> None:
    """Raise what join() would, as far as it can be told before: no such network, no program, rights that undo the egress policy."""
    policy = egress.parsed(spec.egress)
    if subids.is_rootless():
        usermode.check(spec)
    else:
        nft.library()
        networks.find(spec.network, home)
        _check_aliases(spec.network, spec.aliases)
    if policy.is_limited and spec.capabilities is not None and (given := sorted(_DANGEROUS & spec.capabilities)):
        raise InvalidSpec(
            f"cannot use egress={spec.egress} with {given[0]}: a program that has it can undo the policy", hint="leave one of them out"
        )


def _check_aliases(network: str, aliases: Sequence[str]) -> None:
    """Raise InvalidSpec for a name of one's choice on the network where everybody is."""
    if aliases and network == networks.DEFAULT:
        raise InvalidSpec(
            f"cannot use network-alias={aliases[0]} with network={network}: aliases are for networks of your own",
            hint="cellhold network create lab, then --network lab",
        )


def join(spec: Spec, container: str, name: str, home: Home) -> Joined | usermode.UserMode:
    """A place on its network: on a bridge of the host's, or without root behind a process of its own."""
    return (usermode.UserMode if subids.is_rootless() else Joined)(spec, container, name, home)


class Joined:
    """A container's place on a network: take() has it an address, connect() brings it up."""

    def __init__(self, spec: Spec, container: str, name: str, home: Home) -> None:
        """Nothing is taken yet. Raises NetworkNotFound."""
        self.network = networks.find(spec.network, home)
        self._spec, self._container, self._name, self._home = spec, container, name, home
        self._rates = (spec.limits.ingress_bits, spec.limits.egress_bits)
        self._policy = egress.parsed(spec.egress)

    def take(self) -> Lease:
        """Take an address. Raises InvalidSpec (a port that is taken), NotAllowed (no address left)."""
        spec = self._spec
        with self._home.networks_locked():
            leases.give_back(self._container, self._home)  # of a run whose end nobody saw
            self.lease = leases.take(
                self.network,
                self._home,
                container=self._container,
                names=(self._name, self._container, *spec.aliases),
                ports=spec.ports,
                policy=str(self._policy),
                is_raw=bool(_DANGEROUS & (spec.capabilities or frozenset())),
                owner=spec.owner,
            )
        return self.lease

    @property
    def resolver(self) -> str:
        """The text of /etc/resolv.conf."""
        return f"nameserver {self.network.gateway}\n"

    def connect(self, gate: socket.socket) -> None:
        """Bring it up, in the namespace that comes through the gate, and open the gate. Raises SetupFailed, NotSupported."""
        with ExitStack() as closing:
            cable = closing.enter_context(closed(veth.Cable(self.network, self.lease, rates=self._rates)))
            namespace, user = handed_out(gate)
            closing.callback(os.close, namespace)
            closing.callback(os.close, user)
            with self._home.networks_locked():
                cable.plug(namespace)
                try:
                    _restrict(self._policy, [(self.network, self.lease)], namespace, is_new=True)
                    firewall.add(self.network, self.lease, self._home)
                finally:
                    cable.done()
                dns.serve(self.network, self._home)
            gate.send(b"1")

    def calls(self) -> tuple[str, ...]:
        """What connect() has asked the kernel, message by message, as rtnetlink(7) and nft(8) name it."""
        lease, network = self.lease, self.network
        down, up = self._rates
        told = [
            f"RTM_NEWLINK({network.bridge}, kind=bridge); RTM_NEWADDR({network.gateway}/{network.prefix})  if it was not there",
            f"RTM_NEWLINK({lease.device}, kind=veth, master={network.bridge}, peer={lease.inside} {lease.hardware_address}, its namespace)",
            *([f"RTM_NEWQDISC({lease.device}, tbf, rate={rate(down)})"] if down else []),
            "setns(its network namespace, CLONE_NEWNET)",
            f"RTM_NEWADDR({lease.inside}, {lease.address}/{network.prefix}); RTM_NEWLINK({lease.inside}, up)",
            *([f"RTM_NEWADDR({lease.inside}, {lease.address6}/64, IFA_F_NODAD)"] if lease.address6 else []),
            *([] if network.internal else [f"RTM_NEWROUTE(default via {network.gateway})"]),
            *([f"RTM_NEWROUTE(default via {network.gateway6})"] if lease.address6 and not network.internal else []),
            *([f"RTM_NEWQDISC({lease.inside}, tbf, rate={rate(up)})"] if up else []),
            *([f"nft: table inet {egress.TABLE} in its namespace: egress {self._policy}"] if self._policy.is_limited else []),
            *([f"nft: table ip6 {egress.TABLE} in its namespace: ip6 saddr != {lease.address6} drop"] if lease.address6 else []),
            *(line for line in firewall.told(network, lease, self._home)),
        ]
        return tuple(told)

    def release(self) -> None:
        """Off it again."""
        release(self._container, self._home)


def connect(known: Record, name: str, home: Home, *, aliases: Sequence[str] = ()) -> Lease:
    """Connect a container that runs to one more network, until it ends. Raises NotAllowed, NetworkNotFound, SetupFailed."""
    _need_root("connect a container")
    network = networks.find(name, home)
    _check_aliases(name, aliases)
    if not known.is_alive:
        raise NotAllowed(
            f"cannot connect container {known.name} to {name}: it does not run", hint=f"cellhold start {known.name}, then again"
        )
    if not known.networks:
        raise NotAllowed(f"cannot connect container {known.name} to {name}: it was made with network=none", hint="make it with --network")
    with ExitStack() as closing, home.networks_locked():
        if any(lease.container == known.id for lease in leases.of(network, home)):
            raise NotAllowed(f"cannot connect container {known.name} to {name}: it is on it")
        namespace = os.open(f"/proc/{known.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        closing.callback(os.close, namespace)
        first = next(iter(leases.of_container(known.id, home)), None)
        policy = first.policy if first is not None else str(known.spec.get("egress") or "all")
        is_raw = first is None or first.is_raw
        owner = first.owner if first is not None else str(known.spec.get("owner") or "")
        names = (known.name, known.id, *aliases)
        lease = leases.take(network, home, container=known.id, names=names, ports=(), policy=policy, is_raw=is_raw, owner=owner)
        try:
            firewall.add(network, lease, home)
            cable = closing.enter_context(closed(veth.Cable(network, lease, rates=(None, None))))
            cable.plug(namespace)
            cable.done()
            _restrict(egress.parsed(policy), _networks(known.id, home), namespace)
            dns.serve(network, home)
        except CellholdError:
            leases.give_back(known.id, home, only=network)
            raise
        return lease


def disconnect(known: Record, name: str, home: Home) -> None:
    """Take a container that runs off a network. Raises NotAllowed where it is not on it, NetworkNotFound."""
    _need_root("disconnect a container")
    network = networks.find(name, home)
    with home.networks_locked():
        lease = next((one for one in leases.of(network, home) if one.container == known.id), None)
        if lease is None:
            raise NotAllowed(f"cannot disconnect container {known.name} from {name}: it is not on it")
        veth.unplug(lease.device)
        _tidy(leases.give_back(known.id, home, only=network), home)
        # Its address there is not its own any more; one that is just ending speaks no more anyway.
        with suppress(NotAllowed), _running(known.id, home, lease) as (_lease, namespace, _user):
            _restrict(egress.parsed(lease.policy), _networks(known.id, home), namespace)


def _need_root(what: str) -> None:
    if subids.is_rootless():
        raise NotSupported(f"cannot {what} without root: its namespaces are nobody's to enter", hint="make it anew, or run as root")


def refused(container: str, home: Home) -> list[egress.Refused]:
    """What a container that runs wanted and did not get by its policy, the most often first. Raises NotAllowed where it has none."""
    with _running(container, home) as (lease, namespace, user):
        return egress.refused(namespace, user) if egress.parsed(lease.policy).is_limited else []


def restrict(container: str, policy: egress.Policy, home: Home) -> None:
    """Give a container that runs another policy, also for the connections that there are. Raises NotAllowed where it is on no network."""
    if subids.is_rootless():
        usermode.check_policy(policy)
    with home.networks_locked(), _running(container, home) as (lease, namespace, user):
        if policy.is_limited and lease.is_raw:
            raise NotAllowed(
                f"cannot use egress={policy}: container {container} was given rights by which a program can undo it",
                hint="make it anew, without NET_RAW, NET_ADMIN and SYS_ADMIN",
            )
        if user is None:
            _restrict(policy, _networks(container, home), namespace)
        else:
            usermode.restrict(policy, home, namespace, user)
        for network, one in list(leases.every(home)):
            if one.container == container:
                leases.put(replace(one, policy=str(policy)), network, home)
        if user is None:
            firewall.write(home)


def _restrict(policy: egress.Policy, on: Sequence[tuple[Network, Lease]], namespace: int, *, is_new: bool = False) -> None:
    members = [
        egress.Membership(network, network.gateway, lease.address6, veth.link_local(lease.hardware_address)) for network, lease in on
    ]
    if not is_new or policy.is_limited or any(member.own for member in members):
        nft.apply(egress.script(policy, members, is_new=is_new), namespace=namespace)


def _networks(container: str, home: Home) -> list[tuple[Network, Lease]]:
    return [(networks.find(lease.network, home), lease) for lease in leases.of_container(container, home)]


@contextmanager
def _running(container: str, home: Home, lease: Lease | None = None) -> Iterator[tuple[Lease, int, int | None]]:
    """The first lease of a container that runs, or the one that is given; descriptors of its namespaces as _namespaces() has them."""
    known = record.look(home.container(container))
    lease = lease or next((one for _network, one in leases.every(home) if one.container == container), None)
    if known is None or lease is None or not known.is_alive or record.birth(known.pid or 0) != known.born:
        raise NotAllowed(f"cannot look at the network of container {container}: it does not run, or was made with network=none")
    with ExitStack() as closing:
        yield lease, *_namespaces(known, closing)


def _namespaces(known: Record, closing: ExitStack) -> tuple[int, int | None]:
    """Its network namespace and, without root, its user namespace, by a process that may be looked at: PID 1 may by root alone."""
    pid, fds = str(known.pid), []
    try:
        if subids.is_rootless():
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
                pid = file.read().split()[0]
        for kind in ("net", "user") if subids.is_rootless() else ("net",):
            fds.append(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC))
            closing.callback(os.close, fds[-1])
    except (OSError, IndexError) as error:
        raise NotAllowed(f"cannot look at the network of container {known.name}: it is just ending") from error
    return fds[0], fds[1] if fds[1:] else None


def release(container: str, home: Home) -> None:
    """Take a container off its networks; a second time there is nothing to do. Its cable goes with its namespace, by and by."""
    with home.networks_locked():
        _tidy(leases.give_back(container, home), home)
    if subids.is_rootless():
        usermode.forget(container, home)


def reclaim(home: Home) -> None:
    """Take those off that are no more, or do not run: their process died in the middle."""
    with home.networks_locked():
        gone = {lease.container for _network, lease in leases.every(home) if not home.container(lease.container).exists()}
        gone |= {container for container in leases.strangers(home) if not _may_run(container, home)}
        for container in gone:
            leases.give_back(container, home)
        leases.clear_drafts(home)
        if not subids.is_rootless():
            dns.clear(home)


def _may_run(container: str, home: Home) -> bool:
    """Whether a container may be running, whatever else is known of it."""
    known = record.look(home.container(container))
    return home.container(container).exists() if known is None else known.is_alive


def _tidy(left: Sequence[Network], home: Home) -> None:
    """What a container leaves in the rules its network's name server takes away; where that was killed, we do."""
    if subids.is_rootless():
        return
    with suppress(CellholdError):  # what cannot be done now the next one who comes or goes does
        if not all(dns.is_there(network, home) for network in left):
            firewall.write(home)
            dns.clear(home)
