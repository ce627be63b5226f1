"""What lies in the upper directory of an overlay, read by descriptors.

An overlay keeps there what was written: new and changed files whole, a character device
0/0 in the place of what was removed (a whiteout), and an attribute on directories that
hide what lies below them (overlayfs.rst, with `userxattr`; fuse-overlayfs has its own).
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from cellhold.linux import mount
from cellhold_kernel.files.names import find_rule

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
BENEATH = mount.RESOLVE_BENEATH | mount.RESOLVE_NO_SYMLINKS | mount.RESOLVE_NO_MAGICLINKS | mount.RESOLVE_NO_XDEV
_OPAQUE = ("user.overlay.opaque", "user.fuseoverlayfs.opaque")
_HIDES_ALL, _WHITEOUT = ".wh..wh..opq", ".wh."  # fuse-overlayfs, where it may make no devices
DEEPEST = 64
_LONGEST = 3500  # bytes of a path: with the folder's own it has to fit in 4096
_KINDS = {stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}


class Kind(Enum):
    """What an entry of the upper directory is."""

    FILE = auto()
    DIRECTORY = auto()
    REMOVED = auto()  # something of the folder's is hidden
    OTHER = auto()  # a link, a FIFO, a socket, a device


class Signature(NamedTuple):
    """What changes when a file does: nobody inside can set the last of them back."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """Return that of a file."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Entry(NamedTuple):
    """One entry. what: of OTHER, in words.

    is_opaque: a directory that hides what is below.

    is_closed: a directory that was not looked into, since it stays, or cannot be read.
    """

    kind: Kind
    signature: Signature
    what: str = ""
    is_opaque: bool = False
    is_closed: bool = False


@dataclass(frozen=True, kw_only=True)
class Survey:
    """An upper directory. is_whole: all of it was looked at."""

    entries: dict[bytes, Entry] = field(default_factory=dict)
    is_whole: bool = True


def read(upper: int, *, most: int) -> Survey:
    """Look at an upper directory. most: entries; beyond that it is not whole.

    Directories whose name stays inside are not looked into. Raises OSError for the
    upper directory itself.
    """
    entries: dict[bytes, Entry] = {}
    waiting: list[bytes] = [b""]
    is_whole = True
    while waiting:
        path = waiting.pop()
        try:
            fd = (
                os.open(".", _DIRECTORY, dir_fd=upper) if not path else mount.openat2(upper, os.fsdecode(path), _DIRECTORY, resolve=BENEATH)
            )
        except OSError:
            if not path:
                raise
            if path in entries:  # it may not be read, or has become something else
                entries[path] = _closed(entries[path])
            continue
        try:
            if path:
                entries[path] = Entry(kind=Kind.DIRECTORY, signature=entries[path].signature, is_opaque=_is_opaque(fd))
            if not _read_directory(fd, path, entries, waiting, most):
                is_whole = False
                break
        finally:
            os.close(fd)
    return Survey(entries=entries, is_whole=is_whole)


def _read_directory(fd: int, path: bytes, entries: dict[bytes, Entry], waiting: list[bytes], most: int) -> bool:
    """Add a directory's entries; return False where there are too many."""
    prefix = path + b"/" if path else b""
    with os.scandir(fd) as found:
        for one in found:
            if len(entries) >= most:
                return False
            name = os.fsencode(one.name)
            try:
                status = one.stat(follow_symlinks=False)
            except OSError:  # it has just gone
                continue
            if one.name.startswith(_WHITEOUT) and stat.S_ISREG(status.st_mode):
                if one.name != _HIDES_ALL:
                    removed = prefix + name.removeprefix(_WHITEOUT.encode())
                    entries.setdefault(removed, Entry(kind=Kind.REMOVED, signature=Signature.of(status)))
                continue
            entry = _entry(status)
            if entry.kind is Kind.DIRECTORY:
                if find_rule(name) is None and len(prefix) + len(name) < _LONGEST and path.count(b"/") < DEEPEST:
                    waiting.append(prefix + name)
                else:
                    entry = _closed(entry)
            entries[prefix + name] = entry
    return True


def _entry(status: os.stat_result) -> Entry:
    signature, kind = Signature.of(status), stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFREG:
        return Entry(kind=Kind.FILE, signature=signature)
    if kind == stat.S_IFDIR:
        return Entry(kind=Kind.DIRECTORY, signature=signature)
    if kind == stat.S_IFCHR and status.st_rdev == 0:
        return Entry(kind=Kind.REMOVED, signature=signature)
    return Entry(kind=Kind.OTHER, signature=signature, what=_KINDS.get(kind, "a device"))


def _closed(entry: Entry) -> Entry:
    return Entry(kind=entry.kind, signature=entry.signature, is_closed=True)


def _is_opaque(fd: int) -> bool:
    for name in _OPAQUE:
        with suppress(OSError):
            if os.getxattr(fd, name) == b"y":
                return True
    with suppress(OSError):
        os.stat(_HIDES_ALL, dir_fd=fd, follow_symlinks=False)
        return True
    return False
