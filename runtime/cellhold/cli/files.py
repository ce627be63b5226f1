"""The files that a command line names: opened, or one sentence with the reason."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO


@contextmanager
def reading(name: str | None) -> Iterator[BinaryIO]:
    """The file of that name; "-" and None: standard input. Raises CellholdError, InvalidSpec (standard input is a terminal)."""
    if name in (None, "-"):
        if sys.stdin.isatty():
            raise InvalidSpec("cannot read an archive from a terminal", hint="name a file, or give one to standard input: < FILE")
        yield sys.stdin.buffer
        return
    try:
        file = Path(str(name)).open("rb")  # noqa: SIM115  # what goes wrong in the block below is not the file's
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise CellholdError(f"cannot read {name}: {os.strerror(error.errno or 0)}") from error
    with file:
        yield file


@contextmanager
def writing(name: str | None) -> Iterator[BinaryIO]:
    """The file of that name, made or overwritten; None: standard output. Raises CellholdError, InvalidSpec (that is a terminal)."""
    if name is None:
        if sys.stdout.isatty():
            raise InvalidSpec("cannot write an archive to a terminal", hint="name a file: -o FILE, or > FILE")
        yield sys.stdout.buffer
        return
    try:
        with Path(name).open("wb") as file:
            yield file
    except OSError as error:
        raise CellholdError(f"cannot write {name}: {os.strerror(error.errno or 0)}") from error
