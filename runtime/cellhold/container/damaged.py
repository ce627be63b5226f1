"""Kept containers whose record cannot be read.

Nobody knows what they have, so they are removed by force only.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold import cgroups, network
from cellhold.container import inventory
from cellhold.container.lock import acquire
from cellhold.errors import CellholdError
from cellhold.store import durable, ids, subids

if TYPE_CHECKING:
    from cellhold.store.home import Home
    from cellhold.store.table import Unreadable

_PATIENCE_SECONDS = 30.0  # for its monitor to end


def find(text: str, home: Home) -> Unreadable | None:
    """Return the container whose id is `text`, or begins so.

    None if there is none, or more than one.
    """
    found = [one for one in inventory.unreadable(home) if text and one.name.startswith(text)]
    return found[0] if len(found) == 1 else None


def remove(broken: Unreadable, home: Home) -> None:
    """Kill what runs of it, and remove its directory; volumes stay.

    Raises NotSupported for a record that a later version wrote, NotAllowed if another
    process has it all the time, SetupFailed.
    """
    if not broken.is_damaged:
        raise broken.error
    with suppress(CellholdError):  # there is no group
        cgroups.existing(broken.name).kill()
    lock = acquire(broken.place, "remove", look=lambda: broken.name, seconds=_PATIENCE_SECONDS)
    try:
        cgroups.remove_leftover(broken.name)
        network.release(broken.name, home)
        base = None if subids.is_rootless() else ids.claimed_by(home.ids, broken.name)
        with home.written():
            durable.remove(broken.place)
        if base is not None:
            ids.release(home.ids, base)
    finally:
        os.close(lock)
