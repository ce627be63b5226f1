"""Copy the image's content at a volume's mount point into an empty volume.

Owners, modes and times are kept, as Docker does, but not set-user-id and set-group-id
bits of files: a volume outlives its containers, which cannot make any there either
(exposure.py).

By PID 1, as root of the container's user namespace and nothing more, through
descriptors: no link of the image leads out of the directory.
"""

from __future__ import annotations

import os
import stat

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 20
_SET_IDS = 0o6000

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable


def populate(image: int, volume: int) -> None:
    """Copy, if the volume is empty. Raises OSError.

    image, volume: descriptors (O_PATH suffices) of both directories.
    """
    here, there = os.open(".", _DIRECTORY, dir_fd=image), os.open(".", _DIRECTORY, dir_fd=volume)
    try:
        if not os.listdir(there):
            copy_directory(here, there)
    finally:
        os.close(here)
        os.close(there)


def copy_directory(here: int, there: int) -> None:
    """Copy the content of a directory, then its own attributes."""
    for name in os.listdir(here):
        status = os.stat(name, dir_fd=here, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=here), name, dir_fd=there)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=there, follow_symlinks=False)
        elif stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=there)
            copy_opened(name, here, there, (_DIRECTORY, _DIRECTORY), copy_directory)
        elif stat.S_ISREG(status.st_mode):
            copy_opened(name, here, there, (_OLD, _NEW), copy_file)
        elif stat.S_ISFIFO(status.st_mode):
            os.mkfifo(name, 0o600, dir_fd=there)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=there, follow_symlinks=False)
            os.chmod(name, stat.S_IMODE(status.st_mode) & ~_SET_IDS, dir_fd=there)
    take_on(here, there)


def copy_opened(name: str, here: int, there: int, flags: tuple[int, int], copy: Callable[[int, int], None]) -> None:
    """Open both files with these flags, and copy."""
    source = os.open(name, flags[0], dir_fd=here)
    try:
        made = os.open(name, flags[1], 0o600, dir_fd=there)
        try:
            copy(source, made)
        finally:
            os.close(made)
    finally:
        os.close(source)


def copy_file(source: int, made: int) -> None:
    """Copy the bytes, holes as zeros, then the file's attributes."""
    while os.sendfile(made, source, None, _PIECE):
        pass
    take_on(source, made)


def take_on(source: int, made: int) -> None:
    """Copy owner, mode and times.

    The set-id bits of a directory say which group new files belong to, and are kept.
    """
    status = os.fstat(source)
    os.fchown(made, status.st_uid, status.st_gid)
    os.fchmod(made, stat.S_IMODE(status.st_mode) & (~0 if stat.S_ISDIR(status.st_mode) else ~_SET_IDS))
    os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns))
