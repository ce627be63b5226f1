"""Content under its digest: manifests, configs and layers, byte for byte.

blobs/
    sha256/HEX...       whole and verified
    drafts/HEX...       being received: locked by its writer; what a cut connection
                        left stays for the next attempt

A file is written out (fsync) before it is renamed to its digest, so that what is there
is whole, also after a power cut.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from cellhold.errors import Damaged, ImageNotFound, ImageRefused
from cellhold.spec.digest import Digest
from cellhold.store import durable, locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

_CHUNK_BYTES = 1 << 20


class Blobs:
    """The blobs of one store, in the directory `root`."""

    def __init__(self, root: Path) -> None:
        """Make the directories if they are missing."""
        self.root = root
        self.drafts = root / "drafts"
        for directory in (root, root / "sha256", root / "sha512", self.drafts):
            directory.mkdir(mode=0o700, exist_ok=True)

    def path(self, digest: Digest) -> Path:
        """Return the path at which the blob lies or would lie."""
        return self.root / digest.algorithm / digest.encoded

    def has(self, digest: Digest) -> bool:
        """Return whether the blob is present."""
        return self.path(digest).exists()

    def size(self, digest: Digest) -> int:
        """Return the size of a blob in bytes. Raises ImageNotFound."""
        with self.open(digest) as file:
            return os.fstat(file.fileno()).st_size

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading. Raises ImageNotFound."""
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError as error:
            raise ImageNotFound(f"cannot read {digest}: the store has no such blob", hint="pull or load its image again") from error

    def read(self, digest: Digest) -> bytes:
        """Return the content of a small blob.

        Raises ImageNotFound, and Damaged if the content does not match its digest.
        """
        with self.open(digest) as file:
            data = file.read()
        if _hashed(digest, [data]) != digest.encoded:
            raise Damaged(f"cannot read {digest}: {self.path(digest)} is damaged", hint="pull or load its image again")
        return data

    def mend(self, digest: Digest) -> None:
        """Remove a blob if it is damaged.

        Whoever has the content at hand then stores it again.
        """
        with suppress(FileNotFoundError):
            with self.path(digest).open("rb") as file:
                is_sound = _hashed(digest, iter(partial(file.read, _CHUNK_BYTES), b"")) == digest.encoded
            if not is_sound:
                self.path(digest).unlink()

    def put(self, data: bytes) -> Digest:
        """Store a small blob and return its digest."""
        digest = Digest.of(data)
        self.mend(digest)
        with self.draft(digest, len(data)) as draft:
            if draft is not None:
                draft.restart()
                draft.write(data)
                draft.keep()
        return digest

    def adopt(self, file: Path, digest: Digest) -> None:
        """Move a file into the store whose content was hashed while it was written.

        The file lies on the store's own disk.
        """
        file.chmod(0o400)
        durable.sync(file)
        file.rename(self.path(digest))

    @contextmanager
    def draft(self, digest: Digest, size_bytes: int, *, patience: Callable[[], object] | None = None) -> Iterator[Draft | None]:
        """Yield the one draft of a blob once no other process writes it.

        patience: as in locks.py. Yields None if the blob is present by then. A draft
        that is not kept waits for the next attempt.
        """
        path = self.drafts / digest.encoded
        while not self.has(digest):
            with locks.held(path, locks.file(path), patience=patience) as fd:
                if self.has(digest):
                    path.unlink()  # another process was quicker: the empty draft is ours
                    break
                yield Draft(fd, path, self.path(digest), digest, size_bytes)
                return
        yield None

    def settle(self) -> None:
        """Make the blobs that are present survive a power cut. Raises OSError.

        Called before a name leads to them.
        """
        for kind in ("sha256", "sha512"):
            durable.sync(self.root / kind)

    def all(self) -> list[Digest]:
        """Return the digest of every blob that is present."""
        return [Digest(kind, name) for kind in ("sha256", "sha512") for name in os.listdir(self.root / kind)]

    def remove(self, digest: Digest) -> int:
        """Remove a blob and return its size in bytes; 0 if it is absent."""
        with suppress(FileNotFoundError):
            size = self.path(digest).stat().st_size
            self.path(digest).unlink()
            return size
        return 0

    def remove_drafts(self) -> None:
        """Remove what cut connections have left, while nobody writes (store/garbage.py)."""
        for path in self.drafts.iterdir():
            path.unlink()


def _hashed(digest: Digest, chunks: Iterable[bytes]) -> str:
    """Return the hexadecimal digest of the content by the digest's algorithm."""
    hasher = digest.hasher()
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.hexdigest()


class Draft:
    """A blob that is being received.

    size_bytes: its final size; done_bytes: what is present already, hashed.
    """

    def __init__(self, fd: int, path: Path, final: Path, digest: Digest, size_bytes: int) -> None:
        """Take over what an earlier attempt left.

        If that is longer than the blob, it cannot be its beginning, and is dropped.
        """
        self.digest, self.size_bytes = digest, size_bytes
        self._fd, self._path, self._final = fd, path, final
        self._hash = digest.hasher()
        self.done_bytes = 0
        if os.fstat(fd).st_size > size_bytes:
            os.ftruncate(fd, 0)
        for chunk in self.content():
            self._hash.update(chunk)
            self.done_bytes += len(chunk)

    def content(self) -> Iterator[bytes]:
        """Yield what is present, from the beginning."""
        at = 0
        while chunk := os.pread(self._fd, _CHUNK_BYTES, at):
            yield chunk
            at += len(chunk)

    def restart(self) -> None:
        """Drop what is present."""
        os.ftruncate(self._fd, 0)
        self._hash, self.done_bytes = self.digest.hasher(), 0

    def write(self, data: bytes) -> None:
        """Append `data`.

        Raises ImageRefused as soon as the blob is longer than its descriptor says,
        OSError.
        """
        if self.done_bytes + len(data) > self.size_bytes:
            self.discard()
            raise ImageRefused(f"cannot keep {self.digest}: it is longer than the {self.size_bytes} bytes that its descriptor says")
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._fd, rest, self.done_bytes)
            self._hash.update(rest[:written])
            self.done_bytes += written
            rest = rest[written:]

    def keep(self) -> None:
        """Store the complete blob under its digest.

        Raises ImageRefused if the content does not match; then nothing of it is kept.
        """
        if self.done_bytes < self.size_bytes:
            self.discard()
            raise ImageRefused(f"cannot keep {self.digest}: it ended after {self.done_bytes} of {self.size_bytes} bytes")
        if self._hash.hexdigest() != self.digest.encoded:
            self.discard()
            raise ImageRefused(
                f"cannot keep {self.digest}: the received content has the digest {self.digest.algorithm}:{self._hash.hexdigest()}",
                hint="the content was changed in transit, or the registry is broken: try again, or use another registry",
            )
        os.fchmod(self._fd, 0o400)
        os.fsync(self._fd)
        os.rename(self._path, self._final)

    def discard(self) -> None:
        """Remove the draft."""
        with suppress(FileNotFoundError):
            self._path.unlink()
