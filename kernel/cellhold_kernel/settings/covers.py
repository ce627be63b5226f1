"""What is hidden in a mounted directory, and which directories must not move.

A hidden name is covered by a mount. The directories on the way to it are fixed: if one
of them were moved, the cover would no longer be in front of what it hides.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from cellhold.container import start
from cellhold.spec.spec import Fixed
from cellhold_kernel.settings.ancestry import Step, way_down

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.linux.hostpath import HostPath


class Secret(NamedTuple):
    """Names in a directory that the container must not see."""

    directory: HostPath
    names: tuple[str, ...]


class Covers:
    """The hidden paths and fixed directories of one folder.

    hidden: paths relative to the folder.
    """

    def __init__(self, folder: HostPath, *, with_mounts: bool) -> None:
        """Start with nothing hidden. Raises OSError, Moved.

        with_mounts: whether file systems mounted below the folder are visible with it.
        """
        self.hidden: set[str] = set()
        self._fixed: dict[str, Fixed] = {}
        self._roots: list[list[Step]] = [[], *(_mounts(folder) if with_mounts else ())]
        self._folder = folder

    def hide(self, secret: Secret) -> None:
        """Hide the secret wherever it is in the folder. Raises OSError, Moved."""
        for way in self._ways(secret.directory):
            self._fix(way)
            above = f"{way[-1].path}/" if way else ""
            self.hidden.update(f"{above}{name}" for name in secret.names)

    def protect(self, directory: HostPath) -> None:
        """Make a directory read-only, if it is in the folder. Raises OSError, Moved."""
        for way in self._ways(directory):
            self._fix(way, read_only=True)

    def paths_of(self, directory: HostPath) -> Iterator[str]:
        """Yield the paths at which a directory is visible in the folder.

        "" is the folder itself. Raises OSError, Moved.
        """
        yield from (way[-1].path if way else "" for way in self._ways(directory))

    def listed(self) -> tuple[Fixed, ...]:
        """Return the fixed directories, each after those that contain it."""
        return tuple(self._fixed[path] for path in sorted(self._fixed))

    def _fix(self, way: list[Step], *, read_only: bool = False) -> None:
        for step in way:
            before = self._fixed.get(step.path)
            closed = (read_only and step is way[-1]) or (before is not None and before.read_only)
            opened = step.directory
            self._fixed[step.path] = Fixed(path=step.path, identity=opened.identity, read_only=closed, opened=opened)

    def _ways(self, directory: HostPath) -> Iterator[list[Step]]:
        """Yield the ways to a directory, one for each mount that shows it."""
        for root in self._roots:
            at, above = (root[-1].directory, f"{root[-1].path}/") if root else (self._folder, "")
            steps = way_down(at, directory)
            if steps is not None:
                yield [*root, *(Step(f"{above}{step.path}", step.directory) for step in steps)]


def _mounts(folder: HostPath) -> Iterator[list[Step]]:
    """Yield the ways to the mount points below a folder.

    They are visible with the folder in containers without root (init/rootless.py,
    Rootless.tree).
    """
    prefix = f"{folder.current_path().rstrip('/')}/"
    for point in start.mount_points():
        if point.startswith(prefix):
            names = point.removeprefix(prefix).split("/")
            paths = ["/".join(names[:count]) for count in range(1, len(names) + 1)]
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # mounted over, or out of reach: not visible
                yield [Step(path, folder.beneath(path)) for path in paths]
