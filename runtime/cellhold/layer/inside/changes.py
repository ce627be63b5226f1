"""What a layer adds, changes and deletes over those below it, as `docker diff` says it: A, C, D and a path."""

from __future__ import annotations

import stat

from cellhold.errors import ImageRefused
from cellhold.layer.inside import merged
from cellhold.layer.inside.names import shown
from cellhold.layer.inside.nodes import is_whiteout

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from cellhold.layer.inside.merged import Merged

ADDED, CHANGED, DELETED = b"A", b"C", b"D"


class Level:
    """A directory of the layer that is being looked at. below: what the layers below show of it; told: whether it is said to be changed."""

    __slots__ = ("below", "here", "names", "path", "told")

    def __init__(self, path: bytes, here: Merged, below: Merged | None, *, told: bool) -> None:
        """Read the names of both."""
        self.path = path
        self.here = here
        self.below = below
        self.told = told
        names = here.all_names()
        if below is not None and merged.is_opaque(here.fds[0]):
            names = sorted({*names, *below.names()})
        self.names = names[::-1]

    def close(self) -> None:
        """Let go of it."""
        self.here.close()
        if self.below is not None:
            self.below.close()


def changes(layer: int, lowers: list[int], *, depth: int) -> Iterator[tuple[bytes, bytes]]:
    """(kind, path) of each, a directory before what is in it. A directory is changed if it looks different, or anything in it is.

    layer, lowers: opened directories, topmost first; they stay the caller's. Raises ImageRefused for a tree that is too deep.
    """
    levels = [Level(b"/", merged.of([layer]), merged.of(lowers) if lowers else None, told=True)]
    while levels:
        level = levels[-1]
        if not level.names:
            levels.pop().close()
            continue
        name = level.names.pop()
        path = level.path + name
        kind, is_directory = judged(level, name)
        if kind is not None:
            yield from parents(levels)
            yield kind, path
        if is_directory:
            if len(levels) > depth:
                raise ImageRefused(f"{shown(path)} lies more than {depth} directories deep")
            here = level.here.enter(name)
            if here is not None:
                below = level.below.enter(name) if level.below is not None else None
                levels.append(Level(path + b"/", here, below, told=kind is not None))


def parents(levels: list[Level]) -> Iterator[tuple[bytes, bytes]]:
    """The directories above a change that have not been told: they are changed by it."""
    for level in levels:
        if not level.told:
            level.told = True
            yield CHANGED, level.path[:-1]


def judged(level: Level, name: bytes) -> tuple[bytes | None, bool]:
    """(what became of a name, or None; whether it is a directory of the layer)."""
    facts, _directory = level.here.topmost(name)
    before = level.below.look(name) if level.below is not None else None
    if facts is None or is_whiteout(facts):
        return (None if before is None else DELETED), False
    is_directory = stat.S_ISDIR(facts.st_mode)
    if before is None:
        return ADDED, is_directory
    if is_directory and looks_the_same(facts, before[0]):
        return None, True
    return CHANGED, is_directory


def looks_the_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Of two directories: whether mode, owner and time are the same; what is in them is seen there."""
    return (one.st_mode, one.st_uid, one.st_gid, one.st_mtime_ns) == (other.st_mode, other.st_uid, other.st_gid, other.st_mtime_ns)
