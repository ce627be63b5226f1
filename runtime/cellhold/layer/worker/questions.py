"""Queries about a stack of layers, made by a build before it copies.

They return names, and one small file at a time; no link leads out of the stack. Each
takes the directories of the layers, topmost first, and returns plain values, so that it
can be called in this process or, without root, in one that owns the files
(cellhold.image.layer_queries).
"""

from __future__ import annotations

import os
import stat

from cellhold.errors import ImageRefused
from cellhold.layer.worker import merged
from cellhold.layer.worker.glob import name_pattern
from cellhold.layer.worker.names import quote

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from cellhold.layer.worker.merged import Merged

_MOST_LINKS = 40  # the kernel's, path_resolution(7)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def matching(layers: list[int], parts: list[tuple[bytes, bool]]) -> list[tuple[bytes, bytes, bool]]:
    """Return the paths that match, sorted.

    Each is a path as it is called, the same with links followed, and whether it is a
    directory.
    parts: the pattern's components: a name, or (True) a pattern for names (glob.py).
    A directory that several links lead to is looked into once: with a few links to `.`
    there would be as many ways to it as there are ways to write them down.
    """
    found: list[tuple[bytes, bytes, bool]] = [(b"", b"", True)]
    for part, is_pattern in parts:
        candidates = [
            (_below(called, name), _below(path, name))
            for called, path in _once(found)
            for name in (_names(layers, path, part) if is_pattern else [part])
        ]
        found = [(called, b"/".join(names), is_directory) for called, path in candidates for names, is_directory in _there(layers, path)]
    return found


def _once(found: list[tuple[bytes, bytes, bool]]) -> list[tuple[bytes, bytes]]:
    """Return each directory once, by a name without a link if there is one."""
    called_by: dict[bytes, bytes] = {}
    for called, path, is_directory in found:
        if is_directory and (path not in called_by or called == path):
            called_by[path] = called
    return [(called, path) for path, called in called_by.items()]


def spot(layers: list[int], path: bytes) -> tuple[list[bytes], list[bytes], bool]:
    """Return what resolved_spot() does, as a query."""
    return resolved_spot(layers, path)


def content(layers: list[int], path: bytes, most_bytes: int) -> bytes | None:
    """Return the content of a regular file, links to it followed.

    At most so much of it; None if there is no such file.
    """
    place, missing, is_directory = resolved_spot(layers, path)
    if missing or is_directory or not place:
        return None
    above = merged.entered(layers, place[:-1])
    if above is None:
        return None
    with above:
        found = above.look(place[-1])
        if found is None or not stat.S_ISREG(found[0].st_mode):
            return None
        fd = os.open(place[-1], _READ, dir_fd=found[1])
        try:
            return os.read(fd, most_bytes)
        finally:
            os.close(fd)


def resolved_spot(layers: list[int], path: bytes) -> tuple[list[bytes], list[bytes], bool]:
    """Return the existing names of the path, and the missing ones.

    Also whether the last existing one is a directory; links are followed.
    Raises ImageRefused for a path through something that is not a directory, or in a
    circle of links.
    """
    names: list[bytes] = []
    missing: list[bytes] = []
    todo, links, is_directory = [part for part in path.split(b"/") if part not in {b"", b"."}][::-1], 0, True
    while todo:
        name = todo.pop()
        if name == b"..":
            del (missing or names)[-1:]
            continue
        found = None if missing else _looked(layers, names, name)
        if found is None:
            missing.append(name)
            continue
        facts, target = found
        if target is not None:
            links += 1
            if links > _MOST_LINKS:
                raise ImageRefused(f"{quote(path)} has too many levels of symbolic links")
            names = [] if target.startswith(b"/") else names
            todo += [part for part in target.split(b"/") if part not in {b"", b"."}][::-1]
            continue
        names.append(name)
        is_directory = stat.S_ISDIR(facts.st_mode)
        if not is_directory and todo:
            raise ImageRefused(f"{quote(b'/'.join(names))} is not a directory, and {quote(path)} leads through it")
    return names, missing, is_directory


def _looked(layers: list[int], names: list[bytes], name: bytes) -> tuple[os.stat_result, bytes | None] | None:
    """Return what has the name in a directory, and where a link points.

    There is no link on the way to the directory.
    """
    here = merged.entered(layers, names)
    if here is None:
        return None
    with here:
        found = here.look(name)
        if found is None:
            return None
        return found[0], os.readlink(name, dir_fd=found[1]) if stat.S_ISLNK(found[0].st_mode) else None


def _below(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


def _there(layers: list[int], path: bytes) -> list[tuple[list[bytes], bool]]:
    try:
        names, missing, is_directory = resolved_spot(layers, path)
    except ImageRefused:
        return []
    return [] if missing else [(names, is_directory)]


def _names(layers: list[int], path: bytes, pattern: bytes) -> list[bytes]:
    here: Merged | None = merged.entered(layers, [part for part in path.split(b"/") if part])
    if here is None:
        return []
    wanted = name_pattern(os.fsdecode(pattern))
    with here:
        return [name for name in here.names() if wanted.matches(os.fsdecode(name))]
