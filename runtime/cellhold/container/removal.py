"""Remove what a detached container has that does not run: its group, directory, ids and volumes.

Called by detached.py, and by restart_policy.py for one that goes with its end (docker's --rm). What a crash left is
recovery.py's; what cannot be read, damaged.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold import cgroups
from cellhold.rootfs import volumes
from cellhold.store import durable, ids, journal, subids

if TYPE_CHECKING:
    from cellhold.store.home import Home
    from cellhold.store.record import Record


def remove(record: Record, home: Home, *, with_volumes: bool = True) -> None:
    """Remove the container of that record; the caller holds the lock on its directory.

    The directory is renamed first: if this is cut off later, what is left is a crash's leftover, and the next sweep goes on.
    with_volumes: its anonymous volumes, too. Raises OSError, SetupFailed.
    """
    base = None if subids.is_rootless() else ids.claimed_by(home.ids, record.id)
    cgroups.remove_leftover(record.id)
    with home.written():
        durable.remove(home.container(record.id))
    journal.append(home.root, "destroy", record)
    if base is not None:
        ids.release(home.ids, base)
    if with_volumes:
        volumes.remove_anonymous(record, home)
