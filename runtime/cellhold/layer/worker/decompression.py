"""Compressed bytes in, uncompressed chunks of a bounded size out.

The first bytes decide: gzip, zstd, or neither. What media types claim is ignored:
registries and builders get it wrong, and docker ignores it too. gzip may have several
members, zstd several frames and skippable ones. Anything after the last is refused, as
docker's reader does; so is an early end.
"""

from __future__ import annotations

import os

from isal import igzip_lib

from cellhold.errors import ImageRefused

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = (b"\x2a\x4d\x18", 0x50, 0x5F)  # the last three bytes of a skippable frame's magic; the first is in this range (RFC 8878)
CHUNK_BYTES = 1 << 20
_GZIP_ERROR: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # its stub takes the class for an instance
_INPUT_BYTES = 256 << 10
_PIECE_BYTES = 4 << 10  # of zstd, at a time: its decoder knows no bound for the output, and a piece makes 128 MiB at most
MAGIC_BYTES = 4


class Input:
    """The compressed bytes as they come; `count` are read."""

    def __init__(self, fd: int) -> None:
        """Read from `fd` until it ends."""
        self._fd = fd
        self._back = b""
        self.count = 0

    def read(self, size: int = _INPUT_BYTES) -> bytes:
        """Return at most `size` bytes; nothing at the end."""
        if self._back:
            data, self._back = self._back[:size], self._back[size:]
            return data
        data = os.read(self._fd, size)
        self.count += len(data)
        return data

    def head(self) -> bytes:
        """Return the first bytes without consuming them.

        There are four, unless the whole input has fewer.
        """
        while len(self._back) < MAGIC_BYTES and (more := os.read(self._fd, _INPUT_BYTES)):
            self._back += more
            self.count += len(more)
        return self._back[:MAGIC_BYTES]


def chosen(head: bytes) -> str:
    """Return the compression of data that begins so: "gzip", "zstd" or "none"."""
    if head.startswith(GZIP_MAGIC):
        return "gzip"
    return "zstd" if head.startswith(ZSTD_MAGIC) or is_skippable(head) else "none"


def is_skippable(head: bytes) -> bool:
    """Return whether a skippable frame of zstd begins so."""
    tail, first, last = _SKIPPABLE
    return len(head) >= MAGIC_BYTES and head[1:MAGIC_BYTES] == tail and first <= head[0] <= last


def chunks(data: Input, compression: str, window_bytes: int) -> Iterator[bytes]:
    """Yield the uncompressed bytes. Raises ImageRefused if they are damaged."""
    decoders: dict[str, Callable[[Input, int], Iterator[bytes]]] = {"gzip": gzip_chunks, "zstd": zstd_chunks, "none": plain_chunks}
    return decoders[compression](data, window_bytes)


def plain_chunks(data: Input, _window_bytes: int) -> Iterator[bytes]:
    """Yield uncompressed input unchanged."""
    while chunk := data.read():
        yield chunk


def gzip_chunks(data: Input, _window_bytes: int) -> Iterator[bytes]:
    """Yield every member of gzip (RFC 1952)."""
    rest = data.read()
    while rest:
        member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        while not member.eof:
            try:
                chunk = member.decompress(rest, CHUNK_BYTES)
            except _GZIP_ERROR as error:
                raise ImageRefused(f"its gzip data is damaged: {error}") from error
            if chunk:
                yield chunk
            rest = b""
            if member.needs_input and not member.eof:
                rest = data.read()
                if not rest:
                    raise ImageRefused("its gzip data ends too early")
        rest = member.unused_data or data.read()


def zstd_chunks(data: Input, window_bytes: int) -> Iterator[bytes]:
    """Yield every frame of zstd (RFC 8878), skippable ones as well."""
    import zstandard  # noqa: PLC0415  # the supervisor has imported it if the data looked like it

    context = zstandard.ZstdDecompressor(max_window_size=window_bytes)
    gathered = bytearray()
    rest = data.read(_PIECE_BYTES)
    while rest:
        frame = context.decompressobj()
        while not frame.eof:
            try:
                gathered += frame.decompress(rest)
            except zstandard.ZstdError as error:
                raise ImageRefused(f"its zstd data is damaged, or needs more than {window_bytes >> 20} MiB of memory: {error}") from error
            if len(gathered) >= CHUNK_BYTES:
                yield from cut(gathered)
            rest = frame.unused_data if frame.eof else data.read(_PIECE_BYTES)
            if not rest and not frame.eof:
                raise ImageRefused("its zstd data ends too early")
        rest = rest or data.read(_PIECE_BYTES)
    yield from cut(gathered)


def cut(gathered: bytearray) -> Iterator[bytes]:
    """Yield all of the buffer in chunks; it is empty then."""
    for start in range(0, len(gathered), CHUNK_BYTES):
        yield bytes(memoryview(gathered)[start : start + CHUNK_BYTES])
    gathered.clear()
