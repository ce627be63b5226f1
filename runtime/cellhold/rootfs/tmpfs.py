"""The size and number of files of a container's file systems in memory.

tmpfs(5)'s size and nr_inodes. A program that fills one should read "No space left on
device", and no process should be killed at the memory limit for it. So those without a
size of their own share half of the memory limit, less what others were given; a whole
layer in memory may take all of it. An empty file has no page, but takes 1 to 2 KiB of
the kernel's memory: there are as many files as the size makes sensible.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cellhold.spec.spec import Spec

SHM = "/dev/shm"  # noqa: S108  # the container's own
SHM_BYTES = 64 << 20  # docker's, where there is no memory limit to take a part of
BYTES_PER_FILE = 16384  # an empty file is an eighth of that at most, 10 KiB with access lists (seccomp/profile.py); ext4 has as many
BYTES_PER_FILE_OF_LAYER = 8192  # as storage/template.py: a tree of installed Python packages has 10 KiB a file
_LEAST_FILES = 256


class Sizes(NamedTuple):
    """Sizes in bytes.

    shm: of /dev/shm; tmpfs: of a mount without a size of its own; layer: of a writable
    layer in memory.
    """

    shm: int
    tmpfs: int
    layer: int


def sizes(spec: Spec) -> Sizes:
    """Return the sizes for a container."""
    limits, half_of_host = spec.limits, host_bytes() // 2
    asked = [entry.size_bytes for entry in spec.mounts if entry.kind == "tmpfs"]
    if not any(is_shm(entry.target) for entry in spec.mounts):
        asked.append(spec.shm_bytes if limits.memory_bytes or spec.shm_bytes else SHM_BYTES)
    half = limits.memory_bytes // 2 if limits.memory_bytes else half_of_host
    share = max(half - sum(filter(None, asked)), half // 4) // max(asked.count(None), 1)
    shm = spec.shm_bytes or (share if limits.memory_bytes else SHM_BYTES)
    return Sizes(shm=shm, tmpfs=share, layer=limits.disk_bytes or min(limits.memory_bytes or half_of_host, half_of_host))


def options(size_bytes: int, *, bytes_per_file: int = BYTES_PER_FILE, files: int | None = None) -> dict[str, str | None]:
    """Return options of mount(8). files: how many, if the size does not decide."""
    return {"size": str(size_bytes), "nr_inodes": str(files or max(size_bytes // bytes_per_file, _LEAST_FILES))}


def is_shm(target: str) -> bool:
    """Return whether the path is /dev/shm's."""
    return os.path.normpath(target) == SHM


def host_bytes() -> int:
    """Return the memory of this machine in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
