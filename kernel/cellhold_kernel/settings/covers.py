"""What is covered of a directory that is shown, and which directories on the way there have to stay where they are."""

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
    """Names in a directory that are not to be seen."""

    directory: HostPath
    names: tuple[str, ...]


class Covers:
    """Of one folder. hidden: paths below it."""

    def __init__(self, folder: HostPath, *, with_mounts: bool) -> None:
        """with_mounts: what is mounted below the folder may be seen with it. Raises OSError, Moved."""
        self.hidden: set[str] = set()
        self._fixed: dict[str, Fixed] = {}
        self._roots: list[list[Step]] = [[], *(_mounts(folder) if with_mounts else ())]
        self._folder = folder

    def hide(self, secret: Secret) -> None:
        """Cover it, if it is in the folder. Raises OSError, Moved."""
        for way in self._ways(secret.directory):
            self._fix(way)
            above = f"{way[-1].path}/" if way else ""
            self.hidden.update(f"{above}{name}" for name in secret.names)

    def protect(self, directory: HostPath) -> None:
        """Let nothing in it be changed, if it is in the folder. Raises OSError, Moved."""
        for way in self._ways(directory):
            self._fix(way, read_only=True)

    def paths_of(self, directory: HostPath) -> Iterator[str]:
        """Where it is seen; "" for the folder itself. Raises OSError, Moved."""
        yield from (way[-1].path if way else "" for way in self._ways(directory))

    def listed(self) -> tuple[Fixed, ...]:
        """The directories that are fixed, each after those that it lies in."""
        return tuple(self._fixed[path] for path in sorted(self._fixed))

    def _fix(self, way: list[Step], *, read_only: bool = False) -> None:
        for step in way:
            before = self._fixed.get(step.path)
            closed = (read_only and step is way[-1]) or (before is not None and before.read_only)
            opened = step.directory
            self._fixed[step.path] = Fixed(path=step.path, identity=opened.identity, read_only=closed, opened=opened)

    def _ways(self, directory: HostPath) -> Iterator[list[Step]]:
        """The ways to a directory, one for each mount that shows it."""
        for root in self._roots:
            at, above = (root[-1].directory, f"{root[-1].path}/") if root else (self._folder, "")
            steps = way_down(at, directory)
            if steps is not None:
                yield [*root, *(Step(f"{above}{step.path}", step.directory) for step in steps)]


def _mounts(folder: HostPath) -> Iterator[list[Step]]:
    """The ways to what is mounted below a folder, where that is shown with it: without root (init/rootless.py, Rootless.tree)."""
    place = f"{folder.current_path().rstrip('/')}/"
    for point in start.mount_points():
        if point.startswith(place):
            names = point.removeprefix(place).split("/")
            paths = ["/".join(names[:count]) for count in range(1, len(names) + 1)]
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # mounted over, or out of reach: nobody sees it
                yield [Step(path, folder.beneath(path)) for path in paths]
