"""The files of an archive, unpacked or a user's directory, opened by name.

They are opened beneath one directory, whatever links are in it.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Self

from cellhold.errors import ImageRefused
from cellhold.image.fields import quote
from cellhold.linux.mount import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, openat2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO would block
_CHUNK_BYTES = 1 << 20


class Folder:
    """A directory; a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the directory. Raises OSError if it is not one."""
        self._top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def has(self, name: str) -> bool:
        """Return whether there is a regular file of that name."""
        try:
            with self.open(name):
                return True
        except ImageRefused:
            return False

    def open(self, name: str) -> BinaryIO:
        """Open a regular file for reading. Raises ImageRefused if there is none."""
        try:
            fd = openat2(self._top, name, _READ, resolve=RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a name of a file"
            raise ImageRefused(f"cannot use the archive: its file {quote(name)} cannot be read: {reason}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ImageRefused(f"cannot use the archive: {quote(name)} is not a regular file")
        return os.fdopen(fd, "rb")

    def read(self, name: str, most_bytes: int) -> bytes:
        """Return the content of a small file.

        Of a longer one, only a part is returned, which its reader refuses. Raises
        ImageRefused.
        """
        with self.open(name) as file:
            return file.read(most_bytes + 1)

    def chunks(self, name: str, start_byte: int = 0) -> Iterator[bytes]:
        """Yield a file in pieces. Raises ImageRefused."""
        with self.open(name) as file:
            file.seek(start_byte)
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def close(self) -> None:
        """Close the directory."""
        os.close(self._top)

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the directory."""
        self.close()
