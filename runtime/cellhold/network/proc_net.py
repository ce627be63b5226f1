"""Devices, traffic, addresses and routes of a network namespace.

By /proc/net (proc_pid_net(5)).
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network

# Where the numbers stand in a line of /proc/net/dev, after the device's name.
_RECEIVED_BYTES, _RECEIVED_PACKETS, _SENT_BYTES, _SENT_PACKETS = 0, 1, 8, 9
# The words of a line of /proc/net/route, whose addresses are in the machine's byte
# order, and of ipv6_route.
_DEVICE, _DESTINATION, _FLAGS, _MASK, _ROUTE_WORDS, _UP = 0, 1, 3, 7, 8, 0x1
_DESTINATION6, _PREFIX6, _DEVICE6 = 0, 1, 9
_LINK_LOCAL, _MULTICAST = ipaddress.IPv6Network("fe80::/10"), ipaddress.IPv6Network("ff00::/8")


class Traffic(NamedTuple):
    """Bytes and packets since the device was made; None where it is gone."""

    received_bytes: int | None = None
    sent_bytes: int | None = None
    received_packets: int | None = None
    sent_packets: int | None = None

    def at_peer(self) -> Traffic:
        """Return it as the other end of the same veth pair counts it."""
        return Traffic(self.sent_bytes, self.received_bytes, self.sent_packets, self.received_packets)


def traffic(device: str, process: str = "thread-self") -> Traffic:
    """Read the counters of a device in the network namespace of a process.

    process: a pid, or "thread-self".
    """
    with suppress(OSError), open(f"/proc/{process}/net/dev", encoding="ascii") as file:  # it has just ended
        for line in file:
            name, colon, words = line.partition(":")
            if colon and name.strip() == device:
                numbers = [int(word) for word in words.split()]
                return Traffic(numbers[_RECEIVED_BYTES], numbers[_SENT_BYTES], numbers[_RECEIVED_PACKETS], numbers[_SENT_PACKETS])
    return Traffic()


def devices() -> set[str]:
    """Return the names of this network namespace's devices."""
    with open("/proc/thread-self/net/dev", encoding="ascii") as file:
        return {line.partition(":")[0].strip() for line in file if ":" in line}


def addresses() -> list[str]:
    """Return this host's addresses without loopback's.

    Those that the kernel routes to itself (fib_trie, if_inet6).
    """
    local, address = set(), ""
    with open("/proc/thread-self/net/fib_trie", encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[0] == "|--":
                address = words[1]
            elif words[:3] == ["/32", "host", "LOCAL"] and not address.startswith("127."):
                local.add(address)
    with suppress(FileNotFoundError), open("/proc/thread-self/net/if_inet6", encoding="ascii") as file:
        local |= {str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))) for line in file}
    return sorted(local - {"::1"})


def routes() -> Iterator[tuple[str, Subnet]]:
    """Iterate over the subnets that this host is connected to, with their devices.

    These are all routes but the default one.
    """
    with open("/proc/thread-self/net/route", encoding="ascii") as file:
        for words in map(str.split, list(file)[1:]):
            if len(words) >= _ROUTE_WORDS and int(words[_FLAGS], 16) & _UP and int(words[_MASK], 16):
                address, mask = (ipaddress.IPv4Address(bytes.fromhex(words[at])[::-1]) for at in (_DESTINATION, _MASK))
                yield words[_DEVICE], ipaddress.IPv4Network(f"{address}/{mask}", strict=False)
    with suppress(FileNotFoundError), open("/proc/thread-self/net/ipv6_route", encoding="ascii") as file:
        for words in map(str.split, file):
            subnet = ipaddress.IPv6Network((bytes.fromhex(words[_DESTINATION6]), int(words[_PREFIX6], 16)), strict=False)
            if subnet.prefixlen and not overlap(subnet, _LINK_LOCAL) and not overlap(subnet, _MULTICAST):
                yield words[_DEVICE6], subnet


def overlap(one: Subnet, other: Subnet) -> bool:
    """Whether two subnets have an address in common."""
    return one.version == other.version and (one[0] in other or other[0] in one)
