"""The names in an unpacked layer, without reading any file.

The trees are hostile: no link is followed, everything is bounded.

Without root some directories belong to subordinate ids of the user and may be read by
their owner only; then a small program becomes root of a user namespace with the same
ids and reads them (as delete.py does).
"""

from __future__ import annotations

import marshal
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from cellhold.errors import SetupFailed
from cellhold.linux.mount import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from cellhold.store import subids, user_namespace

if TYPE_CHECKING:
    from pathlib import Path

MOST_ENTRIES = 3_000_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = "user.overlay.opaque"
_PROGRAM = "import marshal; from cellhold.store.scan import read_entries; marshal.dump(read_entries({path!r}), sys.stdout.buffer)"


class LayerEntry(NamedTuple):
    """One name of a layer.

    path: below the layer's root, "" is the root itself; mode: st_mode; link: the target
    of a symbolic link. size_bytes: 0 for all but regular files, and for the second and
    later names of one file.
    """

    path: str
    mode: int
    size_bytes: int
    mtime: float
    link: str | None
    is_whiteout: bool
    is_opaque: bool

    @property
    def is_directory(self) -> bool:
        """Return whether the entry is a directory."""
        return stat.S_ISDIR(self.mode)


def list_entries(tree: Path) -> list[LayerEntry]:
    """List everything in the layer, parents before their content, by name.

    Raises SetupFailed for more than three million entries.
    """
    try:
        return [LayerEntry._make(entry) for entry in read_entries(str(tree))]
    except PermissionError:
        if not subids.is_rootless():
            raise
    output = user_namespace.run(_PROGRAM.format(path=str(tree)))
    return [LayerEntry._make(entry) for entry in marshal.loads(output)]  # noqa: S302  # from our own program


def read_entries(tree: str) -> list[tuple[object, ...]]:
    """Return list_entries() as tuples of plain values.

    No path is longer than the kernel permits: unpacking made sure of that.
    """
    found: list[tuple[object, ...]] = []
    seen: set[int] = set()
    top = os.open(tree, _DIRECTORY)
    try:
        waiting = [""]
        while waiting:
            path = waiting.pop()
            directory = openat2(top, path or ".", _DIRECTORY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
            try:
                below = _entries(path, directory, seen, found)
            finally:
                os.close(directory)
            waiting += [_join(path, name) for name in reversed(below)]
    finally:
        os.close(top)
    return found


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _entries(path: str, directory: int, seen: set[int], found: list[tuple[object, ...]]) -> list[str]:
    """Add the entries of one directory; return the names of its subdirectories."""
    below = []
    opaque = _is_opaque(directory)
    facts = os.fstat(directory)
    found.append((path, facts.st_mode, 0, facts.st_mtime, None, False, opaque))
    with os.scandir(directory) as listed:
        for entry in sorted(listed, key=lambda entry: entry.name):
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode):
                below.append(entry.name)
                continue
            found.append(_file(_join(path, entry.name), entry.name, directory, facts, seen))
            if len(found) > MOST_ENTRIES:
                raise SetupFailed(f"cannot read a layer: it has more than {MOST_ENTRIES} entries", step="store.survey")
    return below


def _file(path: str, name: str, directory: int, facts: os.stat_result, seen: set[int]) -> tuple[object, ...]:
    is_link = stat.S_ISLNK(facts.st_mode)
    first = facts.st_nlink == 1 or facts.st_ino not in seen
    seen.add(facts.st_ino)
    size = facts.st_size if first and stat.S_ISREG(facts.st_mode) else 0
    whiteout = stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0
    return (path, facts.st_mode, size, facts.st_mtime, os.readlink(name, dir_fd=directory) if is_link else None, whiteout, False)


def _is_opaque(directory: int) -> bool:
    try:
        return os.getxattr(directory, _OPAQUE) == b"y"
    except OSError:
        return False
