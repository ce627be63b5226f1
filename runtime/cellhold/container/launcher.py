"""The caller's side of the launcher: one resident process per caller.

Started when it is first needed, ended with the caller. Called by container.py: launch()
hands over a plan and descriptors and returns a ContainerChannel, the container's life
as messages.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import errno
import marshal
import os
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from cellhold import helper
from cellhold.errors import InvalidSpec, SetupFailed
from cellhold.init.prepare import MOST_DESCRIPTORS, OWN, list_held
from cellhold.init.steps.launch import Request
from cellhold.linux.pidfd import pidfd_send_signal
from cellhold.store import subids
from cellhold.store.home import default_root

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.cgroups.base import Join
    from cellhold.init.plan import Plan

_MESSAGE = 65536
_MOST_DESCRIPTORS = 4  # in one
_LONGEST_POLL = 1_000_000.0  # seconds; poll(2) counts milliseconds in 31 bits
_GONE = (errno.EPIPE, errno.ECONNRESET)
# A launcher lives for its containers, and leaves no cycles behind: looking for some
# costs it a millisecond of its start alone.
_NO_COLLECTOR = "import gc; gc.disable(); "
_lock = threading.Lock()
_resident: LauncherProcess | None = None


class LauncherProcess:
    """The launcher process and the control socket to it."""

    def __init__(self) -> None:
        """Start the launcher with posix_spawn(3).

        Forking a process with threads and gigabytes is neither safe nor quick. It has a
        session of its own, so that the terminal's Ctrl-C does not reach it; signals
        that we ignore (nohup) are not ignored in it, nor in its containers.
        """
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.owner = os.getpid()
        self.pid = spawn(_program(), theirs, default_root())

    def end(self) -> None:
        """Close the control socket, which ends the launcher and what it watches; reap it."""
        self.control.close()
        if os.getpid() == self.owner:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)


def spawn(program: str, control: socket.socket, home: Path) -> int:
    """Start a small Python with `control` as its descriptor 3; return its pid.

    `control` is closed here; nothing else of ours is passed on.
    """
    environment = {"CELLHOLD_HOME": str(home)}  # for what comes after us; it may not know who we are
    try:
        return helper.spawn(_NO_COLLECTOR + program, {2: 2, 3: control.fileno()}, env=environment)
    finally:
        control.close()


def _program() -> str:
    """Return the code that the launcher runs.

    The one place that decides how it prepares containers, as root or in a user
    namespace.
    """
    if not subids.is_rootless():
        return "from cellhold.init.launcher import main; main()"
    delegated = subids.delegation()
    return f"from cellhold.init.rootless import main; main({delegated.uids!r}, {delegated.gids!r}, {delegated.helpers!r})"


def resident() -> LauncherProcess:
    """Return this process's launcher; start one if there is none.

    Also if there is only one that was inherited over a fork.
    """
    global _resident  # noqa: PLW0603  # one per process is the point
    with _lock:
        if _resident is None or _resident.owner != os.getpid():
            _resident = LauncherProcess()
        return _resident


def resident_pids() -> list[int]:
    """Return the launcher's pid, if one runs."""
    return [_resident.pid] if _resident is not None and _resident.owner == os.getpid() else []


def shutdown(only: LauncherProcess | None = None) -> None:
    """End the launcher; the next container starts a new one.

    only: unless another thread has replaced that one already.
    """
    global _resident  # noqa: PLW0603
    with _lock:
        if _resident is not None and only in (None, _resident):
            _resident.end()
            _resident = None


def _after_fork() -> None:
    """Let go of the parent's launcher in a forked child.

    The launcher must see its caller end. The lock may have been held by another thread,
    which does not exist here.
    """
    global _resident, _lock  # noqa: PLW0603
    _lock = threading.Lock()
    if _resident is not None:
        _resident.control.close()
        _resident = None


atexit.register(shutdown)
os.register_at_fork(after_in_child=_after_fork)


class ContainerChannel:
    """A container's life as the launcher reports it (init/launcher.py).

    pidfd: of PID 1. terminal: our end of the program's. handed: descriptors of the
    directories that PID 1 handed over.
    """

    def __init__(self, end: socket.socket) -> None:
        """Wrap our end of the pair; the launcher holds the other."""
        self.socket = end
        self.pidfd = self.terminal = -1
        self.handed: list[int] = []
        self._closing = threading.RLock()

    def receive(self, timeout: float | None = None) -> tuple[Any, ...] | None:
        """Receive the next message; None after `timeout` seconds without one.

        timeout: eleven days at most. Returns ("lost",) once the launcher is gone.
        """
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        if not poll.poll(None if timeout is None else min(max(timeout, 0), _LONGEST_POLL) * 1000):
            return None
        fds = array.array("i")
        try:
            room = socket.CMSG_SPACE(_MOST_DESCRIPTORS * 4)
            data, ancillary, _flags, _address = self.socket.recvmsg(_MESSAGE, room, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:  # it was killed with something of ours unread
            return ("lost",)
        for _level, _kind, packed in ancillary:
            fds.frombytes(packed)
        message: tuple[Any, ...] = marshal.loads(data) if data else ("lost",)  # noqa: S302  # from our own launcher
        if fds and message[0] == "handed":
            self.handed.extend(fds)
        elif fds:
            self.pidfd, self.terminal = [*fds, -1][:2]
        return message

    def signal(self, number: int) -> None:
        """Send a signal to PID 1, if it exists.

        Not while another thread closes the pidfd, whose number may be reused.
        """
        with self._closing:
            if self.pidfd >= 0:
                pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """Close our end and the pidfd; a container that still runs is killed by that."""
        self.socket.close()
        with self._closing:
            held, self.pidfd, self.terminal = (self.pidfd, self.terminal, *self.handed), -1, -1
            self.handed = []
            for fd in held:
                if fd >= 0:
                    os.close(fd)


def launch(  # noqa: PLR0913  # what is handed over
    plan: Plan, *, lock: int, stdio: tuple[int, ...], storage: int, join: Join, by: socket.socket | None = None
) -> ContainerChannel:
    """Ask for a container; all descriptors stay the caller's.

    stdio: what become the program's 0, 1, 2 and so on. The last one is the end that its
    network comes through, unless its network is its own and nobody connects it
    (init/steps/launch.py). by: the control socket of another launcher than this
    process's own.

    Raises InvalidSpec for a plan with more descriptors than one message holds,
    SetupFailed if the launcher cannot be reached twice in a row, or a descriptor is not
    open.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    plan_fd = os.memfd_create("plan")
    try:
        os.write(plan_fd, marshal.dumps(dict(plan)))
        held = list_held(plan)
        has_network = plan["network"] != OWN
        request = Request(
            plan=plan_fd,
            channel=theirs.fileno(),
            lock=lock,
            storage=storage,
            network=stdio[-1] if has_network else -1,
            group=join.into,
            stdio=stdio[:-1] if has_network else stdio,
            trees=held,
            tasks=join.tasks,
        )
        message, fds = request.encode()
        _check_room(len(held), of=len(fds))
        if by is not None:
            socket.send_fds(by, [message], fds)
            return ContainerChannel(ours)
        for last in (False, True):
            launcher = resident()
            try:
                socket.send_fds(launcher.control, [message], fds)
                break
            except OSError as error:
                if (
                    launcher.control.fileno() >= 0 and error.errno not in _GONE
                ):  # a descriptor that is not open, for example: other containers go on
                    raise SetupFailed(
                        f"cannot start a container: cannot hand over its descriptors: {error.strerror}", step="launch"
                    ) from error
                shutdown(launcher)  # it was killed: start another one
                if last:
                    raise SetupFailed(f"cannot start a container: the launcher does not answer: {error.strerror}", step="launch") from error
    except BaseException:
        ours.close()
        raise
    finally:
        os.close(plan_fd)
        theirs.close()
    return ContainerChannel(ours)


def _check_room(trees: int, *, of: int) -> None:
    """Raise InvalidSpec if one message does not hold the descriptors.

    trees: how many of them are files and directories of the host. of: how many there
    are.
    """
    most = MOST_DESCRIPTORS - of + trees
    if trees > most:
        raise InvalidSpec(
            f"cannot start a container: it has {trees} mounts of files and directories of the host, at most {most} are possible",
            hint="mount a directory that holds several of them",
        )


def deadline(seconds: float | None) -> float | None:
    """Return the moment of CLOCK_MONOTONIC that is `seconds` from now."""
    return None if seconds is None else time.monotonic() + seconds
