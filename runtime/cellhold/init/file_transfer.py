"""Files between a container and its host, as a stream of records.

One side sends, the other receives, each with its own view of the files. In the
container PID 1's child does it, as root of the container and nothing more, so that no
path leads out of it; on the host the caller (cp.py). Neither side trusts what it
receives: names are checked, no link is followed, set-user-id bits are kept only for a
caller that asks for owners to be kept.

A record: kind, mode, uid, gid, time of last change (ns), size, length of the path; then
the path, relative and without dots, then the bytes of a file or the target of a link.
The first has the path "" and is what was asked for itself. The last is of the kind END.
"""

from __future__ import annotations

import os
import stat
from struct import Struct

from cellhold.linux.files import syncfs

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import RawIOBase
    from typing import NamedTuple

    class Record(NamedTuple):
        """One record of the stream, without the bytes that follow."""

        kind: int
        mode: int
        uid: int
        gid: int
        changed: int
        size: int
        path: bytes


END, FILE, DIRECTORY, LINK = 0, 1, 2, 3
_HEAD = Struct("!BIIIqQH")
LAST = _HEAD.pack(END, 0, 0, 0, 0, 0, 0)
_PIECE = 1 << 16
_LONGEST = 4096
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOOK = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SET_IDS = 0o6000


class CannotCopy(Exception):
    """The end of a sentence for people that says why a copy failed."""


def send(out: RawIOBase, path: bytes, *, follow: bool) -> None:
    """Send what is at `path`. Raises CannotCopy, OSError.

    follow: if the path is a link, send what it leads to.
    """
    plain = path.rstrip(b"/") or b"/"
    leads_on = follow or plain != path or plain.endswith(b"/.")
    try:
        status = os.stat(plain, follow_symlinks=leads_on)
    except OSError as error:
        raise CannotCopy(f"{os.fsdecode(path)}: {os.strerror(error.errno or 0)}") from error
    if plain != path and not stat.S_ISDIR(status.st_mode):
        raise CannotCopy(f"{os.fsdecode(path)}: not a directory")
    if leads_on:
        plain = os.path.realpath(plain)
    at = os.open(os.path.dirname(plain) or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        send_entry(out, at, os.path.basename(plain) or b".", b"")
    finally:
        os.close(at)
    out.write(LAST)


def send_entry(out: RawIOBase, at: int, name: bytes, path: bytes) -> None:
    """Send one entry and what is in it; skip sockets, pipes and devices."""
    status = os.stat(name, dir_fd=at, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        target = os.fsencode(os.readlink(name, dir_fd=at))
        out.write(pack_status(LINK, status, len(target), path) + target)
    elif stat.S_ISDIR(status.st_mode):
        fd = os.open(name, _LOOK, dir_fd=at)
        try:
            out.write(pack_status(DIRECTORY, status, 0, path))
            for child in sorted(os.listdir(fd)):
                inner = os.fsencode(child)
                send_entry(out, fd, inner, path + b"/" + inner if path else inner)
        finally:
            os.close(fd)
    elif stat.S_ISREG(status.st_mode):
        fd = os.open(name, _READ, dir_fd=at)
        try:
            send_file(out, fd, path)
        finally:
            os.close(fd)


def send_file(out: RawIOBase, fd: int, path: bytes) -> None:
    """Send as many bytes as promised; of a file that shrinks meanwhile, zeros."""
    status = os.fstat(fd)
    out.write(pack_status(FILE, status, status.st_size, path))
    left = status.st_size
    while left:
        piece = os.read(fd, min(_PIECE, left)) or bytes(min(_PIECE, left))
        out.write(piece)
        left -= len(piece)


def pack_status(kind: int, status: os.stat_result, size: int, path: bytes) -> bytes:
    """Pack the head of a record for an existing file."""
    return pack_head(kind, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid), status.st_mtime_ns, size, path)


def pack_head(kind: int, mode: int, owner: tuple[int, int], changed: int, size: int, path: bytes) -> bytes:  # noqa: PLR0913, PLR0917  # what it holds
    """Pack the head of a record."""
    return _HEAD.pack(kind, mode, *owner, changed, size, len(path)) + path


def read_records(source: RawIOBase) -> Iterator[Record]:
    """Yield the records, up to the last; the consumer reads each one's bytes.

    Raises CannotCopy for an invalid record.
    """
    while True:
        kind, mode, uid, gid, changed, size, length = _HEAD.unpack(read(source, _HEAD.size))
        if kind == END:
            return
        path = read(source, length)
        if kind not in (FILE, DIRECTORY, LINK) or length > _LONGEST or (path and not is_sound(path)) or (kind == LINK and size > _LONGEST):
            raise CannotCopy("the stream is not a copy")
        yield (kind, mode & 0o7777, uid, gid, changed, size, path)  # type: ignore[misc]  # the named tuple is for type checkers


def is_sound(path: bytes) -> bool:
    """Return whether a path leads down, and only down."""
    return b"\0" not in path and not set(path.split(b"/")) & {b"", b".", b".."}


def read(source: RawIOBase, size: int) -> bytes:
    """Read exactly `size` bytes. Raises CannotCopy if the stream ends before."""
    data = b""
    while len(data) < size:
        piece = source.read(size - len(data))
        if not piece:
            raise CannotCopy("it was cut short")  # cp.py knows these words
        data += piece
    return data


def receive(  # noqa: PLR0913  # docker's rules
    source: RawIOBase, path: bytes, *, base: bytes, contents: bool, owners: bool, root: bool
) -> None:
    """Create the received files at `path`, by Docker's rules.

    Raises CannotCopy, OSError.

    base: what it is called where the path is a directory; contents: only what is in it
    goes there. owners: keep them; else root's, where root says so, or whoever makes it.
    """
    directories: list[tuple[list[bytes], int, int]] = []
    place = -1
    name = b""
    try:
        for kind, mode, uid, gid, changed, size, inner in read_records(source):
            if place < 0:
                place, name = open_destination(path, base, contents=contents, is_directory=kind == DIRECTORY)
            parts = [part for part in (name, *inner.split(b"/")) if part]
            at, last = open_parent(place, parts)
            fd = -1  # of a link, whose mode is meaningless
            try:
                if kind == DIRECTORY:
                    fd = open_or_make_directory(at, last)
                    directories.append((parts, mode, changed))
                elif kind == LINK:
                    remove_existing(at, last)
                    os.symlink(read(source, size), last, dir_fd=at)
                else:
                    remove_existing(at, last)
                    fd = os.open(last, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=at)
                    take(source, fd, size)
                own(fd, at, last, (uid, gid) if owners else (0, 0) if root else None)
                if fd >= 0:
                    finish(fd, mode if owners or root else mode & ~_SET_IDS, changed, shown=last if owners else None)
            finally:
                os.close(at)
                if fd >= 0:
                    os.close(fd)
        for parts, _mode, changed in reversed(directories):  # creating files in them has changed their times
            at, last = open_parent(place, [*parts, b"."])
            os.utime(last, ns=(changed, changed), dir_fd=at)
            os.close(at)
        if root and place >= 0:
            syncfs(place)  # what a copy to a kept container reports as done survives a power cut
    finally:
        if place >= 0:
            os.close(place)


def open_destination(path: bytes, base: bytes, *, contents: bool, is_directory: bool) -> tuple[int, bytes]:
    """Open the directory to create the copy in; return it and the name there.

    The name is "" for the directory itself.
    """
    shown = os.fsdecode(path)
    if os.path.isdir(path):
        if not (contents and is_directory) and (not is_sound(base) or b"/" in base):
            raise CannotCopy(f"{os.fsdecode(base)!r} is not a name that something in {shown} can have")
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), b"" if contents and is_directory else base
    if os.path.lexists(path) and is_directory:
        raise CannotCopy(f"{shown}: a directory cannot take the place of a file")
    if path.endswith(b"/") and not is_directory:
        raise CannotCopy(f"{shown}: no such directory")
    path = os.path.realpath(path)  # a link there points to the file to write
    try:
        return os.open(os.path.dirname(path) or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), os.path.basename(path)
    except OSError as error:
        raise CannotCopy(f"{shown}: its directory: {os.strerror(error.errno or 0)}") from error


def open_parent(place: int, parts: list[bytes]) -> tuple[int, bytes]:
    """Open the directory that the last part of a path lies in; return it and the part.

    The part is "." if there is none.
    """
    at = os.dup(place)
    for part in parts[:-1]:
        above = at
        try:
            at = open_or_make_directory(above, part)
        finally:
            os.close(above)
    return at, parts[-1] if parts else b"."


def open_or_make_directory(at: int, name: bytes) -> int:
    """Open a directory, made if it is missing.

    Raises CannotCopy if something else has the name.
    """
    if not is_there(at, name):
        os.mkdir(name, 0o700, dir_fd=at)
    try:
        return os.open(name, _LOOK, dir_fd=at)
    except NotADirectoryError as error:
        raise CannotCopy(f"{os.fsdecode(name)}: a directory cannot take the place of a file") from error
    except OSError as error:
        raise CannotCopy(f"{os.fsdecode(name)}: {os.strerror(error.errno or 0)}") from error


def is_there(at: int, name: bytes) -> bool:
    """Return whether the name exists."""
    try:
        os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def remove_existing(at: int, name: bytes) -> None:
    """Remove an existing file of that name. Raises CannotCopy for a directory."""
    try:
        os.unlink(name, dir_fd=at)
    except FileNotFoundError:
        return
    except IsADirectoryError as error:
        raise CannotCopy(f"{os.fsdecode(name)}: a file cannot take the place of a directory") from error


def take(source: RawIOBase, fd: int, size: int) -> None:
    """Write `size` bytes of the stream."""
    while size:
        piece = read(source, min(_PIECE, size))
        size -= len(piece)
        while piece:
            piece = piece[os.write(fd, piece) :]


def own(fd: int, at: int, name: bytes, owner: tuple[int, int] | None) -> None:
    """Set the owner."""
    if owner is None:
        return
    if fd >= 0:
        os.fchown(fd, *owner)
    else:
        os.chown(name, *owner, dir_fd=at, follow_symlinks=False)


def finish(fd: int, mode: int, changed: int, *, shown: bytes | None) -> None:
    """Set mode and times, once nothing is written any more.

    If the container may make no set-user-id files (exposure.py) the bits are dropped.
    shown: the file's name, if the mode must be kept as it is: then CannotCopy is
    raised.
    """
    try:
        os.fchmod(fd, mode)
    except PermissionError as error:
        if not mode & _SET_IDS:
            raise
        if shown is not None:
            reason = "the container may make no set-user-id or set-group-id files, as it can write to the host's"
            raise CannotCopy(f"{os.fsdecode(shown)}: {reason}") from error
        os.fchmod(fd, mode & ~_SET_IDS)
    os.utime(fd, ns=(changed, changed))


def serve(job: dict[str, object], stdio: list[int]) -> int:
    """Perform one side of a copy in the container; return the exit status.

    Errors are written to standard error.
    """
    source, out = open(stdio[0], "rb", buffering=0, closefd=False), open(stdio[1], "wb", closefd=False)  # noqa: SIM115  # for the rest of our life
    try:
        path = os.fsencode(str(job["path"]))
        path = path if path.startswith(b"/") else b"/" + path
        if job["way"] == "out":
            send(out, path, follow=bool(job["follow"]))  # type: ignore[arg-type]  # a writer will do
            out.flush()
        else:
            base = os.fsencode(str(job["base"]))
            receive(source, path, base=base, contents=bool(job["contents"]), owners=bool(job["owners"]), root=True)
    except CannotCopy as error:
        os.write(stdio[2], str(error).encode(errors="replace"))
        return 1
    except OSError as error:
        os.write(stdio[2], f"{os.fsdecode(error.filename or '')}: {error.strerror}".encode(errors="replace"))
        return 1
    return 0
