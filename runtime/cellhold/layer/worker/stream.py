"""The tar stream as the parser takes it: blocks, pieces, skips.

A thread reads, decompresses and hashes ahead of it. Reading, decompressing, hashing and
writing files all release Python's lock, so two processors are busy with one layer.
"""

from __future__ import annotations

import hashlib
from _queue import SimpleQueue
from threading import Semaphore, Thread

from cellhold.errors import ImageRefused
from cellhold.layer.worker import decompression

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.layer.worker.job import Bounded

BLOCK = 512
_MOST_CHUNKS = 8  # that wait for the parser: with CHUNK_BYTES, the memory of a stream
_STACK_BYTES = 1 << 20


class Stream:
    """Uncompressed bytes, in order.

    An error of the thread is raised to the reader.
    """

    def __init__(self, fd: int, bounds: Bounded) -> None:
        """Start to read `fd`."""
        self.compression = ""
        self.count = 0
        self.hash = hashlib.sha256()
        self._bounds = bounds
        self._input = decompression.Input(fd)
        self._ready: SimpleQueue[bytes | BaseException] = SimpleQueue()
        self._room = Semaphore(_MOST_CHUNKS)
        self._chunk = memoryview(b"")
        self._ended = False
        Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        """Fill the queue; an empty chunk is the end."""
        try:
            self.compression = decompression.chosen(self._input.head())
            for chunk in decompression.chunks(self._input, self.compression, self._bounds["window_bytes"]):
                self.count += len(chunk)
                self._stay_within_bounds()
                self._room.acquire()
                self._ready.put(chunk)
                self.hash.update(chunk)
            self._ready.put(b"")
        except BaseException as error:  # noqa: BLE001  # raised again to the reader, in another thread
            self._ready.put(error)

    def _stay_within_bounds(self) -> None:
        if self.count > self._bounds["unpacked_bytes"]:
            raise ImageRefused(f"it unpacks to more than {self._bounds['unpacked_bytes']} bytes")
        if self.count > self._bounds["ratio_floor_bytes"] and self.count > self._input.count * self._bounds["ratio"]:
            raise ImageRefused(f"{self._input.count} bytes of it unpack to more than {self.count - 1}: a decompression bomb")

    def _next(self) -> bool:
        """Go to the next chunk; return False at the end."""
        if self._ended:
            return False
        chunk = self._ready.get()
        if isinstance(chunk, BaseException):
            raise chunk
        self._room.release()
        self._chunk = memoryview(chunk)
        self._ended = not chunk
        return not self._ended

    def block(self) -> bytes:
        """Return the next 512 bytes; nothing at the end.

        Raises ImageRefused if there are fewer.
        """
        if len(self._chunk) >= BLOCK:
            data = self._chunk[:BLOCK].tobytes()
            self._chunk = self._chunk[BLOCK:]
            return data
        if not self._chunk and not self._next():
            return b""
        return self.read(BLOCK)

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes: for headers, which are bounded.

        Raises ImageRefused if there are fewer.
        """
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield exactly `size` bytes, in pieces as they come.

        Raises ImageRefused if there are fewer.
        """
        while size:
            if not self._chunk and not self._next():
                raise ImageRefused("its tar data ends too early")
            piece = self._chunk[:size]
            self._chunk = self._chunk[len(piece) :]
            size -= len(piece)
            yield piece

    def skip(self, size: int) -> None:
        """Skip `size` bytes."""
        for _piece in self.pieces(size):
            pass

    def drain(self) -> None:
        """Read to the end: what follows the tar's end is hashed and nothing else."""
        while self._next():
            pass
