"""Remove everything a detached container has: group, directory, ids, volumes.

The container does not run. Called by detached.py, and by restart_policy.py for one that
is removed when it ends (docker's --rm). What a crash left is cleared by recovery.py;
what cannot be read, by damaged.py.
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
    """Remove the container of that record; the caller holds its directory's lock.

    The directory is renamed first: if this is interrupted later, what is left is a
    crash's leftover, and the next sweep goes on. with_volumes: its anonymous volumes,
    too. Raises OSError, SetupFailed.
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
