"""ADD of a local archive: recognize a tar, and unpack it as a tree to copy from."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import lzma
import os
import stat
import tarfile
import zlib
from contextlib import nullcontext
from typing import TYPE_CHECKING, BinaryIO, cast

import zstandard

from cellhold.errors import ImageRefused
from cellhold.layer.copy import Layers
from cellhold.layer.unpack import Unpacking
from cellhold.linux.mount import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager
    from io import BufferedReader
    from pathlib import Path

    from cellhold.layer.copy import Copies

_CHUNK_BYTES = 1 << 20
_HEADER_BYTES = 512
_MARK_BYTES = 6
_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"
_COMPRESSIONS: dict[bytes, Callable[[BinaryIO], object]] = {
    _GZIP: gzip.open,
    _BZIP2: bz2.open,
    _XZ: lzma.open,
    _ZSTD: zstandard.open,
}


def is_tar(root: Path, name: bytes) -> bool:
    """Return whether a regular file of the context is a tar, compressed or not.

    It is recognized by its content, not by its name.
    """
    try:
        with _opened(root, name) as file, _reader(file) as content:
            tarfile.TarInfo.frombuf(content.read(_HEADER_BYTES), "utf-8", "surrogateescape")  # no more is read: it may be a bomb
    except (OSError, tarfile.TarError, zlib.error, zstandard.ZstdError, EOFError, lzma.LZMAError):
        return False
    return True


class Archive:
    """The content of an archive, to be copied (layer.copy.Source).

    It is unpacked into the new directory `tree` once something of it is needed.
    """

    def __init__(self, root: Path, name: bytes, tree: Path, *, seccomp: bytes) -> None:
        """Open `name` below `root`, the context, without following links. Raises OSError."""
        self._root, self._name, self._tree, self._seccomp = root, name, tree, seccomp
        self.identity = self._digest()

    def sum(self, copies: Copies) -> str:
        """Implement Source."""
        return self._unpacked().sum(copies)

    def tar(self, copies: Copies, expected: str) -> Generator[bytes]:
        """Implement Source."""
        return self._unpacked().tar(copies, expected)

    def _unpacked(self) -> Layers:
        if not self._tree.exists():
            self._tree.mkdir()
            self._tree.chmod(0o755)
            self._unpack()
            if self._digest() != self.identity:
                raise ImageRefused(f"cannot unpack {os.fsdecode(self._name)!r}: it changed while it was read", hint="do it again")
        return Layers((self._tree,), seccomp=self._seccomp)

    def _digest(self) -> str:
        with _opened(self._root, self._name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _unpack(self) -> None:
        with Unpacking(self._tree, seccomp=self._seccomp) as unpacking, _opened(self._root, self._name) as file:
            try:
                for chunk in _bytes(file):
                    unpacking.feed(chunk)
            except (EOFError, lzma.LZMAError) as error:
                raise ImageRefused(f"cannot unpack {os.fsdecode(self._name)!r}: {error}") from error
            unpacking.finish()


def _opened(root: Path, name: bytes) -> BufferedReader:
    """Open a regular file of the context.

    Whoever changes the context meanwhile cannot make it one outside of it. Raises
    OSError.
    """
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = openat2(directory, os.fsdecode(name), os.O_RDONLY | os.O_NONBLOCK, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    finally:
        os.close(directory)
    file = os.fdopen(fd, "rb")
    if not stat.S_ISREG(os.fstat(fd).st_mode):  # a FIFO would wait for a writer
        file.close()
        raise OSError(errno.EINVAL, "not a regular file")
    return file


def _bytes(raw: BinaryIO) -> Iterator[bytes]:
    """Yield the file, without a compression that Unpacking does not support."""
    head = _head(raw)
    with _reader(raw) if head.startswith((_BZIP2, _XZ)) else nullcontext(raw) as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _reader(raw: BinaryIO) -> AbstractContextManager[BinaryIO]:
    """Return the content of the file, decompressed by its first bytes."""
    head = _head(raw)
    for mark, opened in _COMPRESSIONS.items():
        if head.startswith(mark):
            return cast("AbstractContextManager[BinaryIO]", opened(raw))
    return nullcontext(raw)


def _head(file: BinaryIO) -> bytes:
    head = file.read(_MARK_BYTES)
    file.seek(0)
    return head
