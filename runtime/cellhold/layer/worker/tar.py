"""A tar stream as entries. Nothing here touches a disk.

It reads ustar, GNU long names and numbers, pax records, GNU sparse files. The entries
are those that GNU tar and Python's tarfile find; where these let something pass that no
tool writes (a wrong checksum between entries, a lone block of zeros, an unknown kind,
text where a number belongs), it is refused, as Go's reader (docker, podman) does.
"""

from __future__ import annotations

from cellhold.errors import ImageRefused
from cellhold.layer.worker import header, pax, sparse
from cellhold.layer.worker.names import clean, quote
from cellhold.layer.worker.stream import BLOCK

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.layer.worker.job import Bounded
    from cellhold.layer.worker.sparse import Map
    from cellhold.layer.worker.stream import Stream

FILE, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_KINDS = {b"\0": FILE, b"7": FILE, b"S": FILE} | {kind: kind for kind in (FILE, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO)}
_LONG_NAME, _LONG_TARGET, _PAX, _PAX_GLOBAL, _SPARSE = b"L", b"K", b"x", b"g", b"S"
_LARGEST_ID = (1 << 32) - 2
_LARGEST_SIZE = 1 << 60
_SIXTEEN_BITS = 0o7777


class Entry:
    """One entry.

    path: clean, "" for the root.
    size: bytes that follow in the stream.
    pieces: of a sparse file, real_size bytes long.
    """

    __slots__ = ("gid", "kind", "mode", "mtime_ns", "path", "pieces", "real_size", "size", "target", "uid", "xattrs")

    path: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    target: bytes
    xattrs: dict[bytes, bytes] | None
    pieces: Map | None
    real_size: int


class Reader:
    """The entries of a stream.

    Whoever takes an entry with a size reads that many bytes of the stream before the
    next.
    """

    def __init__(self, stream: Stream, bounds: Bounded) -> None:
        """Read from `stream`, within bounds."""
        self._stream = stream
        self._bounds = bounds
        self._global: dict[bytes, bytes] = {}
        self._forget()

    def _forget(self) -> None:
        """Drop what headers before an entry have said: it is for that entry only."""
        self._records = self._global
        self._map: list[bytes] = []
        self._name: bytes | None = None
        self._target: bytes | None = None

    def entries(self) -> Iterator[Entry]:
        """Yield each entry. Raises ImageRefused."""
        stream = self._stream
        while block := stream.block():
            if block == header.ZERO:
                if (block := stream.block()) and block != header.ZERO:
                    raise ImageRefused("its tar data is damaged: a block of zeros between two entries")
                stream.drain()
                return
            found = header.parsed(block)
            kind, size = found[6], found[4]
            if kind in {_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_TARGET}:
                self._take(kind, size)
                continue
            entry = self._entry(found, block)
            padding = -entry.size % BLOCK
            yield entry
            if padding:
                stream.skip(padding)
            self._forget()

    def _take(self, kind: bytes, size: int) -> None:
        """Remember what a header says of the next entry."""
        if not 0 <= size <= self._bounds["header_bytes"]:
            raise ImageRefused(f"an extended tar header has {size} bytes, and {self._bounds['header_bytes']} are allowed")
        data = self._stream.read(size + -size % BLOCK)[:size]
        if kind == _LONG_NAME:
            self._name = header.text(data)
        elif kind == _LONG_TARGET:
            self._target = header.text(data)
        else:
            self._take_records(kind, data)

    def _take_records(self, kind: bytes, data: bytes) -> None:
        found: dict[bytes, bytes] = {}
        for keyword, value in pax.records(data):
            if keyword in {b"GNU.sparse.offset", b"GNU.sparse.numbytes"}:
                self._map.append(value)  # format 0.0 says them again and again
            else:
                found[keyword] = value
        if kind == _PAX_GLOBAL:
            self._global = {**self._global, **found}
            if sum(map(len, self._global.values())) > self._bounds["header_bytes"]:
                raise ImageRefused(f"its global tar headers have more than {self._bounds['header_bytes']} bytes")
        self._records = {**self._records, **found}

    def _entry(self, found: header.Header, block: bytes) -> Entry:
        name, mode, uid, gid, size, mtime, raw_kind, target = found
        entry = Entry()
        entry.mode, entry.uid, entry.gid, entry.size, entry.mtime_ns = mode & _SIXTEEN_BITS, uid, gid, size, pax.clamped(mtime) * 10**9
        entry.xattrs = entry.pieces = None
        name = name if self._name is None else self._name
        entry.target = target if self._target is None else self._target
        if self._records or self._map:
            name = self._amend(entry, name)
        entry.path = self._clean(name)
        entry.kind = _kind(raw_kind, name)
        if entry.kind == LINK:
            entry.target = self._clean(entry.target)
        if entry.kind != FILE:
            entry.size = 0  # whatever the header says, no data follows, as in Go's reader
        _check(entry)
        if raw_kind == _SPARSE or self._map or b"GNU.sparse.map" in self._records or b"GNU.sparse.major" in self._records:
            self._find_pieces(entry, raw_kind, block)
        return entry

    def _clean(self, name: bytes) -> bytes:
        return clean(name, depth=self._bounds["depth"], longest=self._bounds["name_bytes"])

    def _amend(self, entry: Entry, name: bytes) -> bytes:
        """Apply the extended headers to an entry; return its name."""
        for keyword, value in self._records.items():
            if keyword.startswith(pax.XATTR):
                entry.xattrs = {**(entry.xattrs or {}), keyword[len(pax.XATTR) :]: value}
            elif not value:
                continue  # it takes back what a global header says
            elif keyword == b"path":
                name = value
            elif keyword == b"linkpath":
                entry.target = value
            elif keyword == b"size":
                entry.size = pax.decimal(value, "size")
            elif keyword == b"uid":
                entry.uid = pax.decimal(value, "uid")
            elif keyword == b"gid":
                entry.gid = pax.decimal(value, "gid")
            elif keyword == b"mtime":
                entry.mtime_ns = pax.nanoseconds(value)
        return self._records.get(b"GNU.sparse.name") or name

    def _find_pieces(self, entry: Entry, raw_kind: bytes, block: bytes) -> None:
        if entry.kind != FILE:
            raise ImageRefused(f"{quote(entry.path)} is a sparse file, but no file")
        if raw_kind == _SPARSE:
            pieces, entry.real_size = sparse.old(block, self._stream)
        else:
            real = self._records.get(b"GNU.sparse.realsize", self._records.get(b"GNU.sparse.size", b""))
            entry.real_size = pax.decimal(real, "real size")
            if self._records.get(b"GNU.sparse.major") == b"1":
                pieces, taken = sparse.leading(self._stream)
                entry.size -= taken
            else:
                pieces = sparse.listed(self._map or self._records.get(b"GNU.sparse.map", b"").split(b","))
        if entry.real_size > self._bounds["unpacked_bytes"]:
            raise ImageRefused(f"{quote(entry.path)} has {entry.real_size} bytes, and {self._bounds['unpacked_bytes']} are allowed")
        entry.pieces = sparse.checked(pieces, entry.size, entry.real_size)


def _kind(raw: bytes, name: bytes) -> bytes:
    kind = _KINDS.get(raw)
    if kind is None:
        raise ImageRefused(f"{quote(name)} is of a kind that no tool knows: {quote(raw)}")
    return DIRECTORY if raw == b"\0" and name.endswith(b"/") else kind  # as in the tar of Unix version 7


def _check(entry: Entry) -> None:
    """Refuse numbers that no file has."""
    if not 0 <= entry.size <= _LARGEST_SIZE:
        raise ImageRefused(f"{quote(entry.path)} has {entry.size} bytes")
    if not (0 <= entry.uid <= _LARGEST_ID and 0 <= entry.gid <= _LARGEST_ID):
        raise ImageRefused(f"{quote(entry.path)} belongs to {entry.uid}:{entry.gid}")
