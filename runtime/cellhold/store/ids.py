"""Subordinate ids: 65536 for each container, never shared with another one.

With shared ids one container could use up what the kernel counts per user on behalf of
another (inotify instances, pending signals, keys). The ranges lie in the upper part of
what systemd's UIDs-GIDS document sets aside for containers (524288 to 1879048191),
above what useradd hands out as subordinate ids (SUB_UID_MAX 600100000); ranges that
/etc/subuid or /etc/subgid name are left out all the same.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.errors import NotSupported
from cellhold.store import durable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

COUNT = 65536
_ID = re.compile(r"[0-9a-f]{12}")
FIRST = 1 << 30
RANGES = 4096


def claim(directory: Path, container_id: str) -> int:
    """Claim a free range for a container that has its directory; return its first id.

    Raises NotSupported when all are taken.
    """
    foreign = delegated()
    with locked(directory):
        taken = {int(name) for name in os.listdir(directory) if name.isdecimal()}
        for number in range(RANGES):
            base = FIRST + number * COUNT
            if number in taken or any(start < base + COUNT and base < start + count for start, count in foreign):
                continue
            claimed = directory / str(number)
            fd = os.open(claimed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, container_id.encode())
            except OSError:  # the disk is full
                claimed.unlink()
                raise
            finally:
                os.close(fd)
            return base
    raise NotSupported(
        f"cannot give container {container_id} its own ids: all {RANGES} ranges are taken", hint="remove containers you do not need"
    )


def claimed_by(directory: Path, container_id: str) -> int | None:
    """Return the first id of the range that a container has claimed, or None."""
    for claimed in directory.iterdir():
        with suppress(FileNotFoundError):
            if claimed.name.isdecimal() and _owner(claimed) == container_id:
                return FIRST + int(claimed.name) * COUNT
    return None


def release(directory: Path, base: int) -> None:
    """Release a range; releasing it twice is not an error."""
    with locked(directory):
        (directory / str((base - FIRST) // COUNT)).unlink(missing_ok=True)


def restore(directory: Path, base: int, container_id: str) -> bool:
    """Claim a container's own range again after its claim was lost or is unreadable.

    Returns False if the range belongs to another container by now.
    """
    path = directory / str((base - FIRST) // COUNT)
    with locked(directory):
        if path.exists() and _ID.fullmatch(_owner(path)):
            return False
        durable.write(path, container_id.encode())
    return True


def settle(directory: Path, base: int) -> None:
    """Make a claim survive a power cut. Raises OSError."""
    durable.sync(directory / str((base - FIRST) // COUNT))
    durable.sync(directory)


def reclaim(directory: Path, exists: Callable[[str], bool], *, containers: Collection[str] = ()) -> None:
    """Release the ranges of containers that no longer exist.

    Under the lock: a number may be another container's the next moment.

    containers: all that exist. A claim that cannot be read stays while one of them has
    none: it may be that container's.
    """
    with locked(directory):
        owners = {claimed: _owner(claimed) for claimed in directory.iterdir()}
        is_one_without = bool(set(containers) - set(owners.values()))
        for claimed, owner in owners.items():
            if not (owner and exists(owner)) and (_ID.fullmatch(owner) or not is_one_without):
                claimed.unlink()


def _owner(claimed: Path) -> str:
    return claimed.read_text(encoding="ascii", errors="replace")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock on all claims."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def delegated() -> list[tuple[int, int]]:
    """Return the ranges (first, count) that subuid(5) and subgid(5) assign to users."""
    return [(first, count) for path in (Path("/etc/subuid"), Path("/etc/subgid")) for _name, first, count in table(path)]


def table(path: Path) -> list[tuple[str, int, int]]:
    """Return the sound rows (user, first, count) of subuid(5) or subgid(5).

    There are none if the file does not exist.
    """
    if not path.is_file():
        return []
    rows = (line.split(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return [(row[0], int(row[1]), int(row[2])) for row in rows if len(row) == 3 and row[1].isdecimal() and row[2].isdecimal()]  # noqa: PLR2004
