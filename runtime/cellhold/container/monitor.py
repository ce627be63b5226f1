"""The starter's side of a monitor (init/monitor.py), and its clients' side.

The monitor is the process that owns a container which outlives its starter. Its clients
connect to a socket in the container's directory.
"""

from __future__ import annotations

import marshal
import os
import socket
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, Self

from cellhold.container import launcher
from cellhold.container.recovery import SOCKET
from cellhold.errors import NotAllowed
from cellhold.init.monitor import ATTACH, ATTACH_ONCE, LET_GO
from cellhold.store import subids

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellhold.init.health import Check
    from cellhold.store.home import Home

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class MonitorProcess:
    """A monitor that has been started and waits for its request.

    stdio: the program's ends of the pipes, closed by close().
    """

    def __init__(  # noqa: PLR0913  # what it works with
        self, container_id: str, home: Home, *, lock: int, stdin: bool, terminal: bool, check: Check | None = None
    ) -> None:
        """Start the monitor.

        lock: on the container's directory. stdin: whether the program's standard input
        can be written to; else it is empty. check: its healthcheck.
        """
        self._closing = ExitStack()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._closing.callback(self.control.close)
        with ExitStack() as ours:
            listening = _listening(home.container(container_id))
            ours.callback(listening.close)
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            self._closing.callback(os.close, null)
            theirs_in, ours_in = self._pipe(ours) if stdin and not terminal else (null, null)
            outputs = [] if terminal else [self._pipe(ours, reading=True) for _stream in (1, 2)]
            self.stdio = (null, null, null) if terminal else (theirs_in, *(writing for writing, _reading in outputs))
            pid = launcher.spawn(_program(), theirs, home.root)
            kept = {"id": container_id, "directory": str(home.container(container_id)), "stdin": stdin and not terminal, "check": check}
            fds = [lock, listening.fileno(), ours_in, *(reading for _writing, reading in outputs)]
            socket.send_fds(self.control, [marshal.dumps(kept)], fds)
            os.waitpid(pid, 0)  # it has forked, and is not the one that stays

    def _pipe(self, ours: ExitStack, *, reading: bool = False) -> tuple[int, int]:
        """Return the program's end, and the monitor's.

        reading: whether the monitor reads.
        """
        read, write = os.pipe2(os.O_CLOEXEC)
        theirs, others = (write, read) if reading else (read, write)
        self._closing.callback(os.close, theirs)
        ours.callback(os.close, others)
        return theirs, others

    def let_go(self) -> None:
        """Leave the container to the monitor alone."""
        self.control.send(LET_GO)

    def close(self) -> None:
        """Close our ends; unless it was let go of, the monitor and the container end."""
        self._closing.close()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close our ends."""
        self.close()


class Attached(NamedTuple):
    """A client's end.

    socket: yields pieces of output, each with the stream's number (1 or 2) in front,
    until the container ends. stdin: a descriptor to write to its standard input, or its
    terminal; -1 if it takes none.
    """

    socket: socket.socket
    stdin: int


def connected(directory: Path) -> socket.socket:
    """Connect to the monitor of the container in that directory.

    Raises NotAllowed if there is none.
    """
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _short_path(directory) as at:
            client.connect(f"{at}/{SOCKET}")
    except OSError as error:
        client.close()
        raise NotAllowed(f"cannot reach container {directory.name}: it does not run") from error
    return client


def attach(directory: Path, *, once: bool = False) -> Attached:
    """Attach to the output from now on, and to the standard input.

    once: the standard input ends with this client's.

    Raises NotAllowed if the container does not run.
    """
    client = connected(directory)
    try:
        client.send(ATTACH_ONCE if once else ATTACH)
        words, fds, _flags, _address = socket.recv_fds(client, 1, 1)
    except OSError:
        words, fds = b"", []
    if not words:
        client.close()
        raise NotAllowed(f"cannot attach to container {directory.name}: it has just ended")
    return Attached(client, fds[0] if fds else -1)


def _listening(directory: Path) -> socket.socket:
    with suppress(FileNotFoundError):
        os.unlink(directory / SOCKET)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _short_path(directory) as at:
            listening.bind(f"{at}/{SOCKET}")
        listening.listen(16)
    except BaseException:
        listening.close()
        raise
    return listening


@contextmanager
def _short_path(directory: Path) -> Iterator[str]:
    """Yield a short path to the directory: a socket's path has at most 107 bytes.

    See unix(7).
    """
    fd = os.open(directory, _DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _program() -> str:
    if not subids.is_rootless():
        return "from cellhold.init.monitor import main; main(None)"
    delegated = subids.delegation()
    return f"from cellhold.init.monitor import main; main(({delegated.uids!r}, {delegated.gids!r}, {delegated.helpers!r}))"
