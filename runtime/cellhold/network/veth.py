"""A container's veth pair to a bridge, with its addresses, routes and rates.

By rtnetlink (rtnetlink.py).

The thread that does it ends in the container's network namespace: the container's end
is made right there, as to move it takes the kernel 25 ms.
"""

from __future__ import annotations

import socket
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, SetupFailed
from cellhold.linux import process
from cellhold.network import bridge_device, proc_net, rtnetlink
from cellhold.network.rtnetlink import EXISTS, suppress_error
from cellhold.network.shaping import shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.network.model import Lease, Network


class VethPair:
    """A container's connection to a bridge, made by a thread of its own.

    The thread prepares at once, and goes on with plug().
    """

    def __init__(self, network: Network, lease: Lease, *, rates: tuple[int | None, int | None]) -> None:
        """rates: bits per second to the container, and from it."""
        self._failed: BaseException | None = None
        self._work = (network, lease, rates)
        self._namespace: SimpleQueue[int] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="cellhold-veth")
        self._thread.start()

    def plug(self, namespace: int) -> None:
        """Make it, to the network namespace of that descriptor."""
        self._namespace.put(namespace)

    def wait(self) -> None:
        """Wait until it is made. Raises SetupFailed."""
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    def close(self) -> None:
        """End the thread of one that may not have been plugged."""
        self._namespace.put(-1)
        self._thread.join()

    def _run(self) -> None:
        try:
            _connect(*self._work, self._namespace.get)
        except CellholdError as error:
            self._failed = error
        except Exception as error:  # noqa: BLE001  # the border of the thread: the caller raises it
            self._failed = SetupFailed(
                f"cannot connect a container to network {self._work[0].name}: {rtnetlink.reason(error)}", step="network.links"
            )


def _connect(network: Network, lease: Lease, rates: tuple[int | None, int | None], plugged: Callable[[], int]) -> None:
    from pyroute2 import IPRoute  # noqa: PLC0415  # as rtnetlink.py says

    downward, upward = rates
    with IPRoute() as host:
        if (namespace := plugged()) < 0:
            return
        bridge = bridge_device.make(host, network)
        peer = {"ifname": lease.inside, "net_ns_fd": namespace, "address": lease.hardware_address}
        host.link("add", ifname=lease.device, kind="veth", master=bridge, state="up", peer=peer)
        if downward is not None:  # what the host's end sends is what the container receives
            shape(host, socket.if_nametoindex(lease.device), downward)
    process.setns(namespace, process.CLONE_NEWNET)  # this thread ends here
    with IPRoute() as inside:
        device = socket.if_nametoindex(lease.inside)
        inside.addr("add", index=device, address=lease.address, prefixlen=network.prefix)
        rtnetlink.add_ipv6(inside, device, lease.inside, lease.address6)
        inside.link("set", index=device, state="up")
        for gateway in () if network.internal else (network.gateway, *([network.gateway6] if lease.address6 else [])):
            with suppress_error(EXISTS):  # it has one by another network
                inside.route("add", gateway=gateway, family=_family(gateway))
        if upward is not None:
            shape(inside, device, upward)


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def unplug(*names: str) -> None:
    """Delete veth pairs by the names of the host's ends, those that are there."""
    if there := proc_net.devices().intersection(names):
        rtnetlink.in_thread(lambda host: rtnetlink.delete(host, *there))
