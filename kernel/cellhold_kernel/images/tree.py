"""An image's files as its containers see them, read by descriptors.

The trees are hostile: nothing leads out of them, and everything is bounded. A path is
walked name by name over the whole stack of layers (`cellhold.layer.worker.merged`); if
a name is a symbolic link, its target is walked instead, an absolute one from the
image's root. Linux follows none of them. Only regular files are read.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Self

from cellhold.errors import ImageRefused
from cellhold.layer.worker import merged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike

    from cellhold.layer.worker.merged import Merged

_MOST_LINKS = 40  # in one path, as in path_resolution(7)
_MOST_LOOKS = 200_000  # in total; an image of 100 layers with a dozen Pythons takes a tenth
_MOST_DEEP = 100  # nested directories
_MOST_OPEN = 200  # descriptors kept for the next path
_MOST_LISTED = 1000  # names of one directory in one layer
_LONGEST_PATH = 4096
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class Place:
    """What is at a path, with links resolved.

    names: from the root to it, none of them a link. mode: st_mode.
    """

    names: tuple[bytes, ...]
    mode: int

    @property
    def path(self) -> str:
        """Its path from the image's root."""
        return "/" + os.fsdecode(b"/".join(self.names))

    @property
    def is_program(self) -> bool:
        """Whether root could run it."""
        return stat.S_ISREG(self.mode) and bool(self.mode & 0o111)


class Tree:
    """A stack of layers, topmost first; a context manager.

    lenient: what cannot be read for lack of permission counts as absent.
    """

    def __init__(self, layers: Sequence[PathLike[str]], *, lenient: bool = False) -> None:
        """Open the layers. Raises OSError if one does not exist."""
        self._lenient = lenient
        self._looks = 0
        self._open: dict[tuple[bytes, ...], Merged] = {}
        with ExitStack() as undo:
            self._layers = []
            for layer in layers:
                self._layers.append(os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                undo.callback(os.close, self._layers[-1])
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close all descriptors."""
        self._forget()
        self._undo.close()

    def find(self, path: str) -> Place | None:
        """Find what is at an absolute path; None if there is nothing.

        Raises PermissionError (unless lenient), ImageRefused if all paths together take
        too many look-ups.
        """
        located = self._locate(path)
        return None if located is None else located[0]

    def link(self, path: str) -> str | None:
        """Return the target of a symbolic link; None if the path is not a link."""
        above, _, name = path.rpartition("/")
        place = self.find(above)
        if place is None or not stat.S_ISDIR(place.mode):
            return None
        try:
            entry = self._directory(place.names).look(os.fsencode(name))
            return None if entry is None else os.fsdecode(os.readlink(os.fsencode(name), dir_fd=entry[1]))
        except (OSError, ValueError):
            return None

    def names(self, path: str) -> list[str]:
        """Return the names in a directory, sorted; [] if there is no such directory.

        At most the first thousand names per layer.
        """
        place = self.find(path)
        if place is None or not stat.S_ISDIR(place.mode):
            return []
        here = self._directory(place.names)
        listed: set[bytes] = set()
        for fd in here.fds:
            with os.scandir(fd) as entries:
                listed.update(os.fsencode(entry.name) for entry in islice(entries, _MOST_LISTED))
        self._count(len(listed) * len(here.fds))
        try:
            return [os.fsdecode(name) for name in sorted(listed) if here.look(name) is not None]
        except PermissionError:
            if not self._lenient:
                raise
            return []

    @contextmanager
    def opened(self, path: str) -> Iterator[int | None]:
        """Open the regular file at a path for reading; yield None if there is none."""
        located = self._locate(path)
        fd = None if located is None or not stat.S_ISREG(located[0].mode) else self._file(located[0].names[-1], located[1])
        try:
            yield fd
        finally:
            if fd is not None:
                os.close(fd)

    def read(self, path: str, *, most_bytes: int) -> bytes | None:
        """Read the regular file at a path; None if there is none.

        Returns at most one byte more than `most_bytes`.
        """
        with self.opened(path) as fd:
            return None if fd is None else _read(fd, most_bytes + 1)

    def _file(self, name: bytes, directory: int) -> int | None:
        """Open a file; None if it is no longer a regular file."""
        try:
            fd = os.open(name, _FILE, dir_fd=directory)
        except PermissionError:
            if self._lenient:
                return None
            raise
        except OSError:
            return None
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return None

    def _locate(self, path: str) -> tuple[Place, int] | None:
        """Find a path, and the open directory of the layer that has it.

        The descriptor is valid until the next path is looked up.
        """
        try:
            return self._walk(os.fsencode(path))
        except PermissionError:
            if not self._lenient:
                raise
        except (OSError, ValueError):  # an impossible name, or a tree that changes while it is read
            pass
        return None

    def _walk(self, path: bytes) -> tuple[Place, int] | None:
        if len(path) > _LONGEST_PATH:
            return None
        names: tuple[bytes, ...] = ()
        mode, layer, links = stat.S_IFDIR, -1, 0
        todo = path.split(b"/")[::-1]
        while todo:
            name = todo.pop()
            if name in {b"", b"."}:
                continue
            if not stat.S_ISDIR(mode) or len(names) > _MOST_DEEP:
                return None
            if name == b"..":
                names = names[:-1]
                continue
            entry = self._look(names, name)
            if entry is None:
                return None
            facts, layer = entry
            if not stat.S_ISLNK(facts.st_mode):
                names, mode = (*names, name), facts.st_mode
                continue
            links += 1
            if links > _MOST_LINKS:
                return None
            target = os.readlink(name, dir_fd=layer)
            names = () if target.startswith(b"/") else names
            todo += target.split(b"/")[::-1]
        return Place(names=names, mode=mode), layer

    def _look(self, names: tuple[bytes, ...], name: bytes) -> tuple[os.stat_result, int] | None:
        here = self._directory(names)
        self._count(len(here.fds))
        return here.look(name)

    def _directory(self, names: tuple[bytes, ...]) -> Merged:
        """Open the directory at these names, none of them a link.

        Raises OSError if it was removed.
        """
        if () not in self._open:
            self._open[()] = merged.open_stack(self._layers)
        opened = next(count for count in range(len(names), -1, -1) if names[:count] in self._open)
        here = self._open[names[:opened]]
        for count in range(opened + 1, len(names) + 1):
            self._count(len(here.fds))
            if sum(len(kept.fds) for kept in self._open.values()) > _MOST_OPEN:
                self._forget(but=here)
            below = here.enter(names[count - 1])
            if below is None:
                raise FileNotFoundError(2, "not there any more")
            self._open[names[:count]] = here = below
        return here

    def _count(self, looks: int) -> None:
        self._looks += looks + 1
        if self._looks > _MOST_LOOKS:
            raise ImageRefused(f"cannot look for kernels in the image: it takes more than {_MOST_LOOKS} look-ups of names")

    def _forget(self, *, but: Merged | None = None) -> None:
        for names, here in list(self._open.items()):
            if here is not but:
                del self._open[names]
                here.close()


def _read(fd: int, most_bytes: int) -> bytes:
    """Read until the end or the limit; one read(2) may return less."""
    content = b""
    while len(content) < most_bytes and (chunk := os.read(fd, most_bytes - len(content))):
        content += chunk
    return content
