"""Remove and measure directory trees that a hostile program made.

Never by a path, never by recursion, never through a link.

A tree may be 3000 levels deep (deeper than Python's stack and longer than PATH_MAX),
hold any name, and links to anywhere; overlayfs leaves directories of mode 000 in its
work directory. Nothing may change the tree while it is removed; measuring copes with
changes.
"""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_Result = TypeVar("_Result")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OWNERS_ALL = 0o700
_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own is


def remove(path: Path) -> None:
    """Remove `path` and all below it; a missing path is not an error.

    Raises OSError (EBUSY: something is mounted inside).
    """
    try:
        top = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return
    except NotADirectoryError:  # a file or a link: with O_DIRECTORY, O_NOFOLLOW answers so for links as well
        path.unlink(missing_ok=True)
        return
    try:
        empty(top)
    finally:
        os.close(top)
    path.rmdir()


def empty(top: int) -> None:
    """Remove all that is in the opened directory `top`. Raises OSError.

    Directories are moved up into `top` before they are entered. So there are never more
    than two levels or descriptors, no ".." has to be trusted, and a mount point, which
    the kernel refuses to rename, is never entered.
    """
    prefix = f".removing-{os.urandom(8).hex()}-"
    names = (f"{prefix}{number}" for number in count())

    def take_up(directory: int, name: str) -> str:
        new = next(names)
        _allowed(lambda: os.rename(name, new, src_dir_fd=directory, dst_dir_fd=top), directory, name)
        return new

    waiting = _clear(top, take_up, keep=prefix)
    while waiting:
        name = waiting.pop()
        directory = _allowed(lambda name=name: os.open(name, _DIRECTORY, dir_fd=top), top, name)  # type: ignore[misc]  # the loop's
        try:
            waiting += _clear(directory, take_up)
        finally:
            os.close(directory)
        os.rmdir(name, dir_fd=top)


def _clear(directory: int, take_up: Callable[[int, str], str], keep: str | None = None) -> list[str]:
    """Unlink the files in `directory` and move its directories up.

    Returns their new names. Reads again until there is nothing left to do.
    """
    if os.fstat(directory).st_mode & _OWNERS_ALL != _OWNERS_ALL:
        os.fchmod(directory, _OWNERS_ALL)
    moved: list[str] = []
    while entries := _entries(directory, keep):
        for name, is_directory in entries:
            if is_directory:
                moved.append(take_up(directory, name))
            else:
                os.unlink(name, dir_fd=directory)
    return moved


def _entries(directory: int, keep: str | None = None) -> list[tuple[str, bool]]:
    with os.scandir(directory) as found:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found if not (keep and entry.name.startswith(keep))]


def _allowed(act: Callable[[], _Result], parent: int, name: str) -> _Result:
    """Call `act`; if the directory's mode forbids it, fix the mode and try once more.

    Not needed as root.
    """
    try:
        return act()
    except PermissionError:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.chmod(f"/proc/self/fd/{fd}", _OWNERS_ALL)  # fchmod(2) refuses O_PATH, and no link is followed so
        finally:
            os.close(fd)
        return act()


def used_bytes(path: Path) -> int:
    """Return the bytes on disk of all below `path`, hard links counted once.

    What cannot be read is left out; for a tree that changes the result is an estimate.
    """
    seen: set[tuple[int, int]] = set()
    total = 0

    def directories(directory: int) -> list[str]:
        nonlocal total
        below = []
        with os.scandir(directory) as found:
            for entry in found:
                facts = entry.stat(follow_symlinks=False)
                if facts.st_nlink == 1 or (facts.st_dev, facts.st_ino) not in seen:
                    total += facts.st_blocks * _BLOCK_BYTES
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.name)
                elif facts.st_nlink > 1:
                    seen.add((facts.st_dev, facts.st_ino))
        return below

    _visit(os.open(path, _DIRECTORY), directories)
    return total


def _visit(directory: int, look: Callable[[int], list[str]]) -> None:
    """Call `look` on `directory` and each one below; it returns the names to enter.

    At most two descriptors are open; `directory` is closed.
    """
    levels = [(_identity(directory), look(directory))]
    try:
        while levels:
            if levels[-1][1]:
                below = _opened(levels[-1][1].pop(), directory)
                if below is not None:
                    os.close(directory)
                    directory = below
                    levels.append((_identity(directory), look(directory)))
                continue
            levels.pop()
            if levels:
                above = os.open("..", _DIRECTORY, dir_fd=directory)
                os.close(directory)
                directory = above
                if _identity(directory) != levels[-1][0]:
                    return  # moved while it was counted: ".." may lie outside of the tree
    finally:
        os.close(directory)


def _opened(name: str, parent: int) -> int | None:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError:
        return None


def _identity(directory: int) -> tuple[int, int]:
    facts = os.fstat(directory)
    return facts.st_dev, facts.st_ino
