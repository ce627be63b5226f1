"""Which files COPY and ADD mean, and what they are called where they go."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec
from cellhold.image import layer_queries
from cellhold.layer.worker.glob import LONGEST, name_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_SHOWN = 100
_SPECIAL = re.compile(r"[*?\[\\]")


@dataclass(frozen=True, kw_only=True)
class Match:
    """A source that exists.

    called: as it was found.
    path: with links followed.
    Both are below the root.
    """

    called: bytes
    path: bytes
    is_directory: bool


def matches(pattern: str, trees: Sequence[Path], *, is_left_out: Callable[[bytes, bool], bool], where: str) -> list[Match]:
    """Return what a source means in a tree (the build context, or an image's).

    Raises InvalidSpec if nothing matches, or if it lies outside of the tree.
    """
    if len(pattern) > LONGEST:
        raise InvalidSpec(f"cannot copy {pattern[:_SHOWN]!r}...: its {len(pattern)} characters are more than {LONGEST}")
    parts = []
    for part in posixpath.normpath(pattern.lstrip("/") or ".").split("/"):
        if part == "..":
            raise InvalidSpec(f"cannot copy {pattern!r}: it lies outside of {where}", hint="a build sees the files of its context only")
        if part != ".":
            is_pattern = _SPECIAL.search(part) is not None
            parts.append((_checked(part, pattern) if is_pattern else os.fsencode(part), is_pattern))
    found = [
        Match(called=called, path=path, is_directory=is_directory)
        for called, path, is_directory in (layer_queries.matching(trees, parts) if trees else ())
        if not (is_left_out(called, is_directory) or is_left_out(path, is_directory))
    ]
    if not found:
        raise InvalidSpec(
            f"cannot copy {pattern!r}: {where} has no such file",
            hint="is it spelt right, relative to the context, and not in .dockerignore?",
        )
    return found


def _checked(part: str, pattern: str) -> bytes:
    """Check a component with stars, as layer/worker/glob.py reads it.

    Raises InvalidSpec.
    """
    try:
        name_pattern(part)
    except ValueError as error:
        raise InvalidSpec(f"cannot copy {pattern!r}: {error}", hint="write \\[ for the letter itself") from error
    return os.fsencode(part)


def pairs(
    found: Sequence[Match], destination: str, *, working_dir: str, trees: Sequence[Path], several: bool = False
) -> list[tuple[bytes, bytes]]:
    """Return where each source goes: (source, destination), below their roots.

    trees: of the image.
    several: others go there as well.
    Raises InvalidSpec for several files that would all have the same name.
    """
    path = os.fsencode(posixpath.join("/", working_dir, destination).lstrip("/"))
    place, missing, is_directory = layer_queries.spot(trees, path)
    goes_in = is_directory and not missing
    if destination.endswith(("/", "/.")) or destination in {".", ".."}:
        goes_in = True
    if (several or len(found) > 1) and not goes_in:
        raise InvalidSpec(f"cannot copy several files to {destination!r}: it is not a directory", hint="end it with a / to have it made")
    below = b"/".join((*place, *missing))
    return [
        (match.path, below if match.is_directory or not goes_in else b"/".join(part for part in (below, _name(match.called)) if part))
        for match in found
    ]


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]
