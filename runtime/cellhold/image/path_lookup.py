"""What is at a path in a stack of layers (overlayfs.rst).

The topmost layer that has the path answers, unless one above hides it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cellhold.errors import ImageNotFound, InvalidSpec
from cellhold.store.scan import list_entries

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cellhold.store.scan import LayerEntry

_MOST_LINKS = 40  # the kernel's, path_resolution(7)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Which layer answers for a path.

    path: after all links.
    found: None if no layer has it, or it was removed.
    layer: its number, or that of the layer that removed it.
    shadows: the numbers of lower layers that have it too, the topmost first.
    """

    path: str
    found: LayerEntry | None
    layer: int | None
    shadows: tuple[int, ...]


class Lookup:
    """Layers to look paths up in, the lowest first.

    Each is read once, when it is first needed.
    """

    def __init__(self, trees: Sequence[Path]) -> None:
        """Look paths up in `trees`, the directories of the layers."""
        self.trees = trees

    @cached_property
    def contents(self) -> list[dict[str, LayerEntry]]:
        """What is in each layer, by path below the root."""
        return [{found.path: found for found in list_entries(tree)} for tree in self.trees]

    def which(self, path: str) -> Answer:
        """Return which layer answers for `path`, links followed as in a container.

        Raises InvalidSpec for an invalid path.
        """
        if not path or "\0" in path:
            raise InvalidSpec(f"cannot look for {path!r}: not a path")
        place = self._resolved(path)
        top = len(self.contents)
        at = self._highest(place, top)
        if at is None:
            return Answer(path=f"/{place}", found=None, layer=None, shadows=())
        found = self.contents[at].get(place)
        shadows = tuple(number + 1 for number in range(at - 1, -1, -1) if self._has(number, place))
        gone = found is None or found.is_whiteout
        return Answer(path=f"/{place}", found=None if gone else found, layer=at + 1, shadows=shadows)

    def seen(self, path: str, top: int) -> LayerEntry | None:
        """Return what is at `path` in the lowest `top` layers.

        path: below the root; links are not followed. The answer is what a container of
            those layers sees.
        """
        at = self._highest(path, top)
        found = None if at is None else self.contents[at].get(path)
        return None if found is None or found.is_whiteout else found

    def _highest(self, path: str, top: int) -> int | None:
        """Return the highest layer below `top` that decides about `path`.

        It has it, removes it, or has something above it that hides the rest.
        """
        for number in range(top - 1, -1, -1):
            if path in self.contents[number] or self._covers(number, path):
                return number
        return None

    def _covers(self, number: int, path: str) -> bool:
        """Return whether a layer hides what lower ones have at `path`.

        It does so by what it has above the path.
        """
        layer = self.contents[number]
        for above in _parents(path):
            found = layer.get(above)
            if found is not None and (found.is_opaque or not found.is_directory):
                return True
        return False

    def _has(self, number: int, path: str) -> bool:
        found = self.contents[number].get(path)
        return found is not None and not found.is_whiteout

    def _resolved(self, path: str) -> str:
        """Return the path below the root with its links followed.

        A link at its end is not followed (path_resolution(7), in a container's root).
        """
        left, done, links = [part for part in path.split("/") if part not in ("", ".")][::-1], list[str](), 0
        while left:
            part = left.pop()
            if part == "..":
                del done[-1:]
                continue
            found = self.seen("/".join((*done, part)), len(self.contents)) if left else None
            if found is None or found.link is None:
                done.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise ImageNotFound(f"cannot look for {path!r}: too many levels of symbolic links")
            if found.link.startswith("/"):
                done = []
            left += [word for word in found.link.split("/") if word not in ("", ".")][::-1]
        return "/".join(done)


def _parents(path: str) -> Iterator[str]:
    while path:
        path = path.rpartition("/")[0]
        yield path
