"""The build cache: what came of each step of a build, by a key of all that it depended on (cellhold.build.cache makes the keys).

builds/KEY      JSON, written whole or not at all: the layer that the step made, if it made one, and when; or the sum of a COPY's
                files, where the same layers give the same sum (Taken and sums have no key in common)

Its layers are kept by garbage collection until the cache is pruned. A file that cannot be read is a step that was never taken.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.digest import Digest
from cellhold.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A step that was taken. created: seconds since the epoch. chain_id, diff_id ...: of the layer that it made, if it made one."""

    created: float
    chain_id: Digest | None = None
    diff_id: Digest | None = None
    digest: Digest | None = None
    size_bytes: int = 0
    media_type: str = ""


class Builds:
    """The cache in the directory `root`."""

    def __init__(self, root: Path) -> None:
        """It is made when something is put into it."""
        self._root = root

    def get(self, key: str) -> Taken | None:
        """What came of a step, if it was taken before."""
        try:
            return _taken(json.loads((self._root / key).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, InvalidSpec):
            return None

    def put(self, key: str, taken: Taken) -> None:
        """Keep it. Raises OSError."""
        members = {name: value if value is None or isinstance(value, int | float) else str(value) for name, value in vars(taken).items()}
        self._put(key, members)

    def sum(self, key: str) -> str | None:
        """A sum that was told before."""
        try:
            found = json.loads((self._root / key).read_text(encoding="utf-8"))["sum"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if isinstance(found, str) else None

    def put_sum(self, key: str, found: str) -> None:
        """Keep it. Raises OSError."""
        self._put(key, {"sum": found})

    def _put(self, key: str, members: Mapping[str, object]) -> None:
        self._root.mkdir(mode=0o700, exist_ok=True)
        draft = self._root / f".{key}.{os.getpid()}"
        draft.write_text(json.dumps(members), encoding="utf-8")
        draft.rename(self._root / key)

    def all(self) -> Iterator[Taken]:
        """Every step."""
        with suppress(FileNotFoundError):
            for name in os.listdir(self._root):
                taken = self.get(name) if _KEY.fullmatch(name) else None
                if taken is not None:
                    yield taken

    def clear(self) -> int:
        """Forget every step; how many there were."""
        count = 0
        with suppress(FileNotFoundError):
            for name in os.listdir(self._root):
                (self._root / name).unlink(missing_ok=True)
                count += _KEY.fullmatch(name) is not None
        return count


def _taken(known: dict[str, object]) -> Taken:
    def digest(name: str) -> Digest | None:
        return None if known[name] is None else Digest.parse(str(known[name]))

    return Taken(
        created=float(str(known["created"])),
        chain_id=digest("chain_id"),
        diff_id=digest("diff_id"),
        digest=digest("digest"),
        size_bytes=int(str(known["size_bytes"])),
        media_type=str(known["media_type"]),
    )
