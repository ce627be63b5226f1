"""Which of a container's names mean it, and to whom. A name is not authority.

    network                    is found by                by containers of
    the default one (bridge)   its id; its name without   the same owner
                               a dot
    one of the user's own      its id, name and aliases   everybody on it
                               those with a dot           the same owner; everybody if
                                                          it is the command line's

A name with a dot is one of the world outside, which nobody's container may take from
others. An owner is a notebook, by an id of its own, or "" for the command line. Where
several containers have a name, an id goes before all names, the asker's own owner
before the command line, and that before other notebooks; equals are all returned, as
Docker does. Names that programs trust without asking are nobody's.

Pure: who is on which network is the caller's to know (members.py).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cellhold.spec.networks import BRIDGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cellhold.network.model import Lease

LOCALHOST = "localhost"
# The host itself (RFC 6761, section 6.3), and what programs configure proxies (WPAD) or
# tunnels (RFC 5214, section 8.3.2) from, as soon as it resolves.
_NEVER = frozenset({LOCALHOST, "wpad", "isatap"})
_LONGEST, _LONGEST_LABEL = 253, 63  # of a name that can be asked for (RFC 1035, section 2.3.4)


def of(lease: Lease) -> Iterator[str]:
    """Iterate over the names that mean the container, in lower case; its id first."""
    yield lease.container
    is_default = lease.network == BRIDGE
    never = _NEVER | _hosts_own()
    for name in lease.names[:1] if is_default else lease.names:
        small = name.lower()
        if small in never or small.endswith(f".{LOCALHOST}") or (is_default and "." in small):
            continue
        if len(small) <= _LONGEST and all(0 < len(label) <= _LONGEST_LABEL for label in small.split(".")):
            yield small


def canonical(lease: Lease) -> str:
    """Return the name of its address: its own where that means it, else its id."""
    return next((name for name in of(lease) if name != lease.container), lease.container)


def best(name: str, asker: Lease, called: Iterable[Lease]) -> list[Lease]:
    """Return the containers that a name means to the asker.

    called: those on the asker's networks of which of() has the name.
    """
    ranked: dict[int, list[Lease]] = {}
    for lease in called:
        if (rank := _rank(name.lower(), lease, asker)) is not None:
            ranked.setdefault(rank, []).append(lease)
    return ranked[min(ranked)] if ranked else []


def is_visible(lease: Lease, asker: Lease) -> bool:
    """Whether the asker, which is on the same network, may know of the container."""
    return lease.network != BRIDGE or lease.owner == asker.owner


def _rank(name: str, lease: Lease, asker: Lease) -> int | None:
    if not is_visible(lease, asker):
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
