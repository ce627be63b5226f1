"""A network without root: slirp4netns(1), a TCP/IP stack in a process of the user's, one for each container.

It ends with the container's PID 1, whoever was killed: its exit descriptor is our end of the gate, whose other end PID 1 keeps open.
Containers are apart from each other, and have no names: each has a host of its own, which is the process.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cellhold.errors import InvalidSpec, NotSupported, SetupFailed
from cellhold.network import egress, filters, leases, networks
from cellhold.network.gate import handed_out

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.spec import Port, Spec
    from cellhold.store.home import Home

PROGRAM = "slirp4netns"
_TUN = "/dev/net/tun"
_HOST, _NAMES, _GUEST = 2, 3, 100  # addresses in the subnet that the program has for itself, its name server, and the container
_SECONDS = 30.0
_MOST = 4096
_NS_GET_PARENT = 0xB702  # ioctl_ns(2)
_SOCKET = "slirp"
_BACKGROUND = '"$0" "$@" </dev/null >/dev/null 2>&1 &'


def missing() -> str | None:
    """Why there is no network without root here; None where there is one."""
    if shutil.which(PROGRAM) is None:
        return f"this host has no {PROGRAM}"
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return f"{_TUN} cannot be opened"
    return None


def check(spec: Spec) -> None:
    """Raise NotSupported for what there is not without root, and where there is no network at all."""
    if (why := missing()) is not None:
        raise NotSupported(
            f"cannot use network={spec.network} without root: {why}", hint=f"apt install {PROGRAM}, chmod 666 {_TUN}; or network=none"
        )
    asked = {
        f"network={spec.network}": spec.network != networks.DEFAULT,
        "a network alias": bool(spec.aliases),
        "net-ingress": spec.limits.ingress_bits is not None,
        "net-egress": spec.limits.egress_bits is not None,
        f"egress={spec.egress}": any(egress.parsed(spec.egress).names()),
    }
    if refused := next((what for what, is_asked in asked.items() if is_asked), None):
        raise NotSupported(
            f"cannot use {refused} without root: {PROGRAM} connects each container by itself", hint="network=bridge, or run as root"
        )
    if low := next((port for port in spec.ports if port.host is not None and port.host < _lowest()), None):
        raise InvalidSpec(f"cannot publish port {low.host}: those below {_lowest()} are root's", hint=f"a number from {_lowest()} on")


def _lowest() -> int:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        return int(file.read())


class Slirped:
    """A container's place behind its own slirp4netns, from its lease on; connect() brings it up. As joining.Joined."""

    def __init__(self, spec: Spec, container: str, name: str, home: Home) -> None:
        """Take the ports. Raises InvalidSpec for one that is taken."""
        found = networks.find(networks.DEFAULT, home)
        at = found.subnet.rpartition(".")[0]
        self.network = replace(found, bridge=PROGRAM, gateway=f"{at}.{_HOST}")
        self._names = f"{at}.{_NAMES}"
        self._home = home
        self._policy = egress.parsed(spec.egress)
        with home.networks_locked():
            leases.give_back(container, home)  # of a run whose end nobody saw
            self.lease = leases.take(
                found,
                home,
                container=container,
                names=(name, container),
                ports=spec.ports,
                policy=str(self._policy),
                is_raw=False,
                address=f"{at}.{_GUEST}",
            )

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
            if self._policy.is_limited:
                script = egress.script(self._policy, [egress.Membership(self.network, self._names)])
                filters.apply(script, namespace=namespace, user=user)
            control = self._home.container(self.lease.container) / _SOCKET
            control.unlink(missing_ok=True)
            self._start(gate, namespace, user, control)
            for port in self.lease.ports:
                _publish(control, port)
            gate.send(b"1")

    def _start(self, gate: socket.socket, namespace: int, user: int, control: Path) -> None:
        """Start the program, and wait until the device is there."""
        ready, tell = os.pipe()
        ours = -1
        try:
            ours = fcntl.ioctl(user, _NS_GET_PARENT)  # the user namespace of our launcher: its sandbox takes a root to be made
            words = [
                "nsenter",
                f"--user=/proc/self/fd/{ours}",
                "--preserve-credentials",
                "--",
                PROGRAM,
                "--configure",
                "--mtu=65520",
                "--disable-host-loopback",
                "--enable-sandbox",
                "--enable-seccomp",
                f"--cidr={self.network.subnet}",
                f"--exit-fd={gate.fileno()}",
                f"--ready-fd={tell}",
                f"--api-socket={control}",
                "--netns-type=path",
                f"--userns-path=/proc/self/fd/{user}",
                f"/proc/self/fd/{namespace}",
                self.lease.inside,
            ]
            fds = [gate.fileno(), tell, namespace, user, ours]
            subprocess.run(["/bin/sh", "-c", _BACKGROUND, *words], pass_fds=fds, cwd="/", start_new_session=True, check=True)
            os.close(tell)
            tell = -1
            if not os.read(ready, 1):
                raise SetupFailed(
                    f"cannot connect a container: {PROGRAM} has ended at once", step="network.slirp", hint=f"is {_TUN} there?"
                )
        finally:
            for fd in (ready, ours):
                if fd >= 0:
                    os.close(fd)
            if tell >= 0:
                os.close(tell)

    def calls(self) -> tuple[str, ...]:
        """What connect() has done."""
        published = (f"{PROGRAM}: add_hostfwd {port.address}:{port.host} -> {port.container}/{port.protocol}" for port in self.lease.ports)
        limited = [f"nft: table inet {egress.TABLE} in its namespace: egress {self._policy}"] if self._policy.is_limited else []
        return (
            f"{PROGRAM} --configure --cidr={self.network.subnet} {self.lease.inside} (a tap device in its namespace)",
            *published,
            *limited,
        )

    def release(self) -> None:
        """Give the ports back; the program has ended with PID 1."""
        with self._home.networks_locked():
            leases.give_back(self.lease.container, self._home)
        forget(self.lease.container, self._home)


def forget(container: str, home: Home) -> None:
    """Remove the socket that a container's program, which its sandbox keeps from that, has left in the container's directory."""
    (home.container(container) / _SOCKET).unlink(missing_ok=True)


def _publish(control: Path, port: Port) -> None:
    """Have the program answer for a port. Raises SetupFailed."""
    asked = {
        "execute": "add_hostfwd",
        "arguments": {"proto": port.protocol, "host_addr": port.address, "host_port": port.host, "guest_port": port.container},
    }
    answer: dict[str, Any] = {}
    until = time.monotonic() + _SECONDS
    while not answer:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
                asking.settimeout(_SECONDS)
                asking.connect(str(control))
                asking.sendall(json.dumps(asked).encode())
                asking.shutdown(socket.SHUT_WR)
                answer = json.loads(asking.recv(_MOST))
        except (OSError, ValueError) as error:
            if time.monotonic() > until:
                raise SetupFailed(f"cannot publish port {port.host}: {PROGRAM} does not answer: {error}", step="network.slirp") from error
            time.sleep(0.01)
    if "error" in answer:
        raise SetupFailed(f"cannot publish port {port.host}: {answer['error'].get('desc', 'refused')}", step="network.slirp")
