"""What a name server clears up after containers: rules, veth pairs, the device.

Called by dns.py, on the main thread of the name server's process, which it blocks.
"""

from __future__ import annotations

import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError
from cellhold.linux import inotify
from cellhold.network import bridge_device, firewall, leases, proc_net, veth
from cellhold.network.model import device_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.network.model import Network
    from cellhold.store.home import Home

_GRACE_SECONDS = 1.0  # in which the kernel removes the veth pair of a namespace that nobody is in
_LOOK_SECONDS = 0.5  # between two looks whether anybody is left


def take_away(network: Network, home: Home) -> None:
    """Remove the device of a network that nobody is on, and what it has in the rules.

    All rules go if nobody is on any network. The caller has the networks' lock.
    """
    with suppress(CellholdError):
        bridge_device.remove(network)
        (firewall.write if any(leases.every(home)) else firewall.remove)(home)


class Housekeeping:
    """Sees who leaves a network."""

    def __init__(self, network: Network, home: Home) -> None:
        """Nobody has left yet."""
        self._network, self._home = network, home
        self._left: dict[str, float] = {}  # the veth pairs of those who have left, and when they did

    def run(self, close: Callable[[], None]) -> None:
        """Work until nobody is left, or the store is gone; then the device goes, too.

        close: called last, under the networks' lock: whoever comes next finds nothing
        of ours.
        """
        try:
            gone = inotify.watch(str(self._network.leases(self._home)))
            while not self._look(gone, close):
                pass
        except FileNotFoundError:
            if self._home.networks.exists():
                raise
            with suppress(CellholdError):
                bridge_device.remove(self._network)
                firewall.remove(self._home)

    def _look(self, gone: int, close: Callable[[], None]) -> bool:
        """Wait until somebody leaves, or a moment; return whether nobody is left."""
        if select.select([gone], [], [], _LOOK_SECONDS)[0]:
            now, name = time.monotonic(), self._network.name
            self._left |= {device_name(container, name): now for container in inotify.deleted(gone)}
            with self._home.networks_locked(), suppress(CellholdError):
                firewall.write(self._home)
            return False
        with self._home.networks_locked():
            there = leases.of(self._network, self._home)
            if not there:
                take_away(self._network, self._home)
                close()
                return True
            self._pull({lease.device for lease in there})
        return False

    def _pull(self, used: set[str]) -> None:
        """Remove veth pairs that outlast their owners: somebody shares the network of one.

        used: devices of those who are there; some may have come again.
        """
        here = (proc_net.devices() & self._left.keys()) - used
        late = {device for device in here if time.monotonic() >= self._left[device] + _GRACE_SECONDS}
        with suppress(CellholdError):
            veth.unplug(*late)
        self._left = {device: self._left[device] for device in here - late}
