"""How directories contain one another, compared by descriptors, not by names.

Two directories are compared by walking up ".." and looking at device and inode. Names
prove nothing: a directory can be mounted twice, and a name may lead elsewhere since it
was resolved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cellhold.errors import CellholdError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.linux.hostpath import HostPath

_DEEPEST = 2048  # a path has at most 4096 bytes
_TRIES = 5


class Moved(CellholdError):
    """Directories are not where their names say.

    Another process moves them, or they are mounted in a way that cannot be resolved.
    """


class Step(NamedTuple):
    """A directory on the way down, and its path below the starting point."""

    path: str
    directory: HostPath


def upwards(directory: HostPath) -> Iterator[HostPath]:
    """Yield the directory, its parent and so on up to the root. Raises OSError."""
    here = directory
    for _ in range(_DEEPEST):
        yield here
        if here.current_path() == "/":
            return
        here = here.parent()


def way_down(folder: HostPath, directory: HostPath) -> list[Step] | None:
    """Return the steps from a folder down to a directory in it; the directory is last.

    Returns [] if the directory is the folder itself, None if it is not in the folder.
    Raises Moved if the names that lead there lead to something else. Other processes
    may be moving things meanwhile, so it is tried again.
    """
    for last in (*[False] * (_TRIES - 1), True):
        try:
            return _way_down(folder, directory)
        except (Moved, OSError) as error:
            if last:
                raise Moved(f"{directory.name} is not where its name says") from error
    return None


def _way_down(folder: HostPath, directory: HostPath) -> list[Step] | None:
    chain: list[HostPath] = []  # from the directory up to what lies in the folder
    for here in upwards(directory):
        if here.identity == folder.identity:
            break
        chain.append(here)
    else:
        return None
    names = directory.current_path().split("/")[-len(chain) :] if chain else []
    steps: list[Step] = []
    for count, wanted in enumerate(reversed(chain), start=1):
        path = "/".join(names[:count])
        found = folder.beneath(path)
        if found.identity != wanted.identity:
            raise Moved(f"{path} is another directory")
        steps.append(Step(path, found))
        if found.identity == directory.identity:  # also where it is mounted on something below itself
            break
    return steps
