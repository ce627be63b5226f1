"""Which images there are, and what they are called.

images.json     {"version": 1,
                 "images": {DIGEST: {"media_type", "size_bytes", "created", "came_as": ["localhost:5000/x@sha256:..."]}},
                 "names": {"docker.io/library/python:3.12-slim": DIGEST}}

DIGEST is the manifest's. An image without a name stays until it is pruned, as docker has it. The file is written whole and renamed,
under its lock; after a crash it is the old one or the new one.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from cellhold.digest import Digest
from cellhold.errors import SetupFailed
from cellhold.store import locks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VERSION = 1


@dataclass(kw_only=True)
class Entry:
    """An image of the store: its manifest's media type and size, since when it is here (seconds since the epoch), and as what it came.

    on_host: its layers lie on this machine's own files, so that it is no image anywhere else. Nothing from elsewhere can say so.
    """

    media_type: str
    size_bytes: int
    created: float = field(default_factory=time.time)
    came_as: list[str] = field(default_factory=list)
    on_host: bool = False


@dataclass(kw_only=True)
class Table:
    """All images, and all names."""

    images: dict[Digest, Entry] = field(default_factory=dict)
    names: dict[str, Digest] = field(default_factory=dict)

    def names_of(self, image: Digest) -> list[str]:
        """What an image is called."""
        return sorted(name for name, digest in self.names.items() if digest == image)


class Names:
    """The table of one store, in its directory `root`."""

    def __init__(self, root: Path) -> None:
        """No file is an empty table."""
        self._file = root / "images.json"
        self._lock = root / "images.lock"

    def read(self) -> Table:
        """The table as it is now. Raises SetupFailed for a file that is none."""
        try:
            text = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return Table()
        try:
            return _table(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SetupFailed(
                f"cannot read {self._file}: it is no table of images of version {_VERSION}",
                step="store.names",
                hint="another version of Cellhold wrote it, or it is damaged: move it away, and pull or load the images again",
            ) from error

    @contextmanager
    def changed(self) -> Iterator[Table]:
        """The table, to be changed by one process at a time; written if no error comes."""
        with locks.held(self._lock, locks.file(self._lock)):
            table = self.read()
            yield table
            self._write(table)

    def _write(self, table: Table) -> None:
        text = json.dumps(
            {
                "version": _VERSION,
                "images": {str(digest): asdict(entry) for digest, entry in table.images.items()},
                "names": {name: str(digest) for name, digest in table.names.items()},
            },
            indent=1,
        )
        draft = self._file.with_suffix(".new")
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # the only list of what there is: not to be lost with the power
        draft.rename(self._file)


def _table(found: dict[str, Any]) -> Table:
    if found["version"] != _VERSION:
        raise ValueError(found["version"])
    return Table(
        images={Digest.parse(digest): Entry(**entry) for digest, entry in found["images"].items()},
        names={name: Digest.parse(digest) for name, digest in found["names"].items()},
    )
