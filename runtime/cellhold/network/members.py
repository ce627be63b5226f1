"""Who is on the networks of a store, as a name server needs it per question.

A directory of leases is read again when it has changed, and not otherwise: a container
may ask often.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold.network import leases, names, networks
from cellhold.network.model import LEASES

if TYPE_CHECKING:
    from cellhold.network.model import Lease, Network
    from cellhold.store.home import Home

# After a change there may be another one of the same time: file systems' clocks tick at
# 100 Hz, or faster.
_UNSURE_NANOSECONDS = 50_000_000


class _Members:
    """The leases of one network, by what they are looked up by."""

    def __init__(self, network: Network, home: Home) -> None:
        self.network, self._home = network, home
        self._seen = (0, 0)
        self.by_address: dict[str, Lease] = {}
        self.by_container: dict[str, Lease] = {}
        self.by_name: dict[str, list[Lease]] = {}

    def refresh(self) -> None:
        """Read them again if they may have changed.

        Raises FileNotFoundError where the network is gone.
        """
        status = os.stat(self.network.leases(self._home))
        seen = (status.st_ino, status.st_mtime_ns)
        if seen == self._seen:
            return
        is_sure = time.time_ns() - status.st_mtime_ns > _UNSURE_NANOSECONDS
        present = leases.of(self.network, self._home)
        self.by_address = {lease.address: lease for lease in present}
        self.by_address |= {lease.address6: lease for lease in present if lease.address6}
        self.by_container = {lease.container: lease for lease in present}
        self.by_name = {}
        for lease in present:
            for name in dict.fromkeys(names.of(lease)):
                self.by_name.setdefault(name, []).append(lease)
        self._seen = seen if is_sure else (0, 0)


class Members:
    """The leases of all networks of a store, for the name server of one of them."""

    def __init__(self, network: Network, home: Home) -> None:
        """Nothing has been read yet."""
        self._home, self._own = home, _Members(network, home)
        self._others: dict[str, _Members] = {}  # by the network's id

    def at(self, address: str) -> Lease | None:
        """Return the lease of that address.

        Raises FileNotFoundError where the network is gone.
        """
        self._own.refresh()
        return self._own.by_address.get(address)

    def called(self, name: str, asker: Lease) -> list[Lease]:
        """Return the containers that the name means to the asker."""
        small = name.lower()
        called = [lease for one in self._around(asker) for lease in one.by_name.get(small, ())]
        return names.best(name, asker, called)

    def behind(self, address: str, asker: Lease) -> tuple[Lease | None, bool]:
        """Return the container of an address, if the asker may know of it.

        And whether the address is one of a network that the asker is on.
        """
        for one in self._around(asker):
            if one.network.has(address):
                lease = one.by_address.get(address)
                return (lease if lease is not None and names.is_visible(lease, asker) else None), True
        return None, False

    def _around(self, asker: Lease) -> list[_Members]:
        """Return the networks that the asker is on; ours, as a rule."""
        around = [self._own]
        for network in networks.every(self._home) if self._is_elsewhere(asker) else ():
            if network.id != self._own.network.id:
                one = self._others.setdefault(network.id, _Members(network, self._home))
                with suppress(FileNotFoundError):  # it was just removed
                    one.refresh()
                    if asker.container in one.by_container:
                        around.append(one)
        return around

    def _is_elsewhere(self, asker: Lease) -> bool:
        with os.scandir(self._home.networks) as entries:
            there = [os.path.join(entry.path, LEASES, asker.container) for entry in entries]
        return sum(map(os.path.exists, there)) > 1
