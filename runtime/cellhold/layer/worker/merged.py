"""A stack of layers as overlayfs shows it, read by descriptors without a mount.

It returns what a directory holds, and what a name refers to.
"""

from __future__ import annotations

import os
import stat

from cellhold.layer.worker.directory_tree import DIRECTORY, OPAQUE, is_whiteout

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from typing import Self

_MOST_LINKS = 40
# fuse-overlayfs marks an opaque directory by an attribute of its own and by files.
# Where it may make no device node, as on another overlay, a whiteout is an empty file
# with a prefix and this mode (fuse-overlayfs 1.10, main.c); it refuses such names to
# everybody else.
_OPAQUES = {OPAQUE.decode(), "user.fuseoverlayfs.opaque"}
_OPAQUE_MARKS = {b".wh..wh..opq", b".wh..opq"}
_PREFIX = b".wh."
_MARK = stat.S_IFREG | 0o700
_WHITEOUT = os.stat_result((stat.S_IFCHR,) + (0,) * 9, {"st_rdev": 0})


class Merged:
    """One directory: the directories of its path in each layer that shows through.

    Topmost first. A context manager.
    """

    def __init__(self, fds: list[int]) -> None:
        """Take over the opened directories."""
        self.fds = fds
        self._marked: set[bytes] | None = None

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the directories."""
        self.close()

    def close(self) -> None:
        """Close the directories; may be called twice."""
        fds, self.fds = self.fds, []
        for fd in fds:
            os.close(fd)

    def look(self, name: bytes) -> tuple[os.stat_result, int] | None:
        """Return what has the name, and the directory that shows it.

        None if nothing has it, or a whiteout hides it.
        """
        facts, fd = self.topmost(name)
        return None if facts is None or is_whiteout(facts) else (facts, fd)

    def topmost(self, name: bytes) -> tuple[os.stat_result | None, int]:
        """Return what the topmost layer with that name has, and its directory.

        It may be a whiteout; (None, -1) if no layer has the name.
        """
        for fd in self.fds:
            facts = facts_of(fd, name)
            if facts is not None:
                return facts, fd
            if fd == self.fds[0] and name in self.marked():
                return _WHITEOUT, fd
        return None, -1

    def marked(self) -> set[bytes]:
        """Return the names that a mark of fuse-overlayfs hides, in the topmost layer.

        fuse-overlayfs makes only writable layers.
        """
        if self._marked is None:
            found = (os.fsencode(name) for name in os.listdir(self.fds[0]) if name.startswith(".wh."))
            self._marked = {name.removeprefix(_PREFIX) for name in found if name not in _OPAQUE_MARKS and self._is_mark(name)}
        return self._marked

    def _is_mark(self, name: bytes) -> bool:
        facts = facts_of(self.fds[0], name)
        return facts is not None and (facts.st_mode, facts.st_size) == (_MARK, 0)

    def enter(self, name: bytes) -> Merged | None:
        """Return the directory of that name; None if what shows is not a directory."""
        found: list[int] = []
        for fd in self.fds:
            facts = facts_of(fd, name)
            if facts is None and fd == self.fds[0] and name in self.marked():
                break
            if facts is None:
                continue
            if not stat.S_ISDIR(facts.st_mode):
                break
            found.append(os.open(name, DIRECTORY, dir_fd=fd))
            if is_opaque(found[-1]):
                break
        return Merged(found) if found else None

    def names(self) -> list[bytes]:
        """Return all names that show through, sorted."""
        return [name for name in self.all_names() if self.look(name) is not None]

    def all_names(self) -> list[bytes]:
        """Return all names in all layers, sorted, including whiteouts."""
        marked = self.marked()
        names = {os.fsencode(name) for fd in self.fds for name in os.listdir(fd)}
        return sorted((names - _OPAQUE_MARKS - {_PREFIX + name for name in marked}) | marked)


def open_stack(layers: list[int]) -> Merged:
    """Return the root of a stack; the descriptors stay the caller's."""
    return Merged([os.open(".", DIRECTORY, dir_fd=fd) for fd in layers])


def entered(layers: list[int], names: list[bytes]) -> Merged | None:
    """Return the directory with these names on the way to it, none of them a link."""
    here = open_stack(layers)
    for name in names:
        with here:
            below = here.enter(name)
        if below is None:
            return None
        here = below
    return here


def resolved(layers: list[int], path: bytes) -> list[bytes] | None:
    """Return the names on the way to a directory; None if it does not exist.

    Links are walked as text within the stack.
    """
    names: list[bytes] = []
    todo, links = path.split(b"/")[::-1], 0
    while todo:
        name = todo.pop()
        if name in {b"", b"."}:
            continue
        if name == b"..":
            names = names[:-1]
            continue
        here = entered(layers, names)
        if here is None:
            return None
        with here:
            found = here.look(name)
            if found is None or not (stat.S_ISDIR(found[0].st_mode) or stat.S_ISLNK(found[0].st_mode)):
                return None
            if stat.S_ISDIR(found[0].st_mode):
                names.append(name)
                continue
            target = os.readlink(name, dir_fd=found[1])
        links += 1
        if links > _MOST_LINKS:
            return None
        names = [] if target.startswith(b"/") else names
        todo += target.split(b"/")[::-1]
    return names


def facts_of(directory: int, name: bytes) -> os.stat_result | None:
    """Return the result of lstat(2), or None."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def is_opaque(directory: int) -> bool:
    """Return whether it hides the lower layers' directory of the same path."""
    try:
        return any(os.getxattr(directory, name) == b"y" for name in os.listxattr(directory) if name in _OPAQUES)
    except OSError:
        return False
