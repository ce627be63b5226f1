"""`docker cp`: copy files between the host and a container.

Works whether the container runs or not. Symbolic links are copied as they are, and none
leads out of the source or the target.
"""

from __future__ import annotations

import os
import tarfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from cellhold.container.exec import exec_process
from cellhold.errors import CopyFailed
from cellhold.init import file_transfer

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from cellhold.container.detached import Detached

_KINDS = {
    tarfile.REGTYPE: file_transfer.FILE,
    tarfile.AREGTYPE: file_transfer.FILE,
    tarfile.DIRTYPE: file_transfer.DIRECTORY,
    tarfile.SYMTYPE: file_transfer.LINK,
}
_TYPES = {file_transfer.FILE: tarfile.REGTYPE, file_transfer.DIRECTORY: tarfile.DIRTYPE, file_transfer.LINK: tarfile.SYMTYPE}
_LONGEST_ERROR = 4096  # bytes
_CUT_SHORT = "it was cut short"


def out(box: Detached, source: str, target: str, *, follow: bool = False, owners: bool = False) -> None:
    """Copy out of a container.

    follow: if the source is a symbolic link, copy its target. owners: keep the
    container's numeric ids. Raises CopyFailed, NotAllowed.
    """
    source = _inside(source)
    contents, base = _named(source)
    job = {"way": "out", "path": source, "follow": follow}
    _carry(
        box,
        job,
        lambda stream: file_transfer.receive(stream, os.fsencode(target), base=base, contents=contents, owners=owners, root=False),  # type: ignore[arg-type]  # a reader will do
        f"{box.name}:{source} to {target}",
    )


def into(box: Detached, source: str, target: str, *, follow: bool = False, owners: bool = False) -> None:
    """Copy into a container.

    What is made there belongs to its root, unless `owners` is set. Raises CopyFailed,
    NotAllowed.
    """
    contents, base = _named(source)
    job = {"way": "in", "path": _inside(target), "base": os.fsdecode(base), "contents": contents, "owners": owners}
    _carry(box, job, lambda stream: file_transfer.send(stream, os.fsencode(source), follow=follow), f"{source} to {box.name}:{target}")  # type: ignore[arg-type]  # a writer will do


def out_as_tar(box: Detached, source: str, to: BinaryIO, *, follow: bool = False) -> None:
    """Write a path of the container as a tar.

    Raises CopyFailed, NotAllowed.
    """
    source = _inside(source)
    _contents, base = _named(source)

    def tar(stream: BinaryIO) -> None:
        with tarfile.open(fileobj=to, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for kind, mode, uid, gid, changed, size, path in file_transfer.read_records(stream):  # type: ignore[arg-type]  # a reader will do
                entry = tarfile.TarInfo(os.fsdecode(b"/".join(part for part in (base, path) if part)))
                entry.type, entry.mode, entry.uid, entry.gid, entry.mtime = _TYPES[kind], mode, uid, gid, int(changed / 1e9)
                if kind == file_transfer.LINK:
                    entry.linkname = os.fsdecode(file_transfer.read(stream, size))  # type: ignore[arg-type]  # a reader will do
                    archive.addfile(entry)
                else:
                    entry.size = size
                    archive.addfile(entry, stream)

    _carry(box, {"way": "out", "path": source, "follow": follow}, tar, f"{box.name}:{source}")


def into_from_tar(box: Detached, source: BinaryIO, target: str, *, owners: bool = False) -> None:
    """Unpack a tar into a directory of the container.

    Raises CopyFailed, NotAllowed.
    """

    def records(stream: BinaryIO) -> None:
        with tarfile.open(fileobj=source, mode="r|*") as archive:
            for entry in archive:
                path = os.fsencode(os.path.normpath(entry.name).lstrip("/"))
                if path == b"." or entry.type not in _KINDS:
                    continue
                if not file_transfer.is_sound(path):
                    raise file_transfer.CannotCopy(f"{entry.name}: it leads out of its directory")
                data = os.fsencode(entry.linkname) if entry.issym() else b""
                size, owner = entry.size if entry.isreg() else len(data), (entry.uid, entry.gid)
                stream.write(
                    file_transfer.pack_head(_KINDS[entry.type], entry.mode & 0o7777, owner, int(entry.mtime * 1e9), size, path) + data
                )
                if (file := archive.extractfile(entry) if entry.isreg() else None) is not None:
                    while piece := file.read(1 << 16):
                        stream.write(piece)
        stream.write(file_transfer.LAST)

    job = {"way": "in", "path": f"{target.rstrip('/')}/", "base": "", "contents": True, "owners": owners}
    _carry(box, job, records, f"a tar to {box.name}:{target}")


def _inside(path: str) -> str:
    """Return an absolute path of the container without "..".

    The distinctions that Docker makes ("DIR/", "DIR/.") are kept.
    """
    cleaned = os.path.normpath("/" + path.lstrip("/"))
    if cleaned == "/":
        return cleaned
    return cleaned + ("/." if path.endswith("/.") else "/" if path.endswith("/") else "")


def _named(source: str) -> tuple[bool, bytes]:
    """Return whether only the contents are meant ("DIR/."), and the base name.

    The name is never "..": "DIR/.." is called what is above DIR. Docker cleans a path
    by its text, too (Go's path.Clean), before any symbolic link of it is followed.
    """
    cleaned = os.path.normpath(source or "/")
    name = os.path.basename(cleaned)
    is_nameless = name in ("", ".", "..")  # "/", and what leads above the working directory
    return source.endswith("/.") or is_nameless, b"." if is_nameless else os.fsencode(name)


def _carry(box: Detached, job: dict[str, Any], ours: Callable[[BinaryIO], None], what: str) -> None:
    with ExitStack() as closing:
        name, pid1 = box.name, closing.enter_context(box.assembled())
        errors = _Pipe(closing)
        pipe = _Pipe(closing)
        outward = job["way"] == "out"
        stdio = (None, pipe.writing, errors.writing) if outward else (pipe.reading, None, errors.writing)
        request: dict[str, Any] = {"args": [], "env": {}, "terminal": None, "carry": job}
        process = closing.enter_context(exec_process(pid1, request, stdio, name=name))
        errors.close(errors.writing)
        pipe.close(pipe.writing if outward else pipe.reading)
        reason = _ours(ours, pipe, outward=outward)
        with open(os.dup(errors.reading), "rb") as file:
            theirs = file.read(_LONGEST_ERROR).decode(errors="replace")
        if process.wait() or reason:
            first = theirs if reason in ("", _CUT_SHORT) else reason  # the other side's is only what comes of it
            raise CopyFailed(f"cannot copy {what}: {first or reason or 'the container has ended'}")


def _ours(ours: Callable[[BinaryIO], None], pipe: _Pipe, *, outward: bool) -> str:
    """Perform our side of the copy; return what went wrong, "" if nothing."""
    fd = pipe.reading if outward else pipe.writing
    try:
        with open(os.dup(fd), "rb" if outward else "wb", buffering=1 << 16) as stream:
            pipe.close(fd)
            ours(stream)
    except BrokenPipeError:
        return _CUT_SHORT
    except file_transfer.CannotCopy as error:
        return str(error)
    except tarfile.TarError as error:
        return f"not a tar: {error}"
    except OSError as error:
        return f"{os.fsdecode(error.filename or '')}: {error.strerror}".lstrip(": ")
    return ""


class _Pipe:
    """Both ends of a pipe, each closed once."""

    def __init__(self, closing: ExitStack) -> None:
        self.reading, self.writing = os.pipe2(os.O_CLOEXEC)
        self._open = {self.reading, self.writing}
        for fd in tuple(self._open):
            closing.callback(self.close, fd)

    def close(self, fd: int) -> None:
        """Close that end, unless it is closed already."""
        if fd in self._open:
            self._open.discard(fd)
            os.close(fd)
