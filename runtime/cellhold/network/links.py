"""Devices, addresses, routes and rates of the host and of containers, by rtnetlink (pyroute2).

pyroute2 is imported when the first container with a network starts, not before. Its sockets belong to the network namespace of the
thread that opens them, and to no event loop that runs; so a thread of its own does the work, and ends in the container's namespace.
A cable's other end is made right in the container's namespace: to move it there takes the kernel 25 ms.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError, SetupFailed
from cellhold.linux import process

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.network.leases import Lease
    from cellhold.network.networks import Network

_EXISTS, _NO_DEVICE = 17, 19
_ROOT_HANDLE, _LATENCY, _BURST_SECONDS, _LEAST_BURST = 0x10000, "50ms", 0.01, 32 << 10
_SYSCTL = "/proc/sys/net/ipv4/conf"


class Cable:
    """A container's way onto a bridge, made in a thread that begins at once: `done()` waits for it."""

    def __init__(self, network: Network, lease: Lease, namespace: int, *, rates: tuple[int | None, int | None]) -> None:
        """namespace: a descriptor of the container's. rates: bits per second to the container, and from it."""
        self._failed: BaseException | None = None
        self._work = (network, lease, namespace, rates)
        self._thread = threading.Thread(target=self._run, name="cellhold-cable")
        self._thread.start()

    def done(self) -> None:
        """Wait for it. Raises SetupFailed."""
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        try:
            _connect(*self._work)
        except CellholdError as error:
            self._failed = error
        except Exception as error:  # noqa: BLE001  # the border of the thread: the caller raises it
            self._failed = SetupFailed(
                f"cannot connect a container to network {self._work[0].name}: {_reason(error)}", step="network.links"
            )


def _connect(network: Network, lease: Lease, namespace: int, rates: tuple[int | None, int | None]) -> None:
    from pyroute2 import IPRoute  # noqa: PLC0415  # see above

    downward, upward = rates
    with IPRoute() as host:
        bridge = _bridge(host, network)
        peer = {"ifname": lease.inside, "net_ns_fd": namespace, "address": lease.hardware_address}
        host.link("add", ifname=lease.device, kind="veth", master=bridge, state="up", peer=peer)
        if downward is not None:  # what the host's end sends is what the container receives
            _shape(host, socket.if_nametoindex(lease.device), downward)
    process.setns(namespace, process.CLONE_NEWNET)  # this thread ends here
    with IPRoute() as inside:
        device = socket.if_nametoindex(lease.inside)
        inside.addr("add", index=device, address=lease.address, prefixlen=network.prefix)
        inside.link("set", index=device, state="up")
        if not network.internal:
            with suppress_error(_EXISTS):  # it has one by another network
                inside.route("add", gateway=network.gateway)
        if upward is not None:
            _shape(inside, device, upward)


def _bridge(host: Any, network: Network) -> int:
    """The network's device, made if it is missing."""
    with suppress(OSError):
        return socket.if_nametoindex(network.bridge)
    with suppress_error(_EXISTS):  # another container has just made it
        # With an address of its own: else it has its lowest cable's, and with each that comes others forget who it is.
        host.link("add", ifname=network.bridge, kind="bridge", br_forward_delay=0, address=hardware_address(network.gateway))
    _set(f"/proc/sys/net/ipv6/conf/{network.bridge}/disable_ipv6", "1")  # or the host could be talked to by its link-local address
    _set(f"{_SYSCTL}/{network.bridge}/route_localnet", "1")  # for ports published on 127.0.0.1; rules.py keeps others from it
    _set("/proc/sys/net/ipv4/ip_forward", "1")  # as every engine does; others may need it by the time that we are done
    index = socket.if_nametoindex(network.bridge)
    with suppress_error(_EXISTS):
        host.addr("add", index=index, address=network.gateway, prefixlen=network.prefix)
    host.link("set", index=index, state="up")
    return index


def _shape(route: Any, device: int, bits: int) -> None:
    """A token bucket on what the device sends: so many bits per second."""
    rate = bits // 8
    route.tc(
        "add", "tbf", index=device, handle=_ROOT_HANDLE, rate=rate, latency=_LATENCY, burst=max(int(rate * _BURST_SECONDS), _LEAST_BURST)
    )


def hardware_address(address: str) -> str:
    """Made from the address, so that nobody else on the network has it."""
    return "02:43:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def is_there(network: Network) -> bool:
    """Whether the network has its device now."""
    with open("/proc/thread-self/net/dev", encoding="ascii") as file:
        return any(line.partition(":")[0].strip() == network.bridge for line in file)


def remove_bridge(network: Network) -> None:
    """Remove the network's device, if it is there."""
    _in_a_thread(lambda host: _delete(host, network.bridge))


def unplug(lease: Lease) -> None:
    """Pull a container's cable, if it is there."""
    _in_a_thread(lambda host: _delete(host, lease.device))


def _delete(host: Any, name: str) -> None:
    with suppress(OSError), suppress_error(_NO_DEVICE):  # it has gone
        host.link("del", index=socket.if_nametoindex(name))


def _in_a_thread(work: Callable[[Any], None]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        from pyroute2 import IPRoute  # noqa: PLC0415  # as above

        try:
            with IPRoute() as host:
                work(host)
        except Exception as error:  # noqa: BLE001  # as above
            failed.append(error)

    thread = threading.Thread(target=run, name="cellhold-links")
    thread.start()
    thread.join()
    if failed:
        raise SetupFailed(f"cannot change the host's links: {_reason(failed[0])}", step="network.links") from failed[0]


class suppress_error(suppress):  # noqa: N801  # named as contextlib's
    """suppress() for an error of rtnetlink with that number."""

    def __init__(self, number: int) -> None:
        super().__init__(Exception)
        self._number = number

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        """Whether it was that one."""
        return error is not None and getattr(error, "code", None) == self._number


def _set(path: str, value: str) -> None:
    with suppress(FileNotFoundError):  # without IPv6
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.read(fd, 16).strip() != value.encode():
                os.pwrite(fd, value.encode(), 0)
        finally:
            os.close(fd)


def _reason(error: BaseException) -> str:
    number = getattr(error, "code", None)
    return os.strerror(number) if isinstance(number, int) else str(error)
