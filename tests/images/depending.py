"""What Debian packages depend on, as apt would resolve it: read from short lists (packages.py), so that a Dockerfile gets their files."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from images.packages import Lists

_DEPENDS = re.compile(r"^(?:Pre-)?Depends: (.+)$", re.MULTILINE)


def needed(names: Iterable[str], lists: Lists, *, without: Collection[str] = ()) -> set[str]:
    """The packages `names` and what they depend on; not what is in `without`, nor what only that depends on.

    Of alternatives the first one that the release has, unless another is taken already. Names that stand for several packages are left
    out: who needs one names it.
    """
    depends = _depends(lists)
    found: set[str] = set()
    new = [name for name in names if name in depends]
    while new:
        name = new.pop()
        if name in found or name in without:
            continue
        found.add(name)
        for group in depends[name]:
            there = [other for other in group if other in depends]
            if there and not found.intersection(there):
                new.append(there[0])
    return found


def _depends(lists: Lists) -> Mapping[str, list[list[str]]]:
    """Package -> what it depends on, each with its alternatives."""
    found: dict[str, list[list[str]]] = defaultdict(list)
    for file in lists.directory.glob("*Packages"):
        for stanza in file.read_text(encoding="utf-8").split("\n\n"):
            if stanza.startswith("Package: "):
                name = stanza.partition("\n")[0].removeprefix("Package: ")
                groups = [group for line in _DEPENDS.findall(stanza) for group in line.split(",")]
                found[name] += [[word.split()[0].partition(":")[0] for word in group.split("|")] for group in groups]
    return found
