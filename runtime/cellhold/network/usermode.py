"""A network without root: a TCP/IP stack in a process of the user's, one for each container: slirp4netns(1) or pasta(1).

Containers are apart from each other, and have no names: each has a host of its own, which is the process. It ends with the container's
PID 1, whoever was killed: our end of the gate tells it, whose other end PID 1 keeps open.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec, NotSupported
from cellhold.network import egress, leases, networks, nft, pasta, slirp, veth
from cellhold.network.namespace_handover import handed_out
from cellhold.network.usermode_process import Stack

if TYPE_CHECKING:
    import socket

    from cellhold.network.leases import Lease
    from cellhold.network.networks import Network
    from cellhold.spec.spec import Spec
    from cellhold.store.home import Home

PROGRAMS = {slirp.PROGRAM: slirp.start, pasta.PROGRAM: pasta.start}  # network=bridge takes the first that the host has
_TUN = "/dev/net/tun"
_HOST, _NAMES, _GUEST = 2, 3, 100  # addresses in the subnet of the process's own, its name server, and the container


def missing(program: str = networks.DEFAULT) -> str | None:
    """Why there is no network without root here, or not by that program; None where there is one."""
    wanted = tuple(PROGRAMS) if program == networks.DEFAULT else (program,)
    if not any(map(shutil.which, wanted)):
        return f"this host has no {' and no '.join(wanted)}"
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return f"{_TUN} cannot be opened"
    try:
        nft.library()
    except NotSupported:
        return "this host has no libnftables, which keeps link-local addresses from containers"
    return None


def chosen(network: str) -> str:
    """The program that is to do it."""
    return network if network in PROGRAMS else next(filter(shutil.which, PROGRAMS), slirp.PROGRAM)


def check(spec: Spec) -> None:
    """Raise NotSupported for what there is not without root, and where there is no network at all."""
    is_one_of_these = spec.network in (networks.DEFAULT, *PROGRAMS)
    if is_one_of_these and (why := missing(spec.network)) is not None:
        raise NotSupported(
            f"cannot use network={spec.network} without root: {why}",
            hint=f"apt install {slirp.PROGRAM} nftables, chmod 666 {_TUN}; or network=none",
        )
    asked = {
        f"network={spec.network}": not is_one_of_these,
        "a network alias": bool(spec.aliases),
    }
    check_policy(egress.parsed(spec.egress))
    if refused := next((what for what, is_asked in asked.items() if is_asked), None):
        raise NotSupported(
            f"cannot use {refused} without root: each container is connected by itself", hint="network=bridge, or run as root"
        )
    if low := next((port for port in spec.ports if port.host is not None and port.host < _lowest()), None):
        raise InvalidSpec(f"cannot publish port {low.host}: those below {_lowest()} are root's", hint=f"a number from {_lowest()} on")
    if spec.ports and chosen(spec.network) == pasta.PROGRAM and (spec.limits.ingress_bits or spec.limits.egress_bits):
        raise NotSupported(
            f"cannot limit what goes by published ports with {pasta.PROGRAM}: it passes them on beside the device that has the rate",
            hint=f"network={slirp.PROGRAM}, or leave out the rates or the ports",
        )
    if port := next((port for port in spec.ports if ":" in port.address), None):
        raise NotSupported(f"cannot publish on {port.address} without root: the container has no IPv6", hint="127.0.0.1 or 0.0.0.0")


def check_policy(policy: egress.Policy) -> None:
    """Raise NotSupported for one with names: nobody here sees what they are answered with."""
    if any(policy.names()):
        raise NotSupported(
            f"cannot use egress={policy} without root: names are let in by a network's name server", hint="addresses, or run as root"
        )


def _lowest() -> int:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        return int(file.read())


class UserMode:
    """A container's place behind its own process: take() has it its ports, connect() brings it up. As bridge.Joined."""

    def __init__(self, spec: Spec, container: str, name: str, home: Home) -> None:
        """Nothing is taken yet."""
        found = networks.find(networks.DEFAULT, home)
        self._program = chosen(spec.network)
        self.network = behind(found, self._program)
        self._names = _address(found, _NAMES)
        self._ports, self._container, self._name, self._home = spec.ports, container, name, home
        self._policy, self._owner = egress.parsed(spec.egress), spec.owner
        self._rates = (spec.limits.ingress_bits, spec.limits.egress_bits)

    def take(self) -> Lease:
        """Take the ports. Raises InvalidSpec for one that is taken."""
        with self._home.networks_locked():
            leases.give_back(self._container, self._home)  # of a run whose end nobody saw
            self.lease = leases.take(
                self.network,
                self._home,
                container=self._container,
                names=(self._name, self._container),
                ports=self._ports,
                policy=str(self._policy),
                is_raw=False,
                owner=self._owner,
                address=_address(self.network, _GUEST),
            )
        return self.lease

    @property
    def resolver(self) -> str:
        """The text of /etc/resolv.conf."""
        return f"nameserver {self._names}\n"

    def connect(self, gate: socket.socket) -> None:
        """Bring it up, in the namespaces that come through the gate, and open the gate. Raises SetupFailed, NotSupported."""
        with ExitStack() as closing:
            namespace, user = handed_out(gate)
            closing.callback(os.close, namespace)
            closing.callback(os.close, user)
            at = Stack(
                network=self.network,
                lease=self.lease,
                names=self._names,
                namespace=namespace,
                user=user,
                gate=gate.fileno(),
                has_rates=any(self._rates),
                directory=self._home.container(self.lease.container),
            )
            with ThreadPoolExecutor(1) as beside:  # both take processes, and neither needs the other's
                ruled = beside.submit(restrict, self._policy, self._home, namespace, user, is_new=True)
                PROGRAMS[self._program](at)
                ruled.result()
            if any(self._rates):
                veth.shape_alone(self.lease.inside, self._rates, namespace=namespace, user=user)
            gate.send(b"1")

    def calls(self) -> tuple[str, ...]:
        """What connect() has done."""
        down, up = self._rates
        return (
            f"{self._program}: {self.lease.inside}, {self.lease.address} (a tap device in its namespace), {self.network.subnet}",
            *(f"{self._program}: {port.address}:{port.host} -> {port.container}/{port.protocol}" for port in self.lease.ports),
            *veth.told_alone(self.lease.inside, down, up),
            f"nft: table inet {egress.TABLE} in its namespace: egress {self._policy}, nothing link-local",
        )

    def release(self) -> None:
        """Give the ports back; the program has ended with PID 1."""
        with self._home.networks_locked():
            leases.give_back(self._container, self._home)
        forget(self._container, self._home)


def behind(network: Network, program: str) -> Network:
    """The network as a container behind that program sees it."""
    return replace(network, bridge=program, gateway=_address(network, _HOST), subnet6="", gateway6="")


def _address(network: Network, number: int) -> str:
    return f"{network.subnet.rpartition('.')[0]}.{number}"


def restrict(policy: egress.Policy, home: Home, namespace: int, user: int, *, is_new: bool = False) -> None:
    """Set the rules in a container's namespaces. Raises SetupFailed, NotSupported."""
    found = networks.find(networks.DEFAULT, home)
    membership = egress.Membership(found, _address(found, _NAMES), is_policed=False)
    script = egress.script(policy, [membership], is_new=is_new)
    nft.apply(script, namespace=namespace, user=user)


def forget(container: str, home: Home) -> None:
    """Remove what a container's program, which its sandbox keeps from that, has left in the container's directory."""
    for name in (slirp.SOCKET, *pasta.FILES):
        (home.container(container) / name).unlink(missing_ok=True)
