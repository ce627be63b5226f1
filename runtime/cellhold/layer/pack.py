"""Packing: a tree as a tar, a whole stack as a tar, or the changes of a layer.

For commit, export, diff. A tree that a container has written is as hostile as a layer
from a registry: a confined child reads it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from cellhold.errors import ImageRefused
from cellhold.layer import confined
from cellhold.layer.bounds import Bounds
from cellhold.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cellhold.linux.hostpath import HostPath
    from cellhold.store.subids import Ids

_CHUNK_BYTES = 256 << 10
_WHAT = "pack the tree"
CHANGES_MOST = 2_000_000


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What a tree has been packed into.

    diff_id, size_bytes: of the tar.
    digest, compressed_bytes: of the bytes that were returned.
    entries: of the tar.
    left_out: sockets, and names beginning with ".wh.", which a layer's tar cannot
        express.
    """

    diff_id: Digest
    size_bytes: int
    digest: Digest
    compressed_bytes: int
    entries: int
    left_out: int


class Packing:
    """A tree on its way into a tar.

    Iterate over the (compressed) bytes, all of them, then read `packed`. A context
    manager.

    tree: an upper directory of overlayfs, or an unpacked layer; whiteouts and opaque
        directories become the tar's ".wh." names.
    lowers: if given (also empty), the tar is of all that the stack shows, `tree` on
        top.
    more: other such directories, and where they belong below the root.
    ids: whose the files of a container are on disk (`lowers` are always layers); None:
        `tree` is a layer as well.
    mtime_limit_seconds: later times become this one (SOURCE_DATE_EPOCH).
    """

    def __init__(  # noqa: PLR0913  # what a tar of a tree depends on
        self,
        tree: Path,
        *,
        lowers: Sequence[Path | HostPath] | None = None,
        more: Sequence[tuple[str, Path]] = (),
        ids: Ids | None = None,
        compression: Literal["gzip", "zstd", "none"] = "gzip",
        mtime_limit_seconds: int | None = None,
        bounds: Bounds | None = None,
        seccomp: bytes = b"",
    ) -> None:
        """Start the child."""
        says = "layer" if lowers is None else "whole"
        limit = -1 if mtime_limit_seconds is None else mtime_limit_seconds
        self._child = _reader(
            tree, lowers or (), ids, bounds, seccomp, says=says, compression=compression, mtime_limit_seconds=limit, more=more
        )
        self._hash = hashlib.sha256()
        self._count = 0
        self.packed: Packed | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes as they come.

        Raises ImageRefused, NotSupported, OSError: what was yielded until then is not a
        complete tar.
        """
        while data := self._child.data.recv(_CHUNK_BYTES):
            self._hash.update(data)
            self._count += len(data)
            yield data
        words = self._child.words()
        if words[0] != "done":
            raise confined.failure(words, _WHAT)
        self._child.close()
        self.packed = self._account(words[1:])

    def _account(self, words: Sequence[str]) -> Packed:
        try:
            encoded, *numbers = words
            size, entries, left_out = (int(number) for number in numbers if number.isdecimal())
            diff_id = Digest.parse(f"sha256:{encoded}")
        except ValueError as error:
            raise ImageRefused(f"cannot {_WHAT}: the process that read it gave no sound account of it") from error
        digest = Digest("sha256", self._hash.hexdigest())
        return Packed(diff_id=diff_id, size_bytes=size, digest=digest, compressed_bytes=self._count, entries=entries, left_out=left_out)

    def close(self) -> None:
        """End the child; may be called twice."""
        self._child.close()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the child."""
        self.close()


@dataclass(frozen=True, kw_only=True, order=True)
class Change:
    """One path that a tree changes.

    path: absolute, as the container sees it.
    kind: "A" added, "C" changed, "D" deleted, as in `docker diff`.
    size_bytes: the disk space at the path itself; a file with several names has its
        size at the first of them.
    changed: when it last changed (st_ctime), seconds since the epoch; 0.0 for what is
        deleted.
    """

    path: str
    kind: str
    size_bytes: int
    changed: float
    is_directory: bool


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a tree changes.

    changes: a directory before what is in it.
    unlisted: how many more there are.
    size_bytes: of all of the tree, as du(1) counts.
    """

    changes: tuple[Change, ...]
    unlisted: int
    size_bytes: int


def compare(  # noqa: PLR0913  # see Packing
    tree: Path,
    lowers: Sequence[Path | HostPath],
    *,
    ids: Ids | None = None,
    bounds: Bounds | None = None,
    seccomp: bytes = b"",
    most: int = CHANGES_MOST,
) -> Comparison:
    """Return what `tree` (see Packing) changes over `lowers`, topmost first.

    most: how many changes to list.

    Names are as hostile as the tree: bytes that are no UTF-8 are surrogates in them
    (os.fsencode() gives the bytes), and a terminal wants them escaped. Raises
    ImageRefused, NotSupported, OSError.
    """
    listed, rest = [], b""
    with _reader(tree, lowers, ids, bounds, seccomp, says="changes", compression="none", mtime_limit_seconds=-1, most=most) as child:
        while data := child.data.recv(_CHUNK_BYTES):
            *records, rest = (rest + data).split(b"\0")
            listed += [_change(record) for record in records]
        words = child.words()
        if words[0] != "done" or rest:
            raise confined.failure(words, "compare the layer")
    return Comparison(changes=tuple(listed), unlisted=int(words[2]), size_bytes=int(words[1]))


def _change(record: bytes) -> Change:
    size, changed, is_directory, path = record[1:].split(b" ", 3)
    return Change(
        kind=os.fsdecode(record[:1]),
        path=os.fsdecode(path),
        size_bytes=int(size),
        changed=int(changed) / 1e9,
        is_directory=is_directory == b"1",
    )


def _reader(  # noqa: PLR0913  # see Packing
    tree: Path,
    lowers: Sequence[Path | HostPath],
    ids: Ids | None,
    bounds: Bounds | None,
    seccomp: bytes,
    *,
    says: str,
    compression: str,
    mtime_limit_seconds: int,
    more: Sequence[tuple[str, Path]] = (),
    most: int = 0,
) -> confined.Confined:
    base = None if ids is None or ids.base == 0 else ids.base  # without root they are the user's own, in every tree
    below = "\0".join(target for target, _path in more)
    options = {"says": says, "compression": compression, "mtime_limit_seconds": mtime_limit_seconds, "below": below, "most": most}
    job = confined.job("pack", tree, bounds=bounds or Bounds(), seccomp=seccomp, base=base, **options)
    job["lowers"] = [confined.layer(path) for path in lowers] + [{**job["tree"], "path": os.path.abspath(path)} for _target, path in more]
    return confined.Confined(job)
