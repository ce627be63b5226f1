"""What a layer adds, changes and deletes over those below it (`docker diff`).

The result is A, C or D, a path, and its bytes on disk.
"""

from __future__ import annotations

import os
import stat

from cellhold.errors import ImageRefused
from cellhold.layer.worker import merged
from cellhold.layer.worker.directory_tree import is_whiteout
from cellhold.layer.worker.names import quote

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.layer.worker.merged import Merged

    Found = tuple[bytes, bytes, int, os.stat_result | None]

ADDED, CHANGED, DELETED = b"A", b"C", b"D"
_BLOCK_BYTES = 512  # the unit of st_blocks


class Disk:
    """The disk space of a tree, as du(1) counts it.

    It counts blocks, and a file with several names once. total: bytes, so far.
    """

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self.total = 0
        self._seen: set[tuple[int, int]] = set()

    def count(self, facts: os.stat_result) -> int:
        """Count a file or directory and return its bytes.

        0 if it has been counted under another name.
        """
        if facts.st_nlink > 1 and not stat.S_ISDIR(facts.st_mode):
            key = (facts.st_dev, facts.st_ino)
            if key in self._seen:
                return 0
            self._seen.add(key)
        size = facts.st_blocks * _BLOCK_BYTES
        self.total += size
        return size


class Level:
    """A directory of the layer that is being compared.

    below: what the layers below show of it.
    reported: whether it has been reported as changed.
    """

    __slots__ = ("below", "here", "names", "path", "reported")

    def __init__(self, path: bytes, here: Merged, below: Merged | None, *, reported: bool) -> None:
        """Read the names of both."""
        self.path = path
        self.here = here
        self.below = below
        self.reported = reported
        names = here.all_names()
        if below is not None and merged.is_opaque(here.fds[0]):
            names = sorted({*names, *below.names()})
        self.names = names[::-1]

    def close(self) -> None:
        """Close the directories."""
        self.here.close()
        if self.below is not None:
            self.below.close()


def changes(layer: int, lowers: list[int], *, depth: int, disk: Disk) -> Iterator[Found]:
    """Yield (kind, path, bytes, facts) of each change.

    A directory comes before what is in it; it is changed if it looks different, or
    anything in it is.

    layer, lowers: opened directories, topmost first; they stay the caller's.
    disk: counts all of the layer; bytes: what is at that path itself.
    Raises ImageRefused for a tree that is too deep.
    """
    disk.count(os.fstat(layer))
    levels = [Level(b"/", merged.open_stack([layer]), merged.open_stack(lowers) if lowers else None, reported=True)]
    while levels:
        level = levels[-1]
        if not level.names:
            levels.pop().close()
            continue
        name = level.names.pop()
        path = level.path + name
        facts, _directory = level.here.topmost(name)
        size = 0 if facts is None or is_whiteout(facts) else disk.count(facts)
        kind = judged(level, name, facts)
        if kind is not None:
            yield from parents(levels)
            yield kind, path, size, None if kind == DELETED else facts
        if facts is not None and stat.S_ISDIR(facts.st_mode):
            if len(levels) > depth:
                raise ImageRefused(f"{quote(path)} lies more than {depth} directories deep")
            here = level.here.enter(name)
            if here is not None:
                below = level.below.enter(name) if level.below is not None else None
                levels.append(Level(path + b"/", here, below, reported=kind is not None))


def parents(levels: list[Level]) -> Iterator[Found]:
    """Yield the directories above a change that have not been reported.

    They are changed by it. Their own disk space is counted, not reported.
    """
    for level in levels:
        if not level.reported:
            level.reported = True
            yield CHANGED, level.path[:-1], 0, os.fstat(level.here.fds[0])


def judged(level: Level, name: bytes, facts: os.stat_result | None) -> bytes | None:
    """Return what became of a name, or None.

    facts: of what the layer has there.
    """
    before = level.below.look(name) if level.below is not None else None
    if facts is None or is_whiteout(facts):
        return None if before is None else DELETED
    if before is None:
        return ADDED
    return None if stat.S_ISDIR(facts.st_mode) and looks_the_same(facts, before[0]) else CHANGED


def looks_the_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Compare mode, owner and time of two directories.

    What is in them is compared later.
    """
    return (one.st_mode, one.st_uid, one.st_gid, one.st_mtime_ns) == (other.st_mode, other.st_uid, other.st_gid, other.st_mtime_ns)
