"""The networks of a store: made, found and removed.

Each has a bridge device of the host for as long as a container is on it.

Where they are kept, model.py says.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold.errors import Damaged, InvalidSpec, NetworkNotFound, NotAllowed, NotSupported
from cellhold.network import addressing, bridge_device
from cellhold.network.model import LEASES, Network
from cellhold.spec.names import check_name
from cellhold.spec.networks import BRIDGE, RESERVED
from cellhold.store import delete, durable, table
from cellhold.store.table import Unreadable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from cellhold.store.home import Home

_FACTS = "network.json"
_SHOWN = 80


def key(home: Home) -> str:
    """Return what tells this store's devices and rules from another's on the host."""
    return hashlib.sha256(str(home.root).encode()).hexdigest()[:4]


def bridges(home: Home) -> str:
    """Return the pattern of our bridges' names, as nft(8) has it.

    With eight digits in place of the star it is as long as a name can be.
    """
    return f"ch{key(home)}-*"


def every(home: Home) -> list[Network]:
    """Return all that can be read, by name."""
    return [network for network in map(_look, _directories(home)) if isinstance(network, Network)]


def unreadable(home: Home) -> list[Unreadable]:
    """Return those that cannot be read."""
    return [network for network in map(_look, _directories(home)) if isinstance(network, Unreadable)]


def _directories(home: Home) -> list[Path]:
    return sorted(entry for entry in home.networks.iterdir() if not entry.name.startswith(".") and entry.is_dir())


def find(name: str, home: Home) -> Network:
    """Return the one of that name; the default one is made where it is missing.

    Raises NetworkNotFound, Damaged, NotSupported.
    """
    check_name(name)
    network = _read(home.networks / name)
    if network is None and name == BRIDGE:
        with suppress(InvalidSpec):  # somebody else has just made it
            return create(name, home)
        network = _read(home.networks / name)
    if network is None:
        raise _not_found(name, home)
    return network


def _not_found(name: str, home: Home) -> NetworkNotFound:
    names = ", ".join(one.name for one in every(home)) or "none"
    return NetworkNotFound(f"cannot find network {name}: there are {names}", hint=f"cellhold network create {name}")


def create(  # noqa: PLR0913  # docker's flags
    name: str,
    home: Home,
    *,
    subnets: Sequence[str] = (),
    gateways: Sequence[str] = (),
    ipv6: bool | None = None,
    internal: bool = False,
    dns: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
) -> Network:
    """Make a network; its device is made when a container joins it.

    subnets, gateways: at most one of each family; free ones where they are left out.
    ipv6: whether it has a subnet of that; None = where the host speaks it.

    Raises InvalidSpec for a name that is taken or is not one, for a subnet that is not
    one or overlaps with what the host is connected to, and for a gateway outside of it;
    NotAllowed where all subnets are taken; NotSupported for IPv6 where the host does
    not speak it.
    """
    check_name(name)
    if name in RESERVED:
        raise InvalidSpec(f"cannot make network {name}: the name means something else")
    wanted = addressing.Request.parse(subnets, gateways, ipv6=ipv6)
    with home.networks_locked():
        if _read(home.networks / name) is not None:
            raise InvalidSpec(
                f"cannot make network {name}: a network of that name exists already", hint=f"cellhold network rm {name}, or another name"
            )
        number = os.urandom(6).hex()
        network = Network(
            name=name,
            id=number,
            bridge=f"{bridges(home)[:-1]}{number[:8]}",
            **wanted.choose(number, list(addressing.in_use(every(home))))._asdict(),
            internal=internal,
            dns=tuple(map(_server, dns)),
            created=time.time(),
            labels=dict(labels or {}),
        )
        with home.written():
            delete.remove(network.directory(home))  # there is nothing in it, says _read()
            with durable.appearing(network.directory(home)) as draft:
                (draft / LEASES).mkdir(mode=0o700)
                durable.write(draft / _FACTS, _FORM.dumps(network.to_json()))
        return network


def remove(name: str, home: Home, *, force: bool = False) -> None:
    """Remove one that nobody is on. Raises NetworkNotFound, NotAllowed.

    force: also one that is damaged; a missing one is not an error.
    """
    check_name(name)
    with home.networks_locked():
        try:
            network = _read(home.networks / name)
        except Damaged:
            if not force:
                raise
            with home.written():
                durable.remove(home.networks / name)
            return
        if name == BRIDGE:
            raise NotAllowed(f"cannot remove network {name}: it is the one that is always there")
        if network is None:
            if force:
                return
            raise _not_found(name, home)
        if using := sorted(name for name in os.listdir(network.leases(home)) if not name.startswith(".")):  # those are half written
            raise NotAllowed(f"cannot remove network {name}: container {using[0]} is on it", hint=f"cellhold rm -f {using[0]}, then again")
        if bridge_device.is_there(network):  # its name server, which would have removed that soon, sees that the network is gone
            bridge_device.remove(network)
        with home.written():
            durable.remove(network.directory(home))


def prune(home: Home, *, needed: Collection[str] = ()) -> list[str]:
    """Remove all that nobody is on; return their names.

    The default one and those that are needed stay.
    """
    gone = []
    for network in every(home):
        if network.name not in needed:
            with suppress(NotAllowed, NetworkNotFound):
                remove(network.name, home)
                gone.append(network.name)
    return gone


def _look(directory: Path) -> Network | Unreadable | None:
    try:
        return _read(directory)
    except (Damaged, NotSupported) as error:
        return Unreadable(name=directory.name, place=directory, error=error)


def _read(directory: Path) -> Network | None:
    """None where there is none. Raises Damaged, NotSupported."""
    name = directory.name
    remedy = f"`cellhold network rm --force {name}` removes it, and `cellhold network create {name}` makes it anew"
    try:
        found = _FORM.read(directory / _FACTS, f"network {name}", hint=remedy)
    except FileNotFoundError:
        if _is_empty(directory):
            return None
        raise Damaged(f"cannot read network {name}: {directory / _FACTS} is damaged: it is not there", hint=remedy) from None
    if found.name != name:
        raise Damaged(f"cannot read network {name}: {directory / _FACTS} is of {found.name[:_SHOWN]!r}", hint=remedy)
    return found


def _is_empty(directory: Path) -> bool:
    """Whether there is nothing of a network.

    An earlier version that was killed may have left its directory.
    """
    with suppress(FileNotFoundError):
        return set(os.listdir(directory)) <= {LEASES, f"{_FACTS}.new"} and not any((directory / LEASES).glob("*"))
    return True


def _check(network: Network) -> None:
    """Raise ValueError for addresses that are none."""
    table.check_moment(network.created, "created")
    for text in (network.subnet, network.subnet6):
        if text:
            ipaddress.ip_network(text)
    for text in (network.gateway, network.gateway6, *network.dns):
        if text:
            ipaddress.ip_address(text)


_FORM = table.Form(kind=Network, version=1, steps=table.BEFORE_VERSIONS, check=_check)


def _server(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise InvalidSpec(f"cannot use dns={text}: {error}") from error
