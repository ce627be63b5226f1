"""What of the host a container can change, and what it may not do because of that.

Called by container.py at each start.

On the host's disk a file that a container makes in a directory of the host belongs to
one of the host's users: with a set-user-id bit, or with capabilities (capabilities(7),
"File capabilities"), it grants whoever runs it there that user's rights, or root's. So
a container that can reach the host's files can make neither. The containers' layers,
which only the store's owner reaches, may have both: packages are installed there, and
images made of them.
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
    """Return whether its programs can make the host's files or change their modes.

    stdio: descriptors that the program gets.

    As root this needs a bind or a volume that is writable. Without root the user's
    other containers have the same ids, so that one of them may use as its own what
    another sends it over a unix socket, in a directory or a network that they share;
    and a file that is its standard output is its own as well.
    """
    shown = [entry for entry in spec.mounts if entry.kind in ("bind", "volume")]
    if any(not entry.read_only for entry in shown):
        return True
    return subids.is_rootless() and (shares_network(spec.network) or any(map(_has_sockets, shown)) or any(map(_is_file, stdio)))


def check_entering(spec: Spec, stdio: Iterable[int | None], name: str) -> None:
    """Raise NotSupported for descriptors that a later process must not get.

    Its filter is the container's, as set when that started.
    """
    if not exposes_host(spec) and exposes_host(spec, stdio):
        raise NotSupported(
            f"cannot exec in container {name}: without root a file cannot be a standard stream, as its mode could be changed",
            hint="use a pipe",
        )


def capabilities(spec: Spec, *, exposes_host: bool) -> frozenset[str]:
    """Return the capabilities of its programs."""
    wanted = DEFAULT if spec.capabilities is None else spec.capabilities
    return wanted - {_FILE_CAPABILITIES} if exposes_host else wanted


def _has_sockets(entry: Mount) -> bool:
    """Return whether sockets may be in it: it is anything but a single file."""
    if entry.kind == "volume":
        return True
    return not os.path.isfile(entry.opened or str(entry.source))


def _is_file(fd: int | None) -> bool:
    """Return whether it is a file that somebody could run.

    Nobody can run a memfd, which has no name.
    """
    return fd is not None and stat.S_ISREG((status := os.fstat(fd)).st_mode) and status.st_nlink > 0
