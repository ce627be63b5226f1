"""The ids of a container: whose they are on the host, with and without root.

As root each container has a range of its own (ids.py). Without root all containers of a
user have the same ids: 0 is the user, and 1 to 65535 are those that subuid(5) and
subgid(5) assign to the user, written into the maps by newuidmap(1) and newgidmap(1),
the programs that may. Without such a range or such programs, 0 is the only id.
"""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.linux.id_map import format_rows
from cellhold.store import ids

if TYPE_CHECKING:
    from collections.abc import Iterable

Rows = tuple[tuple[int, int, int], ...]  # (first id inside, first id on the host, how many)

SUBUID, SUBGID = Path("/etc/subuid"), Path("/etc/subgid")
_CAP_SYS_ADMIN = 21
HELPERS = ("newuidmap", "newgidmap")
_FIXED_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"  # never the caller's PATH: they run with our authority over our ids
_MOST_ROWS = 100  # the kernel takes 340 in a map
REMEDY = (
    "as root: apt install uidmap, and usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user} "
    "(a range that /etc/subuid gives to nobody else)"
)


@dataclass(frozen=True, kw_only=True)
class Ids:
    """The ids of one container.

    base: the first as the launcher sees it; owner: who the container's root is for the
    caller; count: how many from 0 on.
    """

    base: int
    owner: int
    count: int
    rows: Rows

    def describe(self) -> str:
        """Format the ids: "0-65535 are 1073741824-1073807359 on the host"."""
        return format_rows(self.rows)


@dataclass(frozen=True, kw_only=True)
class Delegation:
    """What the user may map.

    rows for uids and gids, and the absolute paths of the programs that write them
    (None: one id).
    """

    uids: Rows
    gids: Rows
    helpers: tuple[str, str] | None

    @property
    def ids(self) -> Ids:
        """Return the ids of each container."""
        return Ids(base=0, owner=os.geteuid(), count=min(_total(self.uids), _total(self.gids)), rows=self.uids)


def is_rootless() -> bool:
    """Return whether containers are made without root.

    True for an ordinary user, and for a root user who is confined, as inside most
    containers.
    """
    return os.geteuid() != 0 or is_confined()


@cache
def is_confined() -> bool:
    """Return whether this process lacks CAP_SYS_ADMIN.

    Without it root may make no namespace but a user namespace (capabilities(7)).
    """
    status = Path("/proc/self/status").read_bytes()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith(b"CapEff:"))
    return not int(effective, 16) >> _CAP_SYS_ADMIN & 1


def own(base: int) -> Ids:
    """Return the range that root has claimed for one container."""
    return Ids(base=base, owner=base, count=ids.COUNT, rows=((0, base, ids.COUNT),))


def delegation() -> Delegation:
    """Return what this host assigns to this user now."""
    uid, gid = os.geteuid(), os.getegid()
    found = helpers()
    uids, gids = rows(uid, granted(SUBUID, uid)), rows(gid, granted(SUBGID, uid))
    if found is None or len(uids) == 1 or len(gids) == 1:
        return Delegation(uids=uids[:1], gids=gids[:1], helpers=None)
    return Delegation(uids=uids, gids=gids, helpers=found)


def helpers() -> tuple[str, str] | None:
    """Return the absolute paths of newuidmap and newgidmap, or None unless both exist."""
    uid_helper, gid_helper = (shutil.which(name, path=_FIXED_PATH) for name in HELPERS)
    return (uid_helper, gid_helper) if uid_helper and gid_helper else None


def user_name(uid: int) -> str:
    """Return the name of a user, or the number if passwd(5) has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def granted(path: Path, uid: int) -> list[tuple[int, int]]:
    """Return the ranges (first, count) of a user in /etc/subuid or /etc/subgid.

    A row names the user by name or by number.
    """
    names = {user_name(uid), str(uid)}
    return [(first, count) for name, first, count in ids.table(path) if name in names]


def rows(own_id: int, ranges: Iterable[tuple[int, int]]) -> Rows:
    """Return the map: 0 is `own_id`, the others follow, up to 65536 in all."""
    made = [(0, own_id, 1)]
    inside = 1
    for first, count in ranges:
        taken = min(count, ids.COUNT - inside)
        if taken > 0 and len(made) < _MOST_ROWS:
            made.append((inside, first, taken))
            inside += taken
    return tuple(made)


def _total(table: Rows) -> int:
    return sum(count for _inside, _outside, count in table)
