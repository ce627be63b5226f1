"""Content checked against its descriptor while it streams by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.digest import Digest
from cellhold.errors import ImageRefused

if TYPE_CHECKING:
    from cellhold.image.descriptor import Descriptor


class Verifier:
    """Give every byte to update(), from the first on; finish() raises ImageRefused unless they were what the descriptor says."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        self._hash = descriptor.digest.hasher()
        self.size_bytes = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """More of the content; raises ImageRefused as soon as it is too much."""
        self.size_bytes += len(data)
        if self.size_bytes > self._descriptor.size_bytes:
            raise self._refused(f"it is longer than the {self._descriptor.size_bytes} bytes of its descriptor")
        self._hash.update(data)

    def finish(self) -> None:
        """The content is at its end."""
        if self.size_bytes != self._descriptor.size_bytes:
            raise self._refused(f"it has {self.size_bytes} bytes, its descriptor says {self._descriptor.size_bytes}")
        received = Digest(self._descriptor.digest.algorithm, self._hash.hexdigest())
        if received != self._descriptor.digest:
            raise self._refused(f"what was received is {received}")

    def _refused(self, reason: str) -> ImageRefused:
        return ImageRefused(
            f"cannot use {self._descriptor.digest}: {reason}", hint="try again; it was damaged on its way, or is not what it says"
        )
