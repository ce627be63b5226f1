"""The caller's side of a confined child: one fresh process per job.

The child runs whatever reads hostile content (worker/confinement.py). Started by
unpack.py and pack.py. It is `python -I -S`, never a fork of this (threaded) process. It
ends with this object, and with this process, however that ends. As root it runs as ids
that belong to nobody and to no container, and sees its directory through an idmapped
mount, so that the disk gets the ids 0 to 65535; without root it is root of a user
namespace with the user's ids.
"""

from __future__ import annotations

import marshal
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import isal
import zstandard

from cellhold import helper
from cellhold.errors import ImageRefused, NotSupported
from cellhold.linux.hostpath import HostPath
from cellhold.store import ids, subids
from cellhold.store.home import default_root

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from cellhold.layer.bounds import Bounds
    from cellhold.layer.worker.job import Job, Layer

MEMORY_BYTES = 1 << 30
_MESSAGE = 65536
_LONGEST_SENTENCE = 500
_SENDING_BYTES = 1 << 20
# The ids of all confined children, as root: the range after those of the containers.
# They cannot meet: each has a PID namespace.
_BASE = ids.FIRST + ids.RANGES * ids.COUNT


class Confined:
    """The child: bytes on `data`, words on a control socket.

    A context manager: leaving it ends the child.
    """

    def __init__(self, job: Job) -> None:
        """Start it on a job; returns at once. Errors come with the first words."""
        self.data, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self.data.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENDING_BYTES)
            self._pid = _started(theirs.fileno(), control.fileno())
            self._owner = os.getpid()
            self._control.send(marshal.dumps(dict(job)))
        except BaseException:
            self.data.close()
            self._control.close()
            raise
        finally:
            theirs.close()
            control.close()

    def words(self) -> list[str]:
        """Return the next message of the child; ["ended", ""] after the last one.

        Its text is as hostile as what the child reads.
        """
        try:
            message = self._control.recv(_MESSAGE)
        except ConnectionResetError:
            message = b""
        return [_printable(word) for word in message.decode(errors="replace").split("\0")] if message else ["ended", ""]

    def show(self, layers: Sequence[Layer]) -> None:
        """Allow the child to read these directories."""
        with suppress(BrokenPipeError):  # its messages report its end
            self._control.send(marshal.dumps([dict(layer) for layer in layers]), socket.MSG_NOSIGNAL)

    def stop(self) -> None:
        """End the child, which wakes the thread that uses it.

        Called from another thread.
        """
        for one in (self._control, self.data):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the child, whatever it does, and wait for it; may be called twice."""
        self.data.close()
        self._control.close()
        pid, self._pid = self._pid, 0
        if pid and os.getpid() == self._owner:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the child."""
        self.close()


def _started(data: int, control: int) -> int:
    """Start the child in a session of its own, which Ctrl-C does not reach."""
    return helper.spawn(
        "from cellhold.layer.worker.supervisor import main; main()",
        {0: data, 3: control},
        env={"CELLHOLD_HOME": str(default_root())},  # distinguishes what is left over from another store's
        places=[_home_of(isal), _home_of(zstandard)],
    )


def _home_of(package: ModuleType) -> str:
    """Return the directory on sys.path that has the package."""
    return str(Path(str(package.__file__)).parents[1])


def _printable(text: str) -> str:
    """Remove control characters, and cut the text to a sentence's length."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST_SENTENCE])


def job(what: str, tree: Path, *, bounds: Bounds, seccomp: bytes, base: int | None = None, **options: Any) -> Job:
    """Return a job on the directory `tree`, as root or as the current user.

    base: as root, the owner of the tree on disk, if not the ids 0 to 65535.
    """
    given = subids.delegation() if subids.is_rootless() else None
    count = given.ids.count if given is not None else ids.COUNT
    return {
        "what": what,
        "rootless": None if given is None else (given.uids, given.gids, given.helpers),
        "base": 0 if given is not None else _BASE if base is None else base,
        "single": given is not None and given.helpers is None,
        "tree": {"path": os.path.abspath(tree), "shift": given is None and base is None, "identity": None},
        "writable": False,
        "lowers": [],
        "seccomp": seccomp,
        "memory_bytes": MEMORY_BYTES,
        "file_bytes": bounds.unpacked_bytes,
        "bounds": bounds.to_job(),
        "options": {"ids": count, **options},
        "copies": [],
    }


def layer(of: Path | HostPath) -> Layer:
    """Return an unpacked layer as the child receives it.

    On disk its owners are 0 to 65535, or, without root, those in the user's own
    namespace. A directory of the host is looked up by the child where it is now, and
    has to be the one that was opened.
    """
    shift = not subids.is_rootless()
    if isinstance(of, HostPath):
        return {"path": of.current_path(), "shift": shift, "identity": of.identity}
    return {"path": os.path.abspath(of), "shift": shift, "identity": None}


def failure(words: Sequence[str], what: str) -> Exception:
    """Return the error for an unexpected message of the child.

    what: the task, "unpack the layer".
    """
    kind, text = words[0], words[1] if len(words) > 1 else ""
    if kind in {"refused", "unsupported"}:
        error = ImageRefused if kind == "refused" else NotSupported
        return error(f"cannot {what}: {text}", hint=(words[2] if len(words) > 2 else "") or None)  # noqa: PLR2004  # hint
    if kind == "failed" and text.isdecimal() and int(text):
        return OSError(int(text), f"cannot {what}: {os.strerror(int(text))}")
    if kind == "unable":
        return NotSupported(
            f"cannot {what}: cannot build the walls for it: {words[2] if len(words) > 2 else text}",  # noqa: PLR2004  # errno, text
            hint="`cellhold doctor` reports what this host lacks",
        )
    return ImageRefused(f"cannot {what}: the process that read it ended ({' '.join(words)[:300]})")
