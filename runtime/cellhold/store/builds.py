"""The build cache: each step's result, under a key of all that it depends on.

cellhold.build.cache makes the keys.

builds/KEY      JSON, written whole or not at all: the layer that the step made, if any,
                and when; or the sum of a COPY's files, where the same layers have the
                same sum (steps and sums have no key in common)

Its layers are kept by garbage collection until the cache is pruned. An entry that
cannot be read is not treated as absent: nothing is collected while there is one, and a
build that needs it reports it.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, Damaged, NotSupported
from cellhold.spec.digest import Digest
from cellhold.store import durable, locks, table
from cellhold.store.table import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_KEY = re.compile(r"[0-9a-f]{64}")
_HINT = "`cellhold builder prune` empties the build cache; `cellhold build --no-cache` does without"


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A step that was performed.

    created: seconds since the epoch. chain_id, diff_id ...: of the layer that it made,
    if it made one.
    """

    created: float
    chain_id: Digest | None = None
    diff_id: Digest | None = None
    digest: Digest | None = None
    size_bytes: int = 0
    media_type: str = ""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    created: float | None = None
    chain_id: str | None = None
    diff_id: str | None = None
    digest: str | None = None
    size_bytes: int = 0
    media_type: str = ""
    sum: str | None = None


def _check(entry: _Entry) -> None:
    """Raise ValueError for an entry that is neither a step nor a sum."""
    if entry.created is None and entry.sum is None:
        raise ValueError("created is missing")
    table.check_moment(entry.created, "created")
    for text in (entry.chain_id, entry.diff_id, entry.digest):
        _digest(text)


_FORM = table.Form(kind=_Entry, version=1, steps=table.BEFORE_VERSIONS, check=_check)


class Builds:
    """The cache in the directory `root`."""

    def __init__(self, root: Path) -> None:
        """Use `root`, which is made when the first entry is stored."""
        self._root = root

    def get(self, key: str) -> Taken | None:
        """Return the result of a step, None if it is not cached.

        Raises Damaged, NotSupported.
        """
        entry = self._read(key)
        if entry is None or entry.created is None:
            return None
        return Taken(
            created=entry.created,
            chain_id=_digest(entry.chain_id),
            diff_id=_digest(entry.diff_id),
            digest=_digest(entry.digest),
            size_bytes=entry.size_bytes,
            media_type=entry.media_type,
        )

    def put(self, key: str, taken: Taken) -> None:
        """Store the result of a step. Raises OSError."""
        members = {name: value if value is None or isinstance(value, int | float) else str(value) for name, value in vars(taken).items()}
        self._put(key, members)

    def sum(self, key: str) -> str | None:
        """Return a cached sum, None if there is none. Raises Damaged, NotSupported."""
        entry = self._read(key)
        return None if entry is None else entry.sum

    def put_sum(self, key: str, found: str) -> None:
        """Store a sum. Raises OSError."""
        self._put(key, {"sum": found})

    def _read(self, key: str) -> _Entry | None:
        with suppress(FileNotFoundError):
            return _FORM.read(self._root / key, f"step {key[:12]} of the build cache", hint=_HINT)
        return None

    def _put(self, key: str, members: Mapping[str, object]) -> None:
        self._root.mkdir(mode=0o700, exist_ok=True)
        with locks.held(self._root, locks.directory(self._root)):
            durable.write(self._root / key, _FORM.dumps(members))

    def all(self) -> Iterator[Taken]:
        """Yield every step that can be read."""
        for name in self._names():
            with suppress(CellholdError):
                if (taken := self.get(name)) is not None:
                    yield taken

    def unreadable(self) -> list[Unreadable]:
        """Return the entries that cannot be read."""
        found = []
        for name in self._names():
            try:
                self._read(name)
            except (Damaged, NotSupported) as error:
                found.append(Unreadable(name=name, place=self._root / name, error=error))
        return found

    def _names(self) -> list[str]:
        with suppress(FileNotFoundError):
            return [name for name in os.listdir(self._root) if _KEY.fullmatch(name)]
        return []

    def clear(self) -> int:
        """Remove every entry; return how many there were."""
        count = 0
        with suppress(FileNotFoundError):
            for name in os.listdir(self._root):
                (self._root / name).unlink(missing_ok=True)
                count += _KEY.fullmatch(name) is not None
        return count


def _digest(text: str | None) -> Digest | None:
    return None if text is None else Digest.parse(text)
