"""Unpacking: compressed bytes in, the tree of a layer on disk out. Called by whoever pulls or loads an image, one a layer.

The tree is a lower directory of overlayfs as a user namespace sees it (mount option userxattr): a whiteout is a character device 0:0, an
opaque directory has user.overlay.opaque=y. Who may unpack what where, and what becomes of the directory, is the store's business.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from cellhold.errors import ImageRefused
from cellhold.layer import confined
from cellhold.layer.bounds import Bounds
from cellhold.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_WHAT = "unpack the layer"


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """What became of a layer.

    diff_id: the digest of the uncompressed tar (OCI image-spec, config.md), size_bytes its length; entries: of the tar; compression:
    "gzip", "zstd" or "none". Not as the tar has it: devices_left_out (a container's come from who runs it), owners_changed (files that
    belong to 0 because there is no other id), xattrs_left_out (another system's labels, or nothing that this file system takes).
    """

    diff_id: Digest
    compression: str
    size_bytes: int
    entries: int
    whiteouts: int
    opaques: int
    devices_left_out: int
    owners_changed: int
    xattrs_left_out: int


class Unpacking:
    """One layer on its way to disk. A context manager: leaving it without finish() ends the child and leaves the directory as it is then.

    directory: empty, on a disk, its path private to the caller (as root it gets the owners 0 to 65535 on disk, without root the user's own
    and subordinate ids). seccomp: a compiled filter (cellhold.seccomp.cache) for the child; none is no reason not to start.
    """

    def __init__(self, directory: Path, *, bounds: Bounds | None = None, seccomp: bytes = b"") -> None:
        """Start the child; it is ready by the time that the first bytes have come over a network."""
        job = confined.job("unpack", directory, bounds=bounds or Bounds(), seccomp=seccomp)
        job["writable"] = True
        self._child = confined.Confined(job)

    def feed(self, data: bytes | memoryview) -> None:
        """The next compressed bytes, however they are split; waits while the child is busy with earlier ones.

        Raises ImageRefused, OSError (ENOSPC and the like), NotSupported: as soon as the child has given up.
        """
        try:
            self._child.data.sendall(data, socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            raise confined.failure(self._child.words(), _WHAT) from None

    def finish(self, parents: Callable[[], Sequence[Path]] = tuple) -> Unpacked:
        """There are no more bytes; wait until the tree is whole.

        parents: gives the trees of the layers below, topmost first; called only if this layer cannot be whole without them (a hard link
        to a file of theirs, a directory that the tar does not name), and may wait until they are unpacked. Raises what feed() raises.
        """
        self._child.data.shutdown(socket.SHUT_WR)
        words = self._child.words()
        if words[0] == "needs":
            self._child.show([confined.layer(path) for path in parents()])
            words = self._child.words()
        if words[0] != "done":
            raise confined.failure(words, _WHAT)
        self._child.close()
        return _unpacked(words[1:])

    def stop(self) -> None:
        """Called from another thread: whoever feeds it, or waits for its end, gets an error soon."""
        self._child.stop()

    def close(self) -> None:
        """End the child; twice is no error."""
        self._child.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Let go of it."""
        self.close()


def _unpacked(words: Sequence[str]) -> Unpacked:
    """The child's last words: as hostile as the layer, so they are checked."""
    try:
        encoded, compression, *numbers = words
        size, entries, whiteouts, opaques, devices, owners, xattrs = (int(number) for number in numbers if number.isdecimal())
        return Unpacked(
            diff_id=Digest.parse(f"sha256:{encoded}"),
            compression=compression,
            size_bytes=size,
            entries=entries,
            whiteouts=whiteouts,
            opaques=opaques,
            devices_left_out=devices,
            owners_changed=owners,
            xattrs_left_out=xattrs,
        )
    except ValueError as error:
        raise ImageRefused(f"cannot {_WHAT}: the process that read it gave no sound account of it") from error
