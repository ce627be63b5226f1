"""Copies of sparse files: holes stay holes, blocks are shared where possible."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from errno import ENXIO, EXDEV
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_FICLONE = 0x40049409  # ioctl_ficlone(2): btrfs, XFS


def copy(source: Path, target: Path) -> None:
    """Copy `source` to the new file `target` (0600), which appears whole.

    On failure it does not appear. Raises OSError.
    """
    draft = target.with_name(f"{target.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    try:
        with source.open("rb") as old, open(draft, "xb", opener=_private) as new:  # Path.open has no opener
            _copy(old.fileno(), new.fileno())
        draft.rename(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _copy(old: int, new: int) -> None:
    with suppress(OSError):
        fcntl.ioctl(new, _FICLONE, old)
        return
    length = os.fstat(old).st_size
    os.ftruncate(new, length)
    at = 0
    while at < length:
        try:
            at = os.lseek(old, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == ENXIO:  # nothing but a hole up to the end
                return
            raise
        end = os.lseek(old, at, os.SEEK_HOLE)
        while at < end:
            at += _copy_some(old, new, end - at, at)


def _copy_some(old: int, new: int, length: int, at: int) -> int:
    try:
        return os.copy_file_range(old, new, length, at, at)
    except OSError as error:
        if error.errno != EXDEV:
            raise
        return os.pwrite(new, os.pread(old, min(length, 1 << 20), at), at)
