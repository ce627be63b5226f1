"""Bytes out of the confined child: hashed, compressed and sent by a thread.

Meanwhile the next are read from the disk.
"""

from __future__ import annotations

import hashlib
import os
from _queue import SimpleQueue
from threading import Semaphore, Thread

from isal import isal_zlib

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from typing import Protocol

    class Compressor(Protocol):
        """What zlib, isal and zstandard have in common."""

        def compress(self, data: bytes, /) -> bytes:
            """Process more data."""

        def flush(self) -> bytes:
            """Return what is left at the end."""

    class Sink(Protocol):
        """Where a tar goes."""

        def write(self, data: bytes) -> None:
            """Process more data."""


CHUNK_BYTES = 1 << 20
_MOST_CHUNKS = 8
_GZIP_LEVEL = 2  # of isal's 0 to 3
_ZSTD_LEVEL = 3
_GZIP = 31  # zlib's wbits for it


class Plain:
    """No compression."""

    def compress(self, data: bytes) -> bytes:
        """Return the data unchanged."""
        return data

    def flush(self) -> bytes:
        """Return nothing: no data is kept back."""
        return b""


def compressor(compression: str) -> Compressor:
    """Return the compressor for "gzip", "zstd" or "none"."""
    if compression == "gzip":
        made: Compressor = isal_zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP)
        return made
    if compression == "zstd":
        import zstandard  # noqa: PLC0415  # the supervisor has imported it

        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()
    return Plain()


class Output:
    """Where the tar goes."""

    def __init__(self, fd: int, compression: str) -> None:
        """Send to `fd`."""
        self.count = 0
        self.hash = hashlib.sha256()
        self._fd = fd
        self._compressor = compressor(compression)
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._ready: SimpleQueue[bytes] = SimpleQueue()
        self._room = Semaphore(_MOST_CHUNKS)
        self._error: OSError | None = None
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Write more data; blocks while the reader of `fd` is busy.

        Raises OSError when the reader has gone.
        """
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes >= CHUNK_BYTES:
            self._pass_on()

    def _pass_on(self) -> None:
        if self._error is not None:
            raise self._error
        self._room.acquire()
        self._ready.put(b"".join(self._gathered))
        self._gathered.clear()
        self._gathered_bytes = 0

    def close(self) -> None:
        """Write what is left, and end. Raises OSError."""
        if self._gathered:
            self._pass_on()
        self._ready.put(b"")
        self._thread.join()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """End the thread without waiting for its result: no more data will come."""
        self._ready.put(b"")

    def _work(self) -> None:
        while chunk := self._ready.get():
            self._room.release()
            if self._error is None:
                self.count += len(chunk)
                self.hash.update(chunk)
                self._send(self._compressor.compress(chunk))
        if self._error is None:
            self._send(self._compressor.flush())

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self._error = error
