"""The notebook's own file, as the host kernel reads it.

Cells can write it: it is untrusted. It is opened below the held folder, as a regular
file without a link on the way, and never above a size limit. A small file is parsed
here. Parsing JSON can take 25 times its size in memory, and seconds, so a larger file
is parsed by a process within limits, which returns only the member that is needed:

    main()                                      the file is standard input
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from cellhold import helper
from cellhold.errors import InvalidSpec
from cellhold_kernel.protocol import documents
from cellhold_kernel.settings.folder import Folder

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator
    from pathlib import Path

METADATA = "cellhold"  # our key in a kernelspec's metadata, and in a notebook's
MOST_BYTES = 256 << 20
_HERE_BYTES = 2 << 20  # parsed in this process: 0.02 s, and at most 50 MiB of memory
_BOUNDS = helper.Bounds(memory_bytes=2 << 30, seconds=20)
_PATIENCE_SECONDS = 60.0  # for that whole process, on a busy machine
_METADATA_BYTES = 64 << 10
_SEARCHED_BYTES = 64 << 20
_PIECE = 1 << 20
_OVERLAP = 256  # bytes: the longest match of a search
_TIMED_OUT = "it is too large to be read in time"


class Notebook(NamedTuple):
    """A notebook's file.

    path: absolute, as Jupyter names it. folder: the notebook's held folder, None if it
    was removed.
    """

    path: Path
    folder: Folder | None = None

    def document(self) -> Any:
        """Parse the file as JSON: all of it, or `metadata.cellhold` of a large one.

        Raises FileNotFoundError, InvalidSpec if it is not a regular file or too large,
        ValueError if it is not JSON.
        """
        fd = self._open(MOST_BYTES)
        try:
            if os.fstat(fd).st_size > _HERE_BYTES:
                return _parse_in_process(fd)
            with os.fdopen(os.dup(fd), "rb") as file:
                content = file.read(_HERE_BYTES + 1)
        finally:
            os.close(fd)
        if len(content) > _HERE_BYTES:
            raise ValueError("it grows while it is read")
        return documents.load(content)

    def find(self, pattern: re.Pattern[bytes]) -> Iterator[re.Match[bytes]]:
        """Yield the matches of a pattern in the file; none if it cannot be read.

        A match has at most 256 bytes.
        """
        with suppress(OSError, InvalidSpec), os.fdopen(self._open(MOST_BYTES), "rb", buffering=0) as file:
            text = b""
            for _piece in range(_SEARCHED_BYTES // _PIECE):
                piece = file.read(_PIECE)
                if not piece:
                    return
                text = text[-_OVERLAP:] + piece
                yield from pattern.finditer(text)

    def _open(self, most_bytes: int) -> int:
        """Open the file and return a descriptor, which is the caller's to close.

        If the notebook is not below its kernel's folder, its own directory is opened
        now.
        """
        if self.folder is not None:
            name = os.path.relpath(self.path, self.folder.opened.name)
            if name != os.pardir and not name.startswith(f"{os.pardir}{os.sep}"):
                return self.folder.open_file(name, most_bytes)
        try:
            folder = Folder.at(self.path.parent)
        except NotADirectoryError as error:
            raise FileNotFoundError(str(error)) from error
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise InvalidSpec(f"cannot read {self.path.name} of the notebook's folder: {error.strerror}") from error
        return folder.open_file(self.path.name, most_bytes)


def _parse_in_process(fd: int) -> Any:
    """Parse the file in a process within limits (main). Raises ValueError."""
    try:
        done = helper.run(helper.python(__name__, bounds=_BOUNDS), stdin=fd, seconds=_PATIENCE_SECONDS)
    except TimeoutError:
        raise ValueError(_TIMED_OUT) from None
    if done.returncode < 0:
        raise ValueError(_TIMED_OUT)
    if done.returncode or len(done.stdout) > _METADATA_BYTES:
        raise ValueError(done.stdout.decode(errors="replace")[:_OVERLAP] or "it takes too much memory to be read")
    return documents.load(done.stdout)


def main() -> int:
    """Run the process: write the needed part of the document, or why that failed."""
    content = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        sys.stdout.write("it grows while it is read")
        return 1
    try:
        document = documents.load(content)
    except ValueError as error:
        sys.stdout.write(str(error))
        return 1
    text = json.dumps(_reduce(document))
    if len(text) > _METADATA_BYTES:
        sys.stdout.write(f"its {METADATA} has more than {_METADATA_BYTES} bytes")
        return 1
    sys.stdout.write(text)
    return 0


def _reduce(document: Any) -> Any:
    """Return the document without all but our metadata.

    A member of the wrong type is kept as an empty list, so that the reader reports it.
    """
    if not isinstance(document, dict):
        return []
    metadata = document.get("metadata", {})
    if not isinstance(metadata, dict):
        return {"metadata": []}
    return {"metadata": {key: value for key, value in metadata.items() if key == METADATA}}
