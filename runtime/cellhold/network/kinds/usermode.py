"""A network without root: slirp4netns(1) or pasta(1).

Each container has a TCP/IP stack of its own, in a process of the user's.

Containers are apart from each other, and have no names: each has a host of its own,
which is the process. It ends with the container's PID 1, whoever was killed: our end of
the gate tells it, whose other end PID 1 keeps open.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec, NotSupported
from cellhold.network import egress, egress_rules, namespaces, networks, nft, pasta, proc_net, shaping, slirp
from cellhold.network.kinds.leased import LeasedNetwork
from cellhold.network.usermode_process import Endpoint
from cellhold.spec.networks import BRIDGE

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from cellhold.network.model import Lease, Network
    from cellhold.network.namespaces import Running
    from cellhold.network.proc_net import Traffic
    from cellhold.spec.spec import Spec
    from cellhold.store.home import Home

PROGRAMS = {slirp.PROGRAM: slirp.start, pasta.PROGRAM: pasta.start}  # network=bridge takes the first that the host has
_TUN = "/dev/net/tun"
_HOST, _NAMES, _GUEST = 2, 3, 100  # addresses in the subnet of the process's own, its name server, and the container


def missing(program: str = BRIDGE) -> str | None:
    """Return why there is no network without root here; None where there is one.

    program: by which; bridge = by any.
    """
    wanted = tuple(PROGRAMS) if program == BRIDGE else (program,)
    if not any(map(shutil.which, wanted)):
        return f"this host has no {' and no '.join(wanted)}"
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return f"{_TUN} cannot be opened"
    try:
        nft.library()
    except NotSupported:
        return "this host has no libnftables, which blocks link-local addresses"
    return None


def choose_program(network: str) -> str:
    """Return the program that the word means, else the first that the host has."""
    return network if network in PROGRAMS else next(filter(shutil.which, PROGRAMS), slirp.PROGRAM)


class UserModeNetwork(LeasedNetwork):
    """A place behind a process of the container's own.

    It has published ports and an egress policy, but no names.
    """

    @classmethod
    def missing(cls) -> str | None:
        """Return why there is no network without root on this host."""
        return missing()

    @classmethod
    def _check(cls, spec: Spec, policy: egress.Policy, home: Home) -> None:  # noqa: ARG003  # each has a network of its own
        _check_kind(spec, policy)
        _check_ports(spec)

    def restrict(self, policy: str) -> None:
        """Replace the policy by one without names."""
        _check_policy(egress.parse(policy))
        super().restrict(policy)

    def _find(self) -> Network:
        network = networks.find(BRIDGE, self._home)
        self._program, self._names = choose_program(self._word), _address(network, _NAMES)
        return _behind(network, self._program)

    def _resolver(self) -> str:
        return self._names

    def _acquire(self) -> Lease:
        return self._reserve(address=_address(self.network, _GUEST))

    def _connect(self, gate: socket.socket) -> None:
        with ExitStack() as closing:
            namespace, user = namespaces.receive(gate)
            closing.callback(os.close, namespace)
            closing.callback(os.close, user)
            at = Endpoint(
                network=self.network,
                lease=self.lease,
                names=self._names,
                namespace=namespace,
                user=user,
                gate=gate.fileno(),
                has_rates=any(self._rates),
                directory=self._home.container(self.lease.container),
            )
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # with logging; ps, stats and rm do without

            with ThreadPoolExecutor(1) as beside:  # both take processes, and neither needs the other's
                ruled = beside.submit(_enforce, self._policy, self._home, namespace, user, is_new=True)
                PROGRAMS[self._program](at)
                ruled.result()
            if any(self._rates):
                shaping.shape_alone(self.lease.inside, self._rates, namespace=namespace, user=user)
            gate.send(b"1")

    def _describe(self) -> Iterator[str]:
        down, up = self._rates
        yield f"{self._program}: {self.lease.inside}, {self.lease.address} (a tap device in its namespace), {self.network.subnet}"
        for port in self.lease.ports:
            yield f"{self._program}: {port.address}:{port.host} -> {port.container}/{port.protocol}"
        yield from shaping.describe_alone(self.lease.inside, down, up)
        yield f"nft: table inet {egress_rules.TABLE} in its namespace: egress {self._policy}, nothing link-local"

    def _as_seen(self, network: Network) -> Network:
        return _behind(network, choose_program(self._word))

    def _traffic(self, lease: Lease, pid: int | None) -> Traffic:
        return proc_net.traffic(lease.inside, str(pid or 0))

    def _enforce(self, policy: egress.Policy, at: Running) -> None:
        assert at.user is not None  # noqa: S101  # for mypy: without root there is one
        _enforce(policy, self._home, at.namespace, at.user)

    @classmethod
    def _settle(cls, container: str, left: Sequence[Network], home: Home) -> None:  # noqa: ARG003  # nothing is anybody else's
        """Remove the program's files, as its sandbox keeps it from that.

        It has ended with PID 1.
        """
        for name in (slirp.SOCKET, *pasta.FILES):
            (home.container(container) / name).unlink(missing_ok=True)

    @classmethod
    def _clear(cls, home: Home) -> None:
        """Do nothing: its programs end with their containers."""

    def _refresh(self) -> None:
        """Do nothing: all rules are in the container's namespace."""


def _check_kind(spec: Spec, policy: egress.Policy) -> None:
    """Raise NotSupported for what needs root, and where there is no network at all."""
    is_one_of_these = spec.network in (BRIDGE, *PROGRAMS)
    if is_one_of_these and (why := missing(spec.network)) is not None:
        raise NotSupported(
            f"cannot use network={spec.network} without root: {why}",
            hint=f"apt install {slirp.PROGRAM} nftables, chmod 666 {_TUN}; or network=none",
        )
    unsupported = {
        f"network={spec.network}": not is_one_of_these,
        "a network alias": bool(spec.aliases),
    }
    _check_policy(policy)
    if refused := next((what for what, is_wanted in unsupported.items() if is_wanted), None):
        raise NotSupported(
            f"cannot use {refused} without root: each container is connected by itself", hint="network=bridge, or run as root"
        )


def _check_policy(policy: egress.Policy) -> None:
    """Raise NotSupported for names: nobody here sees what they are answered with."""
    if any(policy.names()):
        raise NotSupported(
            f"cannot use egress={policy} without root: names are let in by a network's name server", hint="addresses, or run as root"
        )


def _check_ports(spec: Spec) -> None:
    """Raise InvalidSpec, NotSupported for ports that cannot be published like that."""
    if low := next((port for port in spec.ports if port.host is not None and port.host < _lowest_port()), None):
        raise InvalidSpec(
            f"cannot publish port {low.host}: those below {_lowest_port()} are root's", hint=f"a number from {_lowest_port()} on"
        )
    if spec.ports and choose_program(spec.network) == pasta.PROGRAM and (spec.limits.ingress_bits or spec.limits.egress_bits):
        raise NotSupported(
            f"cannot limit what goes by published ports with {pasta.PROGRAM}: it passes them on beside the device that has the rate",
            hint=f"network={slirp.PROGRAM}, or leave out the rates or the ports",
        )
    if port := next((port for port in spec.ports if ":" in port.address), None):
        raise NotSupported(f"cannot publish on {port.address} without root: the container has no IPv6", hint="127.0.0.1 or 0.0.0.0")


def _lowest_port() -> int:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        return int(file.read())


def _behind(network: Network, program: str) -> Network:
    """Return the network as a container behind that program sees it."""
    return replace(network, bridge=program, gateway=_address(network, _HOST), subnet6="", gateway6="")


def _address(network: Network, number: int) -> str:
    return f"{network.subnet.rpartition('.')[0]}.{number}"


def _enforce(policy: egress.Policy, home: Home, namespace: int, user: int, *, is_new: bool = False) -> None:
    """Set the rules in a container's namespaces. Raises SetupFailed, NotSupported."""
    network = networks.find(BRIDGE, home)
    membership = egress_rules.Membership(network, _address(network, _NAMES), is_policed=False)
    script = egress_rules.script(policy, [membership], is_new=is_new)
    nft.apply(script, namespace=namespace, user=user)
