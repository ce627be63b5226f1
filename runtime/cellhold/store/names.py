"""Which images there are, and what they are called.

images.json     {"version": 2,
                 "images": {DIGEST: {"media_type", "size_bytes", "created", "on_host",
                                     "came_as": ["localhost:5000/x@sha256:..."]}},
                 "names": {"docker.io/library/python:3.12-slim": DIGEST},
                 "derived": {KEY: {"image": DIGEST, "base": DIGEST}}}

DIGEST is the manifest's. An image without a name stays until it is pruned, as in
Docker. What was made here out of another image (`derived`) is found by KEY, the hash of
all that it was made of; no name leads to it, and none is recorded. The file is written
whole and renamed, under its lock; after a crash it is the old one or the new one.

Version 1 has no `derived`; it is read, and becomes version 2 when it is next written. A
file that cannot be read is left as it is, and so is all that it may refer to.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from cellhold.errors import SetupFailed
from cellhold.spec.digest import Digest
from cellhold.store import durable, locks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VERSION = 2
_DAMAGED = "it is damaged: move it away, and pull or load the images again"


@dataclass(kw_only=True)
class Entry:
    """An image of the store: media type, size, time and references it came by.

    created: seconds since the epoch since when it is here. on_host: its layers lie on
    this machine's own files, so that it is not an image anywhere else; nothing received
    from elsewhere can claim this. more: members that another version of this program
    wrote.
    """

    media_type: str
    size_bytes: int
    created: float = field(default_factory=time.time)
    came_as: list[str] = field(default_factory=list)
    on_host: bool = False
    more: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as a JSON object."""
        members = asdict(self)
        return {**members.pop("more"), **members}


@dataclass(frozen=True, kw_only=True)
class Derived:
    """An image that was made here out of another one, its base."""

    image: Digest
    base: Digest


@dataclass(kw_only=True)
class Table:
    """All images, all names, and what was derived.

    Derived images are keyed by the hash of all that they were made of.
    """

    images: dict[Digest, Entry] = field(default_factory=dict)
    names: dict[str, Digest] = field(default_factory=dict)
    derived: dict[str, Derived] = field(default_factory=dict)

    def names_of(self, image: Digest) -> list[str]:
        """Return the names of an image."""
        return sorted(name for name, digest in self.names.items() if digest == image)

    def base_of(self, image: Digest) -> Digest | None:
        """Return the base of a derived image if it is present, else None."""
        bases = (one.base for one in self.derived.values() if one.image == image)
        return next((base for base in bases if base in self.images), None)

    def derived_from(self, base: Digest) -> list[Digest]:
        """Return the images that were derived from this one."""
        return [one.image for one in self.derived.values() if one.base == base]

    def forget(self, image: Digest) -> None:
        """Remove an image and its names; what was derived from it stays, without a base."""
        self.images.pop(image, None)
        self.names = {name: digest for name, digest in self.names.items() if digest != image}
        self.derived = {key: one for key, one in self.derived.items() if one.image != image}


class Names:
    """The table of one store, in its directory `root`."""

    def __init__(self, root: Path) -> None:
        """Use the file in `root`; a missing file is an empty table."""
        self._file = root / "images.json"
        self._lock = root / "images.lock"

    def read(self) -> Table:
        """Return the current table.

        Raises SetupFailed if the file is damaged or of a later version.
        """
        try:
            found = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return Table()
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise SetupFailed(f"cannot read {self._file}: {reason}", step="store.names", errno=error.errno or 0) from error
        except (ValueError, RecursionError) as error:
            raise self._refused("it is not a table of images", _DAMAGED) from error
        try:
            version = _integer(found["version"])
            if version > _VERSION:
                raise self._refused(
                    f"it is a table of images of version {version}, and this Cellhold knows those up to {_VERSION}",
                    "a later version of Cellhold wrote it: use that one",
                )
            return _table(found, version)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._refused("it is not a table of images", _DAMAGED) from error

    def _refused(self, reason: str, hint: str) -> SetupFailed:
        return SetupFailed(f"cannot read {self._file}: {reason}", step="store.names", hint=hint)

    @contextmanager
    def changed(self) -> Iterator[Table]:
        """Yield the table for one process at a time to change.

        It is written unless an error is raised.
        """
        with locks.held(self._lock, locks.file(self._lock)):
            table = self.read()
            yield table
            self._write(table)

    def _write(self, table: Table) -> None:
        text = json.dumps(
            {
                "version": _VERSION,
                "images": {str(digest): entry.to_json() for digest, entry in table.images.items()},
                "names": {name: str(digest) for name, digest in table.names.items()},
                "derived": {key: {"image": str(one.image), "base": str(one.base)} for key, one in table.derived.items()},
            },
            indent=1,
        )
        durable.write_text(self._file, text.encode())  # names can be removed on a full disk, which gives space back


def _table(found: dict[str, Any], version: int) -> Table:
    """Parse the table. Raises ValueError, KeyError, TypeError or AttributeError."""
    if version < 1:
        raise ValueError(version)
    return Table(
        images={Digest.parse(digest): _entry(**entry) for digest, entry in found["images"].items()},
        names={name: Digest.parse(digest) for name, digest in found["names"].items()},
        derived={
            key: Derived(image=Digest.parse(one["image"]), base=Digest.parse(one["base"]))
            for key, one in (found["derived"].items() if version > 1 else ())
        },
    )


def _entry(*, media_type: Any, size_bytes: Any, created: Any, came_as: Any = (), on_host: Any = False, **others: Any) -> Entry:
    if not isinstance(media_type, str) or not isinstance(on_host, bool) or not isinstance(created, int | float):
        raise TypeError(media_type)
    if not isinstance(came_as, list | tuple) or not all(isinstance(name, str) for name in came_as):
        raise TypeError(came_as)
    return Entry(
        media_type=media_type, size_bytes=_integer(size_bytes), created=created, came_as=list(came_as), on_host=on_host, more=others
    )


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(value)
    return value
