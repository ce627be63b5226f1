"""Containers that are kept and whose record cannot be read: nobody knows what they have, so that they go by force alone."""

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
    """The one whose id is that, or begins so; None where there is none, or where several do."""
    found = [one for one in inventory.unreadable(home) if text and one.name.startswith(text)]
    return found[0] if len(found) == 1 else None


def remove(broken: Unreadable, home: Home) -> None:
    """Kill what runs of it, and remove its directory with all that it has written; volumes stay.

    Raises NotSupported for what a later version has made, NotAllowed where somebody has it all the time, SetupFailed.
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
