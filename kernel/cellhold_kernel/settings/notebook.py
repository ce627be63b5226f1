"""The notebook's own file, as the host kernel reads it: cells may write it, so it is anybody's.

It is opened beneath the held folder, as a regular file with no link on the way, and never larger than a bound. A small one
is parsed here. JSON can take 25 times its size in memory, and seconds, so a larger one is parsed by a process within
bounds, which gives back the one member that is asked for:

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
_HERE_BYTES = 2 << 20  # 0.02 s, and 50 MiB at most
_BOUNDS = helper.Bounds(memory_bytes=2 << 30, seconds=20)
_PATIENCE_SECONDS = 60.0  # with all of that process, on a busy machine
_ASKED_BYTES = 64 << 10
_SEARCHED_BYTES = 64 << 20
_PIECE = 1 << 20
_OVERLAP = 256  # bytes: the longest that is searched for
_TIMED_OUT = "it is too large to be read in time"


class Notebook(NamedTuple):
    """path: absolute, as Jupyter names it; folder: the notebook's, as it is held, None where that is gone."""

    path: Path
    folder: Folder | None = None

    def document(self) -> Any:
        """The file as JSON, all of it or its `metadata.cellhold` alone.

        Raises FileNotFoundError, InvalidSpec for what is no regular file or too large, ValueError for what is no JSON.
        """
        fd = self._open(MOST_BYTES)
        try:
            if os.fstat(fd).st_size > _HERE_BYTES:
                return _parsed_apart(fd)
            with os.fdopen(os.dup(fd), "rb") as file:
                content = file.read(_HERE_BYTES + 1)
        finally:
            os.close(fd)
        if len(content) > _HERE_BYTES:
            raise ValueError("it grows while it is read")
        return documents.load(content)

    def find(self, pattern: re.Pattern[bytes]) -> Iterator[re.Match[bytes]]:
        """The matches of a pattern for at most 256 bytes in the file; none where it cannot be read."""
        with suppress(OSError, InvalidSpec), os.fdopen(self._open(MOST_BYTES), "rb", buffering=0) as file:
            text = b""
            for _piece in range(_SEARCHED_BYTES // _PIECE):
                piece = file.read(_PIECE)
                if not piece:
                    return
                text = text[-_OVERLAP:] + piece
                yield from pattern.finditer(text)

    def _open(self, most_bytes: int) -> int:
        """A descriptor, the caller's own. Where the notebook lies elsewhere than in its kernel's folder, its own is opened now."""
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


def _parsed_apart(fd: int) -> Any:
    """Raises ValueError."""
    try:
        done = helper.run(helper.python(__name__, bounds=_BOUNDS), stdin=fd, seconds=_PATIENCE_SECONDS)
    except TimeoutError:
        raise ValueError(_TIMED_OUT) from None
    if done.returncode < 0:
        raise ValueError(_TIMED_OUT)
    if done.returncode or len(done.stdout) > _ASKED_BYTES:
        raise ValueError(done.stdout.decode(errors="replace")[:_OVERLAP] or "it takes too much memory to be read")
    return documents.load(done.stdout)


def main() -> int:
    """The process: the document without all that is not asked for, or what is wrong with it."""
    content = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        sys.stdout.write("it grows while it is read")
        return 1
    try:
        document = documents.load(content)
    except ValueError as error:
        sys.stdout.write(str(error))
        return 1
    said = json.dumps(_asked(document))
    if len(said) > _ASKED_BYTES:
        sys.stdout.write(f"its {METADATA} has more than {_ASKED_BYTES} bytes")
        return 1
    sys.stdout.write(said)
    return 0


def _asked(document: Any) -> Any:
    """What is asked for of a document; what has another form than it should stays, so that it can be told."""
    if not isinstance(document, dict):
        return []
    metadata = document.get("metadata", {})
    if not isinstance(metadata, dict):
        return {"metadata": []}
    return {"metadata": {key: value for key, value in metadata.items() if key == METADATA}}
