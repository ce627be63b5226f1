"""Which of the names that containers have mean them, and to whom: names are no authority.

    on the default network     a container's id, and its name unless that has a dot; to containers of the same owner only
    on a network of one's own  its id, its name and its aliases, to all who are on it; those with a dot, which are names of the world
                               outside, to containers of the same owner, and to all only where the owner is the command line

An owner is a notebook, by an id of its own, or "": whoever has the command line. Where several containers have the name that one asks
for, an id goes before all names, those of the asker's own owner before the command line's, and these before others'. Those that are left
are equal: the asker gets all of them, as with docker. Nobody else is heard by a name that programs take as the host's or the site's own.

Pure: who is on which network is the caller's to know (nameserver.py).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cellhold.network.networks import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cellhold.network.leases import Lease

LOCALHOST = "localhost"
# RFC 6761, section 6.3; and what programs configure themselves from when it resolves: proxies (WPAD), tunnels (RFC 5214, section 8.3.2).
_NEVER = frozenset({LOCALHOST, "wpad", "isatap"})


def known_by(lease: Lease) -> Iterator[str]:
    """What a container is called on its network, in small letters: its id, and those of its names that are heard there at all."""
    yield lease.container
    never = _NEVER | _hosts_own()
    for name in lease.names[:1] if lease.network == DEFAULT else lease.names:
        small = name.lower()
        if small in never or small.endswith(f".{LOCALHOST}") or (lease.network == DEFAULT and "." in small):
            continue
        yield small


def canonical(lease: Lease) -> str:
    """The one that its address is told by: its name where that is heard, else its id."""
    return next((name for name in known_by(lease) if name != lease.container), lease.container)


def best(name: str, asker: Lease, called: Iterable[Lease]) -> list[Lease]:
    """The containers that a name means to the asker. called: those on its networks that known_by() says are called so."""
    ranked: dict[int, list[Lease]] = {}
    for lease in called:
        if (rank := _rank(name.lower(), lease, asker)) is not None:
            ranked.setdefault(rank, []).append(lease)
    return ranked[min(ranked)] if ranked else []


def is_seen(lease: Lease, asker: Lease) -> bool:
    """Whether the asker may know of the container at all; both are on the network of the lease."""
    return lease.network != DEFAULT or lease.owner == asker.owner


def _rank(name: str, lease: Lease, asker: Lease) -> int | None:
    if not is_seen(lease, asker):
        return None
    if name == lease.container:
        return 0
    if lease.owner == asker.owner:
        return 1
    if not lease.owner:
        return 2
    return None if "." in name else 3


def _hosts_own() -> set[str]:
    name = os.uname().nodename.lower()
    return {name, name.partition(".")[0]}
