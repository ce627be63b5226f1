"""The files and directories of its folder that a notebook has made.

Those it may change, and remove.

One file per notebook in the store, lines of JSON that are added, so that a line is
there or is not, however this process ends; it is written anew when it is opened and has
lines that do not count any more. What is about to be done is written before it is done:
a host kernel that is killed between leaves a row that fits what it has made (`ctime_ns`
is null), and the names of what it has put aside (`asides`).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from cellhold_kernel.files.plan import Identity, Made

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

DIRECTORY = "files"  # of the store
PASSING = ".once"  # a notebook that is known by its connection alone, which does not come again
_PASSING_SECONDS = 7 * 86400.0
_MOST_BYTES = 64 << 20
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Record:
    """A notebook's. made: path -> what is there.

    asides: path -> the name beside it under which a file of somebody's may lie.
    """

    def __init__(self, path: Path) -> None:
        """path: its file; it and its directory need not be there."""
        self.made: dict[bytes, Made] = {}
        self.asides: dict[bytes, bytes] = {}
        self._path = path
        self._fd = -1
        self._read_to = 0

    @contextmanager
    def held(self, *, wait: bool = True) -> Iterator[None]:
        """Hold it, up to date: no other host kernel of the notebook hands out meanwhile.

        Raises BlockingIOError where another one does and `wait` is False, OSError where
        the store cannot be written to.
        """
        if self._fd < 0:
            self._open()
        fcntl.flock(self._fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        try:
            if os.fstat(self._fd).st_nlink == 0:  # another one has written it anew
                self.close()
                self._open()
                fcntl.flock(self._fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            self._catch_up()
            yield
        finally:
            if self._fd >= 0:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def add(self, rows: Iterable[tuple[bytes, Made]]) -> None:
        """Note what was made, or is about to be."""
        rows = list(rows)
        self._append([["made", _text(path), *made.identity, made.origin] for path, made in rows])
        self.made.update(rows)

    def remove(self, paths: Iterable[bytes]) -> None:
        """Note what is not the notebook's any more."""
        paths = [path for path in paths if path in self.made]
        self._append([["gone", _text(path)] for path in paths])
        for path in paths:
            del self.made[path]

    def put_aside(self, path: bytes, name: bytes) -> None:
        """Note that what lies at a path will have another name for a moment."""
        self._append([["aside", _text(path), _text(name)]])
        self.asides[path] = name

    def put_back(self, path: bytes) -> None:
        """Note that nothing lies there any more."""
        self._append([["back", _text(path)]])
        self.asides.pop(path, None)

    def close(self) -> None:
        """Close its file. Twice is no error."""
        fd, self._fd, self._read_to = self._fd, -1, 0
        if fd >= 0:
            os.close(fd)

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._fd = os.open(self._path, _FLAGS, 0o600)
        self.made.clear()
        self.asides.clear()
        rows = self._catch_up()
        if rows > 2 * (len(self.made) + len(self.asides)) + 100:
            self._write_anew()

    def _catch_up(self) -> int:
        """Read the lines that are new; return how many."""
        size = os.fstat(self._fd).st_size
        if size == self._read_to:
            return 0
        content = os.pread(self._fd, min(size - self._read_to, _MOST_BYTES), self._read_to)
        whole, newline, cut = content.rpartition(b"\n")
        self._read_to += len(whole) + len(newline)
        if cut:  # a process was killed while it wrote; what follows has to begin a line
            os.write(self._fd, b"\n")
            self._read_to += len(cut) + 1
        lines = whole.split(b"\n") if whole else []
        for line in lines:
            with suppress(ValueError, TypeError, IndexError, KeyError):
                self._take(json.loads(line))
        return len(lines)

    def _take(self, row: list[Any]) -> None:
        path = os.fsencode(row[1])
        match row[0]:
            case "made":
                self.made[path] = Made(Identity(*row[2:8]), str(row[8]))
            case "gone":
                self.made.pop(path, None)
            case "aside":
                self.asides[path] = os.fsencode(row[2])
            case "back":
                self.asides.pop(path, None)

    def _append(self, rows: list[list[Any]]) -> None:
        if rows:
            text = "".join(json.dumps(row) + "\n" for row in rows).encode()
            os.write(self._fd, text)
            self._read_to += len(text)

    def _write_anew(self) -> None:
        """Write what counts into a file of its own, and put that in its place.

        Only where nobody else has it.
        """
        with suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            new = self._path.with_name(f".{self._path.name}.new")
            fd = os.open(new, _FLAGS | os.O_TRUNC, 0o600)
            old, self._fd, self._read_to = self._fd, fd, 0
            self._append([["made", _text(path), *made.identity, made.origin] for path, made in self.made.items()])
            self._append([["aside", _text(path), _text(name)] for path, name in self.asides.items()])
            os.rename(new, self._path)
            os.close(old)


def clear_passing(directory: Path) -> None:
    """Remove records of notebooks that do not come again."""
    with suppress(OSError):
        for path in directory.glob(f"*{PASSING}"):
            if time.time() - path.stat().st_mtime > _PASSING_SECONDS:
                path.unlink()


def _text(path: bytes) -> str:
    return os.fsdecode(path)
