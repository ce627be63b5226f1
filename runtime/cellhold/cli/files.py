"""The files that a command line names: opened, or one sentence with the reason."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.cli.copying import say
from cellhold.errors import CellholdError, InvalidSpec
from cellhold.spec import words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO


@contextmanager
def reading(name: str | None) -> Iterator[BinaryIO]:
    """Open a file for reading; "-" and None: standard input.

    Raises CellholdError, InvalidSpec (standard input is a terminal).
    """
    if name in (None, "-"):
        if sys.stdin.isatty():
            raise InvalidSpec("cannot read an archive from a terminal", hint="name a file, or redirect standard input: < FILE")
        yield sys.stdin.buffer
        return
    try:
        file = Path(str(name)).open("rb")  # noqa: SIM115  # what goes wrong in the block below is not the file's
    except OSError as error:
        raise CellholdError(f"cannot read {name}: {os.strerror(error.errno or 0)}") from error
    with file:
        yield file


_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR)  # a file system, or a kernel, without O_TMPFILE (open(2))
FAILED = 1  # docker's, for what it was asked to write and could not


class Unwritten(CellholdError):
    """What was to be written is not there.

    No file, or, of a pipe or standard output, a part that is not an archive.
    """


@contextmanager
def writing(name: str | None) -> Iterator[BinaryIO]:
    """Open a file for writing; None: standard output.

    The file appears when the block ends, and is unchanged if the block raises.

    Raises CellholdError, InvalidSpec (standard output is a terminal), Unwritten once
    writing has begun.
    """
    if name is None:
        if sys.stdout.isatty():
            raise InvalidSpec("cannot write an archive to a terminal", hint="name a file: -o FILE, or > FILE")
        with _reporting("standard output"):
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    target = os.path.realpath(name)  # of a link, where it leads
    is_there = os.path.exists(target)
    if is_there and not (os.path.isfile(target) and os.access(os.path.dirname(target), os.W_OK)):  # a pipe, a device; or nothing beside it
        with _opened(name, name) as file, _reporting(name):
            yield file
            file.flush()
        return
    file, draft = _draft(target, name)
    with file:
        try:
            with _reporting(name):
                yield file
                file.flush()
                if is_there:
                    os.fchmod(file.fileno(), stat.S_IMODE(os.stat(target).st_mode))
                draft = draft or _link(file.fileno(), target)
                os.replace(draft, target)
        except BaseException:
            if draft:
                os.unlink(draft)
            raise


def _draft(target: str, name: str) -> tuple[BinaryIO, str]:
    """Open a file beside `target`; return it with its path, "" as long as it has none.

    Without a name (open(2), O_TMPFILE) nothing is left of it, whatever ends us. Not
    every file system has that.
    """
    try:
        return os.fdopen(os.open(os.path.dirname(target), os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666), "wb"), ""
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise CellholdError(f"cannot write {name}: {os.strerror(error.errno or 0)}") from error
    draft = _draft_path(target)
    return _opened(draft, name), draft


def _link(fd: int, target: str) -> str:
    """Name a file beside `target`, which link(2) cannot replace.

    Raises OSError.
    """
    draft = _draft_path(target)
    os.link(f"/proc/self/fd/{fd}", draft, src_dir_fd=fd)  # with a descriptor, whichever, it is linkat(2), which follows the link
    return draft


def _draft_path(target: str) -> str:
    return f"{target}.{os.urandom(4).hex()}.part"


def _opened(path: str, name: str) -> BinaryIO:
    try:
        return open(path, "wb")
    except OSError as error:
        raise CellholdError(f"cannot write {name}: {os.strerror(error.errno or 0)}") from error


@contextmanager
def _reporting(name: str) -> Iterator[None]:
    """Raise Unwritten for an error of writing, unless nobody reads any more."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if name == "standard output":  # what is left in its buffer would be written at the end of the process, and fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Unwritten(f"cannot write {name}: {os.strerror(error.errno or 0)}") from error


def write(name: str | None, write: Callable[[BinaryIO], object]) -> int:
    """Call `write` with the file of that name; return the command's status.

    name: as of writing(). An error of the file is printed here.
    """
    try:
        with writing(name) as file:
            write(file)
    except Unwritten as error:
        say(f"cellhold: {words.printable(str(error))}\n")
        return FAILED
    return 0
