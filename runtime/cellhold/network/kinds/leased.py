"""What the kinds have in common that give a container an address of its own.

A lease, and the gate. The gate is a socket pair. PID 1 hands its namespaces out over it
and waits there, before it gives up its rights, until it has been connected
(init/steps/isolation.py).
"""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError, InvalidSpec, NotAllowed, SetupFailed
from cellhold.init.prepare import WIRED
from cellhold.network import egress, egress_rules, leases, namespaces, networks
from cellhold.network.kinds.base import Connection
from cellhold.spec.tracing import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cellhold.network.model import Lease, Network
    from cellhold.network.namespaces import Running
    from cellhold.network.proc_net import Traffic
    from cellhold.spec.spec import Spec
    from cellhold.store.home import Home

DANGEROUS = frozenset({"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_ADMIN"})  # whoever has one can undo an egress policy


class LeasedNetwork(ABC):
    """A network on which the container has a lease while it runs.

    As kinds.base.NetworkKind.

    A subclass says which network that is, and how a container is connected to it.
    """

    network: Network  # as the container sees it; from prepare() on
    lease: Lease  # from attach() on
    _spec: Spec  # of this start

    def __init__(self, word: str, home: Home, *, container: str, name: str, report: Callable[[Step], None]) -> None:
        """Nothing is looked up yet."""
        self._word, self._home = word, home
        self._container, self._name, self._report = container, name, report
        self._gate: tuple[socket.socket, socket.socket] | None = None  # our end, and PID 1's
        self._syscalls: dict[str, tuple[str, ...]] = {}

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Return why nobody can be connected like that on this host, or None."""

    @classmethod
    def check(cls, spec: Spec, home: Home) -> None:
        """Raise for a missing network or program, and for rights that undo the policy."""
        policy = egress.parse(spec.egress)
        cls._check(spec, policy, home)
        if policy.is_limited and spec.capabilities is not None and (dangerous := sorted(DANGEROUS & spec.capabilities)):
            raise InvalidSpec(
                f"cannot use egress={spec.egress} with {dangerous[0]}: a program that has it can undo the policy",
                hint="leave one of them out",
            )

    def prepare(self, spec: Spec) -> None:
        """Find the network. Raises NetworkNotFound, Damaged, NotSupported."""
        self._syscalls = {}
        self._spec, self._policy = spec, egress.parse(spec.egress)
        self._rates = (spec.limits.ingress_bits, spec.limits.egress_bits)
        self.network = self._find()

    def plan_fields(self) -> dict[str, Any]:
        """Return that PID 1 is to wait at the gate, and the text of resolv.conf."""
        return {"network": WIRED, "resolver": f"nameserver {self._resolver()}\n"}

    @contextmanager
    def descriptors(self) -> Iterator[tuple[int, ...]]:
        """Open the gate, and hand over PID 1's end of it."""
        self._gate = ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            yield (theirs.fileno(),)

    def attach(self) -> CellholdError | None:
        """Reserve an address, connect the container and open the gate.

        Returns the error, after closing the gate.
        """
        assert self._gate is not None  # noqa: S101  # for mypy: called within descriptors()
        gate, theirs = self._gate
        theirs.close()  # PID 1 has its own: when that ends, ours tells
        begun = time.monotonic()
        try:
            self.lease = self._acquire()
            start = time.monotonic()
            words = f"{self.lease.address} of {self.network.subnet} on {self.lease.network}"
            self._report(Step("network.lease", words, begun, start - begun))
            self._connect(gate)
        except CellholdError as error:
            gate.close()
            return error
        except OSError as error:
            gate.close()
            return SetupFailed(f"cannot connect container {self._name}: {error}", step="network.connect", errno=error.errno or 0)
        self._syscalls = {"network.connect": tuple(self._describe())}
        words = f"to {self.network.bridge}, {self.network.gateway}"
        self._report(Step("network.connect", words, start, time.monotonic() - start))
        return None

    def detach(self) -> None:
        """Return the lease. Does nothing the second time."""
        self.release(self._container, self._home)

    @classmethod
    def release(cls, container: str, home: Home) -> None:
        """Take a container off all its networks. Does nothing the second time."""
        if leases.are_there(container, home):
            with home.networks_locked():
                cls._settle(container, leases.release(container, home), home)

    @classmethod
    def reclaim(cls, home: Home) -> None:
        """Take those off that are gone or do not run: their process died in the middle."""
        with home.networks_locked():
            leases.reclaim(home)
            cls._clear(home)

    def syscalls(self) -> dict[str, tuple[str, ...]]:
        """Return what the last attach() asked the kernel; nothing where it failed."""
        return self._syscalls

    def leases(self) -> list[Lease]:
        """Return its leases, the first network's first."""
        return leases.of_container(self._container, self._home)

    def connections(self, pid: int | None) -> list[Connection]:
        """Return its leases, each with its network and the traffic of this run."""
        return [
            Connection(lease, self._as_seen(networks.find(lease.network, self._home)), *self._traffic(lease, pid))
            for lease in self.leases()
        ]

    def refused(self) -> list[egress.Refused]:
        """Return what the policy has refused.

        Nothing where it refuses nobody. Raises NotAllowed where the container does not
        run.
        """
        with namespaces.running(self._container, self._home) as at:
            return egress_rules.read_refused(at.namespace, at.user) if egress.parse(at.lease.policy).is_limited else []

    def restrict(self, policy: str) -> None:
        """Replace the policy, also for connections that are open. Raises as NetworkKind."""
        wanted = egress.parse(policy)
        with self._home.networks_locked(), namespaces.running(self._container, self._home) as at:
            if wanted.is_limited and at.lease.is_raw:
                raise NotAllowed(
                    f"cannot use egress={wanted}: container {self._container} was given rights by which a program can undo it",
                    hint="make it anew, without NET_RAW, NET_ADMIN and SYS_ADMIN",
                )
            self._enforce(wanted, at)
            for network, lease in leases.memberships(self._container, self._home):
                leases.write(replace(lease, policy=str(wanted)), network, self._home)
            self._refresh()

    def rename(self, name: str) -> None:
        """Write the name into its leases, where name servers read it."""
        with self._home.networks_locked():
            leases.rename(self._container, name, self._home)

    def _reserve(self, *, is_raw: bool = False, address: str | None = None) -> Lease:
        """Take an address and the ports.

        Raises InvalidSpec (a port that is taken), NotAllowed (no address left).
        """
        spec = self._spec
        with self._home.networks_locked():
            leases.release(self._container, self._home)  # of a run whose end nobody saw
            return leases.acquire(
                self.network,
                self._home,
                container=self._container,
                names=(self._name, self._container, *spec.aliases),
                ports=spec.ports,
                policy=str(self._policy),
                is_raw=is_raw,
                owner=spec.owner,
                address=address,
            )

    @classmethod
    @abstractmethod
    def _check(cls, spec: Spec, policy: egress.Policy, home: Home) -> None:
        """Raise for what this kind does not have."""

    @abstractmethod
    def _find(self) -> Network:
        """Return the network, as the container sees it."""

    @abstractmethod
    def _resolver(self) -> str:
        """Return the address of its name server."""

    @abstractmethod
    def _acquire(self) -> Lease:
        """Return a new lease, by _reserve()."""

    @abstractmethod
    def _connect(self, gate: socket.socket) -> None:
        """Connect the namespace that comes through the gate, and open the gate.

        Raises SetupFailed, NotSupported.
        """

    @abstractmethod
    def _describe(self) -> Iterator[str]:
        """Iterate over what _connect() has asked the kernel, by rtnetlink(7) and nft(8)."""

    @abstractmethod
    def _as_seen(self, network: Network) -> Network:
        """Return a network of the store as the container sees it."""

    @abstractmethod
    def _traffic(self, lease: Lease, pid: int | None) -> Traffic:
        """Read what has gone over the lease's device."""

    @abstractmethod
    def _enforce(self, policy: egress.Policy, at: Running) -> None:
        """Replace the rules in the namespaces of the running container."""

    @classmethod
    @abstractmethod
    def _settle(cls, container: str, left: Sequence[Network], home: Home) -> None:
        """Remove what the container leaves elsewhere.

        left: the networks that it was on. The caller has the lock.
        """

    @classmethod
    @abstractmethod
    def _clear(cls, home: Home) -> None:
        """Remove what killed processes of networks have left. The caller has the lock."""

    @abstractmethod
    def _refresh(self) -> None:
        """Write the host's own rules anew, where they depend on policies."""
