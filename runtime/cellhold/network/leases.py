"""Who is on a network: one file per container, named by its id (model.Lease).

Changed under the networks' lock.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import asdict, replace
from ipaddress import ip_address
from itertools import count
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, InvalidSpec, NotAllowed
from cellhold.network import networks, ports, sysctl
from cellhold.network.model import LEASES, Lease
from cellhold.spec.spec import Port
from cellhold.store import durable, record, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cellhold.network.model import Network
    from cellhold.store.home import Home

_LAST = "last"
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
ANY = {"0.0.0.0", "::"}  # noqa: S104  # docker's words for all of the host's addresses


def of(network: Network, home: Home) -> list[Lease]:
    """Return those on one network."""
    with suppress(FileNotFoundError):  # the network was just removed
        read = (_read(entry) for entry in sorted(network.leases(home).iterdir()))
        return [lease for lease in read if lease is not None]
    return []


def of_container(container: str, home: Home) -> list[Lease]:
    """Return one container's, by the names of its devices."""
    read = (_read(path) for path in home.networks.glob(f"*/{LEASES}/{container}"))
    return sorted((lease for lease in read if lease is not None), key=lambda lease: lease.inside)


def every(home: Home) -> Iterator[tuple[Network, Lease]]:
    """Iterate over all, each with its network."""
    for network in networks.every(home):
        yield from ((network, lease) for lease in of(network, home))


def acquire(  # noqa: PLR0913  # what there is to know about it
    network: Network,
    home: Home,
    *,
    container: str,
    names: Sequence[str],
    ports: Sequence[Port],
    policy: str,
    is_raw: bool,
    owner: str = "",
    address: str | None = None,
) -> Lease:
    """Write a new lease.

    With the address or the next free one, and a free number for each port that asks for
    any.

    The caller has the lock. Whoever may make packets by hand gets none of IPv6: there
    it could answer in its neighbours' names, and nobody checks that (firewall.py).
    Raises InvalidSpec for a port that is taken, NotAllowed where there is no address
    left.
    """
    present = list(every(home))
    taken = {lease.address for other, lease in present if other.name == network.name}
    address = address or _next(network, taken, home)
    if address is None:
        raise NotAllowed(
            f"cannot join network {network.name}: all {len(taken)} addresses of {network.subnet} are taken",
            hint="remove a container, or make a network with a larger --subnet",
        )
    ours = {lease.inside for _network, lease in present if lease.container == container}
    lease = Lease(
        container=container,
        network=network.name,
        address=address,
        address6=network.address6(address) if sysctl.has_ipv6() and not is_raw else "",
        inside=next(name for number in count() if (name := f"eth{number}") not in ours),
        names=tuple(names),
        ports=tuple(_published(port, [one for _network, other in present for one in _ports(other)]) for port in ports),
        policy=policy,
        is_raw=is_raw,
        owner=owner,
    )
    if not lease.address6 and (port := next((port for port in lease.ports if ":" in port.address), None)):
        raise InvalidSpec(
            f"cannot publish on {port.address}: the container has no IPv6", hint="a network with --ipv6, a host that speaks it, no NET_RAW"
        )
    write(lease, network, home)
    return lease


def _next(network: Network, taken: set[str], home: Home) -> str | None:
    """Return the first free address after the last that was used.

    What others still cache about a container that left should not apply to a new one.
    """
    last, after = network.directory(home) / _LAST, None
    with suppress(OSError):
        after = last.read_text(encoding="ascii", errors="replace")
    address = next((one for one in network.addresses(after) if one not in taken), None)
    if address is not None:
        with home.written():
            last.write_text(address, encoding="ascii")
    return address


def write(lease: Lease, network: Network, home: Home) -> None:
    """Write a lease. The caller has the lock."""
    with home.written():  # not to last: after a power cut nobody is on any network
        durable.write(network.leases(home) / lease.container, _FORM.dumps(asdict(lease)), lasting=False)


def rename(container: str, new: str, home: Home) -> None:
    """Rename a container in its leases; its id and its aliases stay.

    The caller has the lock.
    """
    for network, lease in list(every(home)):
        if lease.container == container:
            write(replace(lease, names=(new, *lease.names[1:])), network, home)


def release(container: str, home: Home, *, only: Network | None = None) -> list[Network]:
    """Remove a container's leases; return the networks that it was on.

    The caller has the lock.
    """
    left = []
    for network in networks.every(home) if only is None else [only]:
        with suppress(FileNotFoundError):
            (network.leases(home) / container).unlink()
            left.append(network)
    return left


def are_there(container: str, home: Home) -> bool:
    """Whether a container has any, readable or not."""
    return any(home.networks.glob(f"*/{LEASES}/{container}"))


def memberships(container: str, home: Home) -> list[tuple[Network, Lease]]:
    """Return one container's leases with their networks, as of_container() does."""
    return [(networks.find(lease.network, home), lease) for lease in of_container(container, home)]


def reclaim(home: Home) -> None:
    """Remove leases of containers that are gone, and drafts.

    Unreadable ones as well, where their container has ended.

    The caller has the lock, so that nobody is writing.
    """
    gone = {lease.container for _network, lease in every(home) if not home.container(lease.container).exists()}
    gone |= {container for container in _unreadable(home) if not _may_run(container, home)}
    for container in gone:
        release(container, home)
    for draft in home.networks.glob(f"*/{LEASES}/.*"):
        draft.unlink(missing_ok=True)


def _unreadable(home: Home) -> set[str]:
    """Return the containers whose lease cannot be read.

    Until they end nobody knows what they have on their network.
    """
    paths = home.networks.glob(f"*/{LEASES}/*")
    return {path.name for path in paths if not path.name.startswith(".") and _read(path) is None and path.exists()}


def _may_run(container: str, home: Home) -> bool:
    """Whether a container may be running, whatever else is known of it."""
    found = record.peek(home.container(container))
    return home.container(container).exists() if found is None else found.is_alive


def _read(path: Path) -> Lease | None:
    if path.name.startswith("."):
        return None
    try:
        lease = _FORM.read(path, f"the lease of container {path.name}", hint="stop the container: it has another with its next start")
    except (FileNotFoundError, CellholdError):
        return None
    return lease if lease.container == path.name else None


def _check(lease: Lease) -> None:
    """Raise ValueError for addresses that are none."""
    for text in (lease.address, lease.address6):
        if text:
            ip_address(text)


_FORM = table.Form(kind=Lease, version=1, steps=table.BEFORE_VERSIONS, check=_check)


def _ports(lease: Lease) -> list[tuple[Port, str]]:
    return [(port, lease.names[0] if lease.names else lease.container) for port in lease.ports]


def _published(port: Port, taken: list[tuple[Port, str]]) -> Port:
    """The port with its number on the host, which is free. Raises InvalidSpec."""
    if port.host is None:
        return Port(container=port.container, protocol=port.protocol, address=port.address, host=_bound(port, 0))
    for other, who in taken:
        same = (other.host, other.protocol) == (port.host, port.protocol) and (":" in other.address) == (":" in port.address)
        if same and (port.address == other.address or ANY & {port.address, other.address}):
            raise InvalidSpec(
                f"cannot publish port {port.host}/{port.protocol}: container {who} has it", hint=f"another number, or cellhold rm -f {who}"
            )
    _bound(port, port.host)
    return port


def _bound(port: Port, number: int) -> int:
    """A number that could be bound just now."""
    with socket.socket(socket.AF_INET6 if ":" in port.address else socket.AF_INET, _KINDS[port.protocol]) as probe:
        if ":" in port.address:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if port.protocol == "tcp":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.address, number))
        except PermissionError as error:
            raise InvalidSpec(f"cannot publish port {number}: those below 1024 are root's", hint="a number from 1024 on") from error
        except OSError as error:
            where = ports.socket_address(port.address, number)
            raise InvalidSpec(
                f"cannot publish port {where}: {os.strerror(error.errno or 0)}, by a process of this host",
                hint=f"ss -lnp 'sport = {number}' shows which process has it",
            ) from error
        return int(probe.getsockname()[1])
