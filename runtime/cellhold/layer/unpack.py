"""Unpacking: compressed bytes in, the tree of a layer on disk out.

Called once per layer by whoever pulls or loads an image.

The tree is a lower directory of overlayfs as a user namespace sees it (mount option
userxattr): a whiteout is a character device 0:0, an opaque directory has
user.overlay.opaque=y. Who may unpack what where, and what becomes of the directory, is
the store's business.
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
    """The result of unpacking a layer.

    diff_id, size_bytes: the digest of the uncompressed tar (OCI image-spec, config.md),
        and its length.
    entries: of the tar.
    compression: "gzip", "zstd" or "none".
    devices_left_out: devices come from whoever runs the container.
    owners_changed: files that belong to 0 because there is no other id.
    xattrs_left_out: another system's labels, or attributes that this file system does
        not take.
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
    """One layer on its way to disk.

    A context manager: leaving it without finish() ends the child and leaves the
    directory as it is then.

    directory: empty, on a disk, its path private to the caller (as root it gets the
        owners 0 to 65535 on disk, without root the user's own and subordinate ids).
    seccomp: a compiled filter (cellhold.seccomp.cache) for the child; without one the
        child starts all the same.
    """

    def __init__(self, directory: Path, *, bounds: Bounds | None = None, seccomp: bytes = b"") -> None:
        """Start the child; it is ready before the first bytes arrive over a network."""
        job = confined.job("unpack", directory, bounds=bounds or Bounds(), seccomp=seccomp)
        job["writable"] = True
        self._child = confined.Confined(job)

    def feed(self, data: bytes | memoryview) -> None:
        """Pass on the next compressed bytes, however they are split.

        Blocks while the child is busy with earlier ones. Raises ImageRefused, OSError
        (ENOSPC and the like), NotSupported: as soon as the child has given up.
        """
        try:
            self._child.data.sendall(data, socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            raise confined.failure(self._child.words(), _WHAT) from None

    def finish(self, parents: Callable[[], Sequence[Path]] = tuple) -> Unpacked:
        """End the input, and wait until the tree is complete.

        parents: returns the trees of the layers below, topmost first; called only if
            this layer cannot be completed without them (a hard link to a file of
            theirs, a directory that the tar does not name), and may block until they
            are unpacked.
        Raises what feed() raises.
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
        """Stop: whoever feeds it, or waits for its end, gets an error soon.

        Called from another thread.
        """
        self._child.stop()

    def close(self) -> None:
        """End the child; may be called twice."""
        self._child.close()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the child."""
        self.close()


def _unpacked(words: Sequence[str]) -> Unpacked:
    """Parse the child's last message, which is as hostile as the layer."""
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
