"""Subordinate ids: 65536 of them for each container, never shared with another one that exists.

With shared ids one container could use up what the kernel counts per user on behalf of another (inotify instances, pending
signals, keys). The ranges lie in the upper part of what systemd's UIDs-GIDS document sets aside for containers (524288 to
1879048191), above what useradd gives out as subordinate ids (SUB_UID_MAX 600100000); ranges that /etc/subuid or /etc/subgid
name are left out all the same.
"""

from __future__ import annotations

import os
from pathlib import Path

from cellhold.errors import NotSupported

COUNT = 65536
FIRST = 1 << 30
RANGES = 4096


def claim(directory: Path, container_id: str) -> int:
    """Claim a free range for a container; returns its first id. Creating the file is the claim, so there is no race.

    Raises NotSupported when all are taken.
    """
    taken = {int(name) for name in os.listdir(directory) if name.isdecimal()}
    foreign = None
    for number in range(RANGES):
        if number in taken:
            continue
        base = FIRST + number * COUNT
        foreign = delegated() if foreign is None else foreign
        if any(start < base + COUNT and base < start + count for start, count in foreign):
            continue
        try:
            fd = os.open(directory / str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
        os.write(fd, container_id.encode())
        os.close(fd)
        return base
    raise NotSupported(
        f"cannot give container {container_id} its own ids: all {RANGES} ranges are taken", hint="remove containers you do not need"
    )


def release(directory: Path, base: int) -> None:
    """Give a range back; releasing twice is no error."""
    (directory / str((base - FIRST) // COUNT)).unlink(missing_ok=True)


def delegated() -> list[tuple[int, int]]:
    """Ranges (first, count) that subuid(5) and subgid(5) give to users of this host."""
    ranges = []
    for path in (Path("/etc/subuid"), Path("/etc/subgid")):
        if path.is_file():
            rows = (line.split(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
            ranges += [(int(row[1]), int(row[2])) for row in rows if len(row) == 3 and row[1].isdecimal() and row[2].isdecimal()]  # noqa: PLR2004
    return ranges
