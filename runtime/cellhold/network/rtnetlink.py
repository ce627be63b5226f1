"""What all use of rtnetlink (pyroute2) has in common.

A thread, its errors, and an address of IPv6.

pyroute2 is imported when the first container with a network starts, not before. Its
sockets belong to the network namespace of the thread that opens them, and to no event
loop that runs; so a thread of its own does the work.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cellhold.errors import SetupFailed
from cellhold.network import netns_exec, sysctl

if TYPE_CHECKING:
    from collections.abc import Callable

EXISTS, _NO_DEVICE = 17, 19  # errno(3)
_PREFIX6 = 64
_NO_DAD = 0x02  # IFA_F_NODAD (if_addr.h): an address that nobody else can have need not be asked about for a second


def in_thread(work: Callable[[Any], None]) -> None:
    """Do the work in a thread of its own, connected to this network namespace.

    Raises SetupFailed.
    """

    def run() -> None:
        from pyroute2 import IPRoute  # noqa: PLC0415  # as said above

        with IPRoute() as host:
            work(host)

    try:
        netns_exec.in_thread(None, run)
    except Exception as error:
        raise SetupFailed(f"cannot change the host's links: {reason(error)}", step="network.links") from error


def delete(host: Any, *names: str) -> None:
    """Delete devices, those that are there."""
    for name in names:
        with suppress(OSError), suppress_error(_NO_DEVICE):  # it has gone
            host.link("del", index=socket.if_nametoindex(name))


def add_ipv6(route: Any, device: int, name: str, address: str) -> None:
    """Add an IPv6 address to a device, or switch IPv6 off.

    address: "" = none at all. The link-local one, by which neighbours are asked for
    (RFC 4861), is added as well.

    It takes no other from whoever calls itself a router, and asks nobody whether it is
    the only one: it is.
    """
    with suppress(FileNotFoundError):  # a kernel without
        if not address:
            sysctl.write(f"ipv6/conf/{name}/disable_ipv6", "1")
            return
        for key, value in (("addr_gen_mode", "0"), ("accept_dad", "0"), ("accept_ra", "0")):
            sysctl.write(f"ipv6/conf/{name}/{key}", value)
        with suppress_error(EXISTS):
            route.addr("add", index=device, address=address, prefixlen=_PREFIX6, family=socket.AF_INET6, flags=_NO_DAD)


class suppress_error(suppress):  # noqa: N801  # named as contextlib's
    """suppress() for an error of rtnetlink with that number."""

    def __init__(self, number: int) -> None:
        super().__init__(Exception)
        self._number = number

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        """Whether it was that one."""
        return error is not None and getattr(error, "code", None) == self._number


def reason(error: BaseException) -> str:
    """Return the text of an error, perhaps of rtnetlink."""
    number = getattr(error, "code", None)
    return os.strerror(number) if isinstance(number, int) else str(error)
