"""What of the host a container can change, and what it may not do for that. Asked by container.py at each start.

On the host's disk a file that a container makes in a directory of the host is one of the host's users: with a set-user-id bit, or
with capabilities (capabilities(7), "File capabilities"), it gives whoever runs it there that user's rights, or root's. So who can
reach the host's files can make neither. Their layers, which only the store's owner reaches, may have both: packages are installed
there, and images made of them.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from cellhold.errors import NotSupported
from cellhold.linux.capabilities import DEFAULT
from cellhold.spec.spec import shares_network
from cellhold.store import subids

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cellhold.spec.spec import Mount, Spec

_FILE_CAPABILITIES = "CAP_SETFCAP"


def exposes_host(spec: Spec, stdio: Iterable[int | None] = ()) -> bool:
    """Whether its programs can make files of the host's, or change their modes. stdio: descriptors that the program gets.

    As root it takes a bind or a volume that is writable. Without root the user's other containers have the same ids, so that one
    of them may use what another one sends it over a unix socket, in a directory or a network that they share, as if it were its own;
    and a file that is its standard output is its own as well.
    """
    shown = [entry for entry in spec.mounts if entry.kind in ("bind", "volume")]
    if any(not entry.read_only for entry in shown):
        return True
    return subids.is_rootless() and (shares_network(spec.network) or any(map(_has_sockets, shown)) or any(map(_is_file, stdio)))


def check_entering(spec: Spec, stdio: Iterable[int | None], name: str) -> None:
    """Raise NotSupported for descriptors that a process which comes later must not get: its filter is the container's, as it began."""
    if not exposes_host(spec) and exposes_host(spec, stdio):
        raise NotSupported(
            f"cannot exec in container {name}: without root a file cannot be a standard stream, as its mode could be changed",
            hint="hand over a pipe",
        )


def capabilities(spec: Spec, *, exposes_host: bool) -> frozenset[str]:
    """Those that its programs get."""
    wanted = DEFAULT if spec.capabilities is None else spec.capabilities
    return wanted - {_FILE_CAPABILITIES} if exposes_host else wanted


def _has_sockets(entry: Mount) -> bool:
    """Whether there may be some in it: what is not a single file."""
    if entry.kind == "volume":
        return True
    return not os.path.isfile(entry.opened or str(entry.source))


def _is_file(fd: int | None) -> bool:
    """Whether somebody could run it: a memfd, which has no name, nobody can."""
    return fd is not None and stat.S_ISREG((status := os.fstat(fd)).st_mode) and status.st_nlink > 0
