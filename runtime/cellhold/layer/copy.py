"""Copies of files as a tar that is a layer on top of others.

They come from a stack of layers, or from a directory of the user's (a build's context).
Which files, and where to, is decided by the build. Layers are hostile: a confined child
reads them. A context is the user's own, has a .dockerignore and may lie on any file
system: it is read here.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cellhold.errors import ImageRefused
from cellhold.layer import confined
from cellhold.layer.bounds import Bounds
from cellhold.layer.worker import writer
from cellhold.layer.worker.copying import Copying, Nothing
from cellhold.layer.worker.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from cellhold.layer.worker.output import Sink

_CHUNK_BYTES = 256 << 10
_WHAT = "copy"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_COMPRESSION = "gzip"


@dataclass(frozen=True, kw_only=True)
class Copies:
    """What to copy where.

    pairs: (source, destination), below their roots, no links on the way to a source.
    lowers: the destination's layers, topmost first.
    owner: uid and gid; None: unchanged.
    mode: None: unchanged.
    mtime_limit_seconds: later times become this one (SOURCE_DATE_EPOCH).
    """

    pairs: tuple[tuple[bytes, bytes], ...]
    lowers: tuple[Path, ...]
    owner: tuple[int, int] | None = None
    mode: int | None = None
    mtime_limit_seconds: int | None = None

    @property
    def now(self) -> int:
        """The time of a directory that is made for them, in seconds."""
        return int(time.time()) if self.mtime_limit_seconds is None else self.mtime_limit_seconds


class Source(Protocol):
    """Where copies come from.

    identity: a text that identifies the content of all its files without reading them;
        None if there is none.
    """

    @property
    def identity(self) -> str | None:
        """See above."""

    def sum(self, copies: Copies) -> str:
        """Return a digest of all that would be copied.

        It includes names, owners, modes and attributes, but not times. Raises
        ImageRefused, OSError.
        """

    def tar(self, copies: Copies, expected: str) -> Generator[bytes]:
        """Yield the layer, compressed.

        expected: the sum. A process or a thread makes the layer: a caller that does not
            take all of it closes it. Raises ImageRefused, also if the sum is another
            one by now; OSError.
        """


class Layers:
    """A stack of layers to copy from, topmost first.

    seccomp: a compiled filter for the child that reads them.
    """

    def __init__(self, layers: Sequence[Path], *, seccomp: bytes, identity: str | None = None) -> None:
        """Keep the arguments; nothing is read yet."""
        self.identity = identity
        self._layers = layers
        self._seccomp = seccomp

    def sum(self, copies: Copies) -> str:
        """Implement Source."""
        with self._child(copies, says="sum") as child:
            return _last(child)

    def tar(self, copies: Copies, expected: str) -> Generator[bytes]:
        """Implement Source."""
        with self._child(copies, says="tar") as child:
            while data := child.data.recv(_CHUNK_BYTES):
                yield data
            _check(_last(child), expected)

    def _child(self, copies: Copies, *, says: str) -> confined.Confined:
        uid, gid = copies.owner or (-1, -1)
        limit = -1 if copies.mtime_limit_seconds is None else copies.mtime_limit_seconds
        job = confined.job(
            "copy",
            self._layers[0],
            bounds=Bounds(),
            seccomp=self._seccomp,
            says=says,
            compression=_COMPRESSION,
            sources=len(self._layers),
            uid=uid,
            gid=gid,
            mode=-1 if copies.mode is None else copies.mode,
            mtime_limit_seconds=limit,
            now=copies.now,
        )
        job["lowers"] = [confined.layer(path) for path in (*self._layers[1:], *copies.lowers)]
        job["copies"] = list(copies.pairs)
        return confined.Confined(job)


def _last(child: confined.Confined) -> str:
    """Return the sum that the child reports at its end."""
    words = child.words()
    if words[0] != "done":
        raise confined.failure(words, _WHAT)
    return words[-1]


def _check(found: str, expected: str) -> None:
    if found != expected:
        raise ImageRefused("cannot copy: files changed while they were read", hint="do it again")


class Directory:
    """A directory of the user's to copy from. is_left_out, may_return: see Copying."""

    def __init__(self, directory: Path, *, is_left_out: Callable[[bytes], bool], may_return: Callable[[bytes], bool]) -> None:
        """Keep the arguments; nothing is read yet."""
        self.identity = None
        self._directory = directory
        self._is_left_out, self._may_return = is_left_out, may_return

    def sum(self, copies: Copies) -> str:
        """Implement Source."""
        return self._copied(copies, Nothing()).sum.hexdigest()

    def tar(self, copies: Copies, expected: str) -> Generator[bytes]:
        """Implement Source."""
        ours, theirs = socket.socketpair()
        told: Future[str] = Future()

        def work() -> None:
            with theirs:
                output = Output(theirs.fileno(), _COMPRESSION)
                try:
                    copied = self._copied(copies, output)
                    output.write(writer.END)
                    output.close()
                    told.set_result(copied.sum.hexdigest())
                except BaseException as error:  # noqa: BLE001  # raised again where the tar is taken
                    output.abandon()
                    told.set_exception(error)

        with ours:  # closed early: the reader has gone, and the thread's next write fails
            threading.Thread(target=work, daemon=True).start()
            while data := ours.recv(_CHUNK_BYTES):
                yield data
        _check(told.result(), expected)

    def _copied(self, copies: Copies, output: Sink) -> Copying:
        with ExitStack() as closing:
            fds = []
            for path in (self._directory, *copies.lowers):
                fds.append(os.open(path, _DIRECTORY))
                closing.callback(os.close, fds[-1])
            copying = Copying(
                output,
                fds[1:],
                depth=Bounds().depth,
                newest=-1 if copies.mtime_limit_seconds is None else copies.mtime_limit_seconds,
                now=copies.now,
                owner=copies.owner,
                mode=copies.mode,
                is_left_out=self._is_left_out,
                may_return=self._may_return,
            )
            for source, destination in copies.pairs:
                copying.add(fds[:1], source, destination)
            return copying
