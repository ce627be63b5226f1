"""Devices, addresses, routes and rates of the host and of containers, by rtnetlink (pyroute2).

pyroute2 is imported when the first container with a network starts, not before. Its sockets belong to the network namespace of the
thread that opens them, and to no event loop that runs; so a thread of its own does the work, and ends in the container's namespace.
A cable's other end is made right in the container's namespace: to move it there takes the kernel 25 ms.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from contextlib import suppress
from ipaddress import IPv6Address
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError, SetupFailed
from cellhold.linux import process
from cellhold.network import netns_exec
from cellhold.spec.units import rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cellhold.network.leases import Lease
    from cellhold.network.networks import Network

_EXISTS, _NO_DEVICE = 17, 19
_ROOT_HANDLE, _LATENCY, _BURST_SECONDS, _LEAST_BURST = 0x10000, "50ms", 0.01, 32 << 10
_SYSCTL = "/proc/sys/net"
_PREFIX6, _MOST = 64, 64
_NO_DAD = 0x02  # IFA_F_NODAD (if_addr.h): an address that nobody else can have need not be asked about for a second
_DETOUR, _INGRESS_HANDLE, _ALL, _ANY_CLASS, _ALL_OF_IT = "ifb-in", 0xFFFF0000, 0x0003, 0x10020, "0x0/0x0+0"


class Cable:
    """A container's way onto a bridge, made in a thread of its own, which makes itself ready at once: plug() has it go on."""

    def __init__(self, network: Network, lease: Lease, *, rates: tuple[int | None, int | None]) -> None:
        """rates: bits per second to the container, and from it."""
        self._failed: BaseException | None = None
        self._work = (network, lease, rates)
        self._namespace: SimpleQueue[int] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="cellhold-cable")
        self._thread.start()

    def plug(self, namespace: int) -> None:
        """Make it, to the network namespace of that descriptor."""
        self._namespace.put(namespace)

    def done(self) -> None:
        """Wait for it. Raises SetupFailed."""
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
                f"cannot connect a container to network {self._work[0].name}: {_reason(error)}", step="network.links"
            )


def _connect(network: Network, lease: Lease, rates: tuple[int | None, int | None], plugged: Callable[[], int]) -> None:
    from pyroute2 import IPRoute  # noqa: PLC0415  # see above

    downward, upward = rates
    with IPRoute() as host:
        if (namespace := plugged()) < 0:
            return
        bridge = _bridge(host, network)
        peer = {"ifname": lease.inside, "net_ns_fd": namespace, "address": lease.hardware_address}
        host.link("add", ifname=lease.device, kind="veth", master=bridge, state="up", peer=peer)
        if downward is not None:  # what the host's end sends is what the container receives
            _shape(host, socket.if_nametoindex(lease.device), downward)
    process.setns(namespace, process.CLONE_NEWNET)  # this thread ends here
    with IPRoute() as inside:
        device = socket.if_nametoindex(lease.inside)
        inside.addr("add", index=device, address=lease.address, prefixlen=network.prefix)
        _speak_ipv6(inside, device, lease.inside, lease.address6)
        inside.link("set", index=device, state="up")
        for gateway in () if network.internal else (network.gateway, *([network.gateway6] if lease.address6 else [])):
            with suppress_error(_EXISTS):  # it has one by another network
                inside.route("add", gateway=gateway, family=_family(gateway))
        if upward is not None:
            _shape(inside, device, upward)


def _bridge(host: Any, network: Network) -> int:
    """The network's device, made if it is missing."""
    with suppress(OSError):
        return socket.if_nametoindex(network.bridge)
    with suppress_error(_EXISTS):  # another container has just made it
        # With an address of its own: else it has its lowest cable's, and with each that comes others forget who it is.
        host.link("add", ifname=network.bridge, kind="bridge", br_forward_delay=0, address=hardware_address(network.gateway))
    _set(f"ipv4/conf/{network.bridge}/route_localnet", "1")  # for ports published on 127.0.0.1; firewall.py keeps others from it
    _set("ipv4/ip_forward", "1")  # as every engine does; others may need it by the time that we are done
    index = socket.if_nametoindex(network.bridge)
    with suppress_error(_EXISTS):
        host.addr("add", index=index, address=network.gateway, prefixlen=network.prefix)
    _speak_ipv6(host, index, network.bridge, network.gateway6 if has_ipv6() else "")
    if network.gateway6 and has_ipv6():
        _forward_ipv6()
    host.link("set", index=index, state="up")
    return index


def has_ipv6() -> bool:
    """Whether this host speaks it."""
    return all(_get(f"ipv6/conf/{which}/disable_ipv6") == "0" for which in ("all", "default"))


def _speak_ipv6(route: Any, device: int, name: str, address: str) -> None:
    """Give a device that address, and the link-local one by which neighbours are asked for (RFC 4861); "" = none at all.

    It takes no other from whoever calls itself a router, and asks nobody whether it is the only one: it is.
    """
    with suppress(FileNotFoundError):  # a kernel without
        if not address:
            _set(f"ipv6/conf/{name}/disable_ipv6", "1")
            return
        for key, value in (("addr_gen_mode", "0"), ("accept_dad", "0"), ("accept_ra", "0")):
            _set(f"ipv6/conf/{name}/{key}", value)
        with suppress_error(_EXISTS):
            route.addr("add", index=device, address=address, prefixlen=_PREFIX6, family=socket.AF_INET6, flags=_NO_DAD)


def link_local(hardware_address: str) -> str:
    """The address that the kernel gives a device of itself (RFC 4291, appendix A)."""
    octets = bytes.fromhex(hardware_address.replace(":", ""))
    return str(IPv6Address(bytes((0xFE, 0x80, *bytes(6), octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))))


def _forward_ipv6() -> None:
    """Have the host send on what containers send. A host that does so believes no router any more: those devices that did go on to."""
    if _get("ipv6/conf/all/forwarding") == "1":
        return
    for name in os.listdir(f"{_SYSCTL}/ipv6/conf"):
        if _get(f"ipv6/conf/{name}/accept_ra") == "1":
            _set(f"ipv6/conf/{name}/accept_ra", "2")
    _set("ipv6/conf/all/forwarding", "1")


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def shape_alone(device: str, rates: tuple[int | None, int | None], *, namespace: int, user: int) -> None:
    """Limit a device that has no other end on a host, in a container's namespaces: bits per second to the container, and from it.

    Raises SetupFailed.
    """
    netns_exec.call("cellhold.network.veth:shaped_alone", [user, namespace], json.dumps([device, *rates]), step="network.rates")


def shaped_alone(text: str) -> str:
    """In the process that has entered the namespaces. What comes is sent by another device first, ifb, which can have a rate."""
    from pyroute2 import IPRoute  # noqa: PLC0415  # see above

    name, downward, upward = json.loads(text)
    device = socket.if_nametoindex(name)
    try:
        with IPRoute() as inside:
            if upward is not None:
                _shape(inside, device, upward)
            if downward is not None:
                inside.link("add", ifname=_DETOUR, kind="ifb")
                detour = socket.if_nametoindex(_DETOUR)
                inside.link("set", index=detour, state="up")
                _shape(inside, detour, downward)
                inside.tc("add", "ingress", index=device, handle=_INGRESS_HANDLE)
                sent_on = {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": detour}
                inside.tc(
                    "add-filter",
                    "u32",
                    index=device,
                    parent=_INGRESS_HANDLE,
                    protocol=_ALL,
                    target=_ANY_CLASS,
                    keys=[_ALL_OF_IT],
                    action=sent_on,
                )
    except Exception as error:
        raise SetupFailed(f"cannot limit {name}: {_reason(error)}", step="network.rates") from error
    return ""


def told_alone(device: str, downward: int | None, upward: int | None) -> Iterator[str]:
    """What shape_alone() asks the kernel, for people."""
    if upward is not None:
        yield f"RTM_NEWQDISC({device}, tbf, rate={rate(upward)})"
    if downward is not None:
        yield f"RTM_NEWLINK({_DETOUR}, kind=ifb); RTM_NEWQDISC({_DETOUR}, tbf, rate={rate(downward)})"
        yield f"RTM_NEWQDISC({device}, ingress); RTM_NEWTFILTER({device}, u32, mirred egress redirect dev {_DETOUR})"


def _shape(route: Any, device: int, bits: int) -> None:
    """A token bucket on what the device sends: so many bits per second."""
    byte_rate = bits // 8
    burst = max(int(byte_rate * _BURST_SECONDS), _LEAST_BURST)
    route.tc("add", "tbf", index=device, handle=_ROOT_HANDLE, rate=byte_rate, latency=_LATENCY, burst=burst)


def hardware_address(address: str) -> str:
    """Made from the address, so that nobody else on the network has it."""
    return "02:43:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def is_there(network: Network) -> bool:
    """Whether the network has its device now."""
    return network.bridge in devices()


def devices() -> set[str]:
    """The names of this network namespace's devices."""
    with open("/proc/thread-self/net/dev", encoding="ascii") as file:
        return {line.partition(":")[0].strip() for line in file if ":" in line}


def remove_bridge(network: Network) -> None:
    """Remove the network's device, if it is there, and the cables that hang on it still."""
    if is_there(network):
        _in_a_thread(lambda host: _delete(host, *_cables(host, network), network.bridge))


def _cables(host: Any, network: Network) -> list[str]:
    found = host.get_links(master=socket.if_nametoindex(network.bridge))
    return [str(link.get_attr("IFLA_IFNAME")) for link in found]


def unplug(*names: str) -> None:
    """Pull cables by the host's ends, those that are there."""
    if there := devices().intersection(names):
        _in_a_thread(lambda host: _delete(host, *there))


def _delete(host: Any, *names: str) -> None:
    for name in names:
        with suppress(OSError), suppress_error(_NO_DEVICE):  # it has gone
            host.link("del", index=socket.if_nametoindex(name))


def _in_a_thread(work: Callable[[Any], None]) -> None:
    def run() -> None:
        from pyroute2 import IPRoute  # noqa: PLC0415  # as above

        with IPRoute() as host:
            work(host)

    try:
        netns_exec.in_thread(None, run)
    except Exception as error:
        raise SetupFailed(f"cannot change the host's links: {_reason(error)}", step="network.links") from error


def own_addresses() -> list[str]:
    """This host's, but loopback's: what the kernel routes to itself (proc_net_fib_trie, if_inet6)."""
    found, address = [], ""
    with open("/proc/thread-self/net/fib_trie", encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[0] == "|--":
                address = words[1]
            elif words[:3] == ["/32", "host", "LOCAL"] and not address.startswith("127."):
                found.append(address)
    with suppress(FileNotFoundError), open("/proc/thread-self/net/if_inet6", encoding="ascii") as file:
        found += [str(IPv6Address(bytes.fromhex(line.split()[0]))) for line in file]
    return sorted(set(found) - {"::1"})


class suppress_error(suppress):  # noqa: N801  # named as contextlib's
    """suppress() for an error of rtnetlink with that number."""

    def __init__(self, number: int) -> None:
        super().__init__(Exception)
        self._number = number

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        """Whether it was that one."""
        return error is not None and getattr(error, "code", None) == self._number


def _get(path: str) -> str | None:
    """A value of sysctl(8), of this thread's network namespace; None for one that the kernel has not."""
    with suppress(FileNotFoundError), open(f"{_SYSCTL}/{path}", encoding="ascii") as file:
        return file.read().strip()
    return None


def _set(path: str, value: str) -> None:
    fd = os.open(f"{_SYSCTL}/{path}", os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.read(fd, _MOST).strip() != value.encode():
            os.pwrite(fd, value.encode(), 0)
    finally:
        os.close(fd)


def _reason(error: BaseException) -> str:
    number = getattr(error, "code", None)
    return os.strerror(number) if isinstance(number, int) else str(error)
