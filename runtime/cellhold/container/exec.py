"""One more process in a running container (`docker exec`).

The container's PID 1 starts it, so that it is isolated in the same way by construction.
This is the caller's side of the protocol in init/pid1.py; container.py and detached.py
reach PID 1 in different ways.
"""

from __future__ import annotations

import array
import marshal
import os
import signal
import socket
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

from cellhold.errors import CommandNotRun, InvalidSpec, NotAllowed, SetupFailed
from cellhold.rootfs.plan import TERMINAL
from cellhold.spec.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SECONDS = 60.0  # as in start.py
_MESSAGE = 8192
_NOT_FOUND = 127
_LOST = 128 + signal.SIGKILL


class ExecSession:
    """A process in a container.

    terminal: the other end of its terminal, a descriptor that close() closes; -1
    without one.
    """

    def __init__(self, channel: socket.socket, terminal: int) -> None:
        self._channel = channel
        self.terminal = terminal
        self.status: int | None = None

    def fileno(self) -> int:
        """Return a descriptor to poll: readable when the process has ended."""
        return self._channel.fileno()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the process a signal; no error if it has ended."""
        with suppress(OSError):
            self._channel.send(bytes([number]))

    def poll(self) -> int | None:
        """Return its status, or None while it runs."""
        try:
            return self.wait(0)
        except (TimeoutError, BlockingIOError):
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process; return its status, 137 if the container has ended.

        timeout: seconds. Raises TimeoutError.
        """
        if self.status is None:
            self._channel.settimeout(timeout)
            try:
                words = self._channel.recv(_MESSAGE).decode().split("\t")
            except ConnectionResetError:
                words = [""]
            self.status = int(words[1]) if words[0] == "exited" else _LOST
        return self.status

    def close(self) -> None:
        """Close our ends; the process goes on."""
        self._channel.close()
        if self.terminal >= 0:
            os.close(self.terminal)
            self.terminal = -1

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close our ends."""
        self.close()


def check_running(state: State, name: str, what: str = "exec in") -> None:
    """Raise NotAllowed unless the container runs."""
    reasons = {State.PAUSED: "it is paused: unpause it first", State.CREATED: "it was never started", State.REMOVED: "it was removed"}
    if state is not State.RUNNING:
        raise NotAllowed(f"cannot {what} container {name}: {reasons.get(state, 'it does not run')}")


def process_request(
    args: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | None = None, user: str | None = None, terminal: bool = False
) -> dict[str, Any]:
    """Return what differs from the plan of the container's program.

    Raises InvalidSpec.
    """
    if not args:
        raise InvalidSpec("cannot exec: no command given", hint="cellhold exec CONTAINER COMMAND")
    for word in (*args, *(env or {}), *(env or {}).values()):
        if "\0" in word:
            raise InvalidSpec(f"cannot exec {word!r}: it holds a NUL byte")
    if cwd is not None and not cwd.startswith("/"):
        raise InvalidSpec(f"cannot use workdir={cwd!r}: not an absolute path", hint="write it from the root: /work")
    process: dict[str, Any] = {
        "args": list(args),
        "env": {**(env or {}), **({"TERM": "xterm"} if terminal else {})},
        "terminal": TERMINAL if terminal else None,
    }
    process["oom_score_adj"] = 0
    return {**process, **({"cwd": cwd} if cwd is not None else {}), **({"user": user} if user is not None else {})}


def exec_process(through: socket.socket, process: dict[str, Any], stdio: Sequence[int | None], *, name: str) -> ExecSession:
    """Ask PID 1 for a process; wait until it is exec'd.

    through: a socket to the launcher or monitor. stdio: None is /dev/null.

    Raises CommandNotRun (126, 127), SetupFailed, NotAllowed (the container has just
    ended).
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    session = ExecSession(ours, -1)
    try:
        with theirs, ExitStack() as closing:
            wanted = os.memfd_create("exec")
            closing.callback(os.close, wanted)
            os.write(wanted, marshal.dumps(process))
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            closing.callback(os.close, null)
            fds = [] if process["terminal"] else [null if fd is None else fd for fd in stdio]
            try:
                socket.send_fds(through, [b"enter"], [wanted, theirs.fileno(), *fds])
            except OSError as error:
                raise NotAllowed(f"cannot exec in container {name}: it has just ended") from error
        _await(session, ours, " ".join(process["args"][:1]), name)
    except BaseException:
        session.close()
        raise
    return session


def _await(session: ExecSession, channel: socket.socket, command: str, name: str) -> None:
    channel.settimeout(_SECONDS)
    begun = time.monotonic()
    try:
        data, ancillary, _flags, _address = channel.recvmsg(_MESSAGE, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    except TimeoutError:
        raise SetupFailed(f"cannot exec in container {name}: no answer within {time.monotonic() - begun:.0f} s", step="exec") from None
    except OSError:
        data, ancillary = b"", []
    fds = array.array("i")
    for _level, _kind, packed in ancillary:
        fds.frombytes(packed)
    session.terminal = fds[0] if fds else -1
    word, *more = data.decode(errors="replace").split("\t")
    if word == "notrun" and int(more[0]) == _NOT_FOUND:
        raise CommandNotRun(
            f"cannot run {command!r}: not found in the container", status=_NOT_FOUND, hint="give a path, or a name in its PATH"
        )
    if word == "notrun":
        raise CommandNotRun(f"cannot run {command!r}: {more[1]}", status=int(more[0]), hint="it exists, but cannot be executed")
    if word == "failed":
        raise SetupFailed(f"cannot exec in container {name}: {more[2]}", step=more[0], errno=int(more[1]))
    if word != "ready":
        raise NotAllowed(f"cannot exec in container {name}: it has just ended")
