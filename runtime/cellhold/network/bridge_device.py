"""A network's bridge device, there as long as a container is on the network."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cellhold.network import proc_net, rtnetlink, sysctl
from cellhold.network.model import hardware_address
from cellhold.network.rtnetlink import EXISTS, suppress_error

if TYPE_CHECKING:
    from cellhold.network.model import Network


def make(host: Any, network: Network) -> int:
    """Make the network's device if it is missing, and return its index."""
    with suppress(OSError):
        return socket.if_nametoindex(network.bridge)
    with suppress_error(EXISTS):  # another container has just made it
        # With an address of its own: else it has its lowest port's, and with each that
        # comes others forget who it is.
        host.link("add", ifname=network.bridge, kind="bridge", br_forward_delay=0, address=hardware_address(network.gateway))
    sysctl.write(f"ipv4/conf/{network.bridge}/route_localnet", "1")  # for ports published on 127.0.0.1; firewall.py keeps others from it
    sysctl.write("ipv4/ip_forward", "1")  # as every engine does; others may need it by the time that we are done
    index = socket.if_nametoindex(network.bridge)
    with suppress_error(EXISTS):
        host.addr("add", index=index, address=network.gateway, prefixlen=network.prefix)
    rtnetlink.add_ipv6(host, index, network.bridge, network.gateway6 if sysctl.has_ipv6() else "")
    if network.gateway6 and sysctl.has_ipv6():
        _forward_ipv6()
    host.link("set", index=index, state="up")
    return index


def is_there(network: Network) -> bool:
    """Whether the network has its device now."""
    return network.bridge in proc_net.devices()


def remove(network: Network) -> None:
    """Remove the network's device if it is there, with the veth pairs still on it."""
    if is_there(network):
        rtnetlink.in_thread(lambda host: rtnetlink.delete(host, *_ports(host, network), network.bridge))


def _ports(host: Any, network: Network) -> list[str]:
    links = host.get_links(master=socket.if_nametoindex(network.bridge))
    return [str(link.get_attr("IFLA_IFNAME")) for link in links]


def _forward_ipv6() -> None:
    """Make the host forward what containers send.

    A host that forwards accepts no router advertisements any more; devices that did go
    on to do so.
    """
    if sysctl.read("ipv6/conf/all/forwarding") == "1":
        return
    for name in os.listdir(f"{sysctl.ROOT}/ipv6/conf"):
        if sysctl.read(f"ipv6/conf/{name}/accept_ra") == "1":
            sysctl.write(f"ipv6/conf/{name}/accept_ra", "2")
    sysctl.write("ipv6/conf/all/forwarding", "1")
