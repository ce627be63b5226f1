"""The monitor: the launcher of one container that outlives its starter.

It keeps the log, and serves attached clients.

Two processes. The keeper, a shell, waits for the other one, outside of any user
namespace, and then becomes `cellhold.container.restart_policy`, a whole Python, which
records how the container ended and restarts it if its policy says so. The monitor
proper is the launcher (launcher.py) with one container. Both hold the lock on the
container's directory.

    starter --(control: what is kept, then one request as to the launcher, then
            LET_GO)--> monitor
    client  --(the container's socket: ATTACH, or a request for PID 1 with its
            descriptors)--> monitor
    client  <--(GREETING with what its standard input is written to; then pieces of
            output, the stream's number first)-- monitor

Until LET_GO, the container ends with the starter. Output that a client has not read yet
blocks the program, as a pipe would.
"""

from __future__ import annotations

import _socket
import marshal
import os
import select
import sys
import time

from cellhold.init import launcher, prepare
from cellhold.init.health import Health
from cellhold.init.log import Log
from cellhold.linux import process
from cellhold.linux.pidfd import pidfd_send_signal

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from typing import NoReturn

    from cellhold.init.health import Check
    from cellhold.init.launcher import Watched
    from cellhold.init.prepare import Privileged
    from cellhold.init.rootless import Rows

LET_GO = b"let go"
ATTACH, ATTACH_ONCE, GREETING = b"attach", b"attach once", b"\0"  # once: no other process may write to its standard input
STDOUT, STDERR = 1, 2
_HEALTH = "health"  # the file that init/health.py describes
_ENDED = "ended"  # the file that says how (recovery.py reads it): status, signal, whether the time was up; blank while it runs
_ENDED_BYTES = 32
_PIECE = 32768
_SIGKILL = 9
_MOST_CLIENTS = 64
_LAST_SECONDS = 10.0  # for a client to read the last piece once the container has ended


class Monitor(launcher.Launcher):
    """The launcher's loop, with one container, its output and its clients."""

    def __init__(  # noqa: PLR0913  # what it works with
        self,
        control: _socket.socket,
        host: Privileged,
        directory: str,
        listening: int,
        *,
        stdin: int,
        outputs: dict[int, int],
        check: Check | None,
    ) -> None:
        """Serve the one container in `directory`.

        stdin: what its standard input is written to, -1 for none. outputs: descriptor
        -> stream. check: its healthcheck.
        """
        super().__init__(control, host)
        self.directory = directory
        self.log = Log(f"{directory}/log")
        self.listening = _socket.socket(fileno=listening)
        self.stdin = stdin
        self.outputs = outputs
        self.clients: dict[int, _socket.socket] = {}
        self.attached: set[int] = set()  # those of them that asked for the output
        self.waiting: dict[int, bytes] = {}  # clients that have no room for the last piece, which is here
        self.one: Watched | None = None
        self.is_let_go = self.has_begun = self.is_held_up = False
        self.over: float | None = None  # since when
        self.check = check
        self.health: Health | None = None
        self.end = (0, 0, 0)
        self.ended = blank(directory, _ENDED, _ENDED_BYTES)
        self.poll.register(listening, select.POLLIN)
        for fd in outputs:
            self.poll.register(fd, select.POLLIN)

    def request(self) -> bool:
        """Take the one request, or the message that the starter lets go.

        From then on the container is ours alone.
        """
        if self.one is None:
            going_on = super().request()
            self.one = next(iter(self.watched.values()), None)
            return going_on
        words = self.control.recv(16)
        self.poll.unregister(self.control)
        if words != LET_GO:
            self.control.close()
            pidfd_send_signal(self.one.pidfd, _SIGKILL)
        self.is_let_go = True
        return True

    def dispatch(self, watched: Watched, fd: int) -> None:
        """Dispatch as the launcher does.

        Once the starter has let go, what it does with its channel is ignored.
        """
        if fd == watched.channel.fileno() and self.is_let_go:
            self.unwatch(fd)
        else:
            super().dispatch(watched, fd)

    def program_started(self, terminal: list[int]) -> None:
        """Start reading the program's terminal, if it has one."""
        self.has_begun = True
        if self.check is not None:
            self.health = Health(self.check, self.forward_to_container, lambda text: write(self.directory, _HEALTH, text))
        for fd in terminal:
            self.stdin = fd
            self.outputs[fd] = STDOUT
            self.poll.register(fd, select.POLLIN)

    def forward_to_container(self, fds: list[int]) -> None:
        """Send descriptors to PID 1 of the one container; close them here."""
        if self.one is not None:
            self.forward(self.one, fds)

    def reap(self, watched: Watched) -> None:
        """Record that the container has ended; its remaining output is still read."""
        late = watched.seconds is not None and watched.deadline is None
        super().reap(watched)
        if self.has_begun:
            self.end = (*(watched.ended or (0, 0)), int(late))
            try:
                os.pwrite(self.ended, b"%d %d %d" % self.end, 0)
            except OSError:
                self.ended = -1  # the keeper hears of it all the same
        self.over = time.monotonic()
        self.finish()

    def poll_timeout(self) -> float | None:
        """Return the milliseconds until something has to be done unprompted."""
        if self.over is not None:
            return 1000 * _LAST_SECONDS
        others = super().poll_timeout()
        if self.health is None:
            return others
        mine = max((self.health.due - time.monotonic()) * 1000, 0) + 1
        return mine if others is None else min(mine, others)

    def enforce_deadlines(self) -> None:
        """Enforce as the launcher does; drop clients that do not read the last piece."""
        super().enforce_deadlines()
        if self.health is not None and self.over is None and time.monotonic() >= self.health.due:
            for fd in self.health.descriptors():
                self.unregister(fd)
            for fd in self.health.act():
                self.poll.register(fd, select.POLLIN)
        if self.over is not None and time.monotonic() > self.over + _LAST_SECONDS:
            for fd in tuple(self.waiting):
                self.drop_client(fd)
            self.finish()

    def finish(self) -> None:
        """End when the program has ended and all output is logged and read."""
        if self.over is not None and not (self.has_begun and (self.outputs or self.waiting)):
            self.left = self.has_begun

    def dispatch_other(self, fd: int, events: int) -> None:
        """Serve a new client, one that asks, reads or leaves, or a piece of output."""
        if fd == self.listening.fileno():
            self.accept_client()
        elif fd in self.clients:
            if fd in self.waiting:
                self.send_output(fd, self.waiting.pop(fd))
                self.throttle()
            elif events & ~select.POLLOUT:
                self.read_client(fd)
        elif self.health is not None and self.health.is_mine(fd):
            known = self.health.descriptors()
            if not self.health.hear(fd):
                for one in [fd] if self.health.is_mine(fd) else known:
                    self.unregister(one)
        elif fd in self.outputs and not self.waiting:
            self.read_output(fd)
        self.finish()

    def accept_client(self) -> None:
        """Accept a client; no other user than our own can reach this socket."""
        fd, _address = self.listening._accept()  # type: ignore[attr-defined]  # noqa: SLF001  # accept() is the other half's, that costs an import of enum
        client = _socket.socket(fileno=fd)
        if len(self.clients) >= _MOST_CLIENTS:
            idle = next((one for one in self.clients if one not in self.attached), None)
            if idle is None:
                client.close()
                return
            self.drop_client(idle)  # a request is served at once: this client sends none
        self.clients[client.fileno()] = client
        self.poll.register(client, select.POLLIN)

    def read_client(self, fd: int) -> None:
        """Serve a client's request: attach, pass it to PID 1, or drop the client."""
        client = self.clients[fd]
        try:
            words, fds = launcher.receive(client, _socket.MSG_DONTWAIT)
        except BlockingIOError:  # the event is of an earlier client with this number
            return
        except OSError:
            words, fds = b"", []
        if not words:
            self.drop_client(fd)
        elif words in (ATTACH, ATTACH_ONCE):
            self.attach_client(fd)
            if words == ATTACH_ONCE and self.stdin >= 0 and self.stdin not in self.outputs:
                os.close(self.stdin)
                self.stdin = -1
        elif self.one is not None and fds:
            self.forward(self.one, fds)

    def attach_client(self, fd: int) -> None:
        """Answer a client that attaches.

        One that asks repeatedly without reading is dropped.
        """
        try:
            prepare.send_descriptors(self.clients[fd], [self.stdin] if self.stdin >= 0 else [], GREETING, _socket.MSG_DONTWAIT)
        except OSError:
            self.drop_client(fd)
        else:
            self.attached.add(fd)

    def read_output(self, fd: int) -> None:
        """Read a piece of output, log it, and send it to the clients."""
        try:
            piece = os.read(fd, _PIECE)
        except OSError:  # of a terminal that nobody has open any more
            piece = b""
        if not piece:  # never while it is held up
            self.poll.unregister(fd)
            del self.outputs[fd]
            if fd != self.stdin:
                os.close(fd)
            return
        self.log.write(self.outputs[fd], piece)
        for client in tuple(self.attached):
            self.send_output(client, bytes([self.outputs[fd]]) + piece)
        self.throttle()

    def send_output(self, fd: int, message: bytes) -> None:
        """Send a piece to a client; what it has no room for waits."""
        try:
            self.clients[fd].send(message, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            self.waiting[fd] = message
            self.poll.modify(fd, select.POLLOUT)
        except OSError:
            self.drop_client(fd)
        else:
            self.poll.modify(fd, select.POLLIN)

    def throttle(self) -> None:
        """Read output only while no client is behind."""
        if self.is_held_up != bool(self.waiting):
            self.is_held_up = bool(self.waiting)
            for fd in self.outputs:
                if self.is_held_up:
                    self.poll.unregister(fd)
                else:
                    self.poll.register(fd, select.POLLIN)

    def unregister(self, fd: int) -> None:
        """Stop polling a descriptor, if it was polled."""
        try:
            self.poll.unregister(fd)
        except KeyError:
            return

    def drop_client(self, fd: int) -> None:
        """Forget a client that is gone."""
        self.poll.unregister(fd)
        self.waiting.pop(fd, None)
        self.attached.discard(fd)
        self.clients.pop(fd).close()
        self.throttle()


def blank(directory: str, name: str, size: int) -> int:
    """Make a file of blanks, to be overwritten when the disk is full.

    Returns its descriptor; -1 if there is no room for it now.
    """
    try:
        fd = os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.write(fd, b" " * size)
    except OSError:
        return -1
    return fd


def write(directory: str, name: str, text: str) -> None:
    """Write a small file, whole, if there is room for it."""
    try:
        _write(directory, name, text)
    except OSError:
        return


def _write(directory: str, name: str, text: str) -> None:
    fd = os.open(f"{directory}/{name}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
    os.rename(f"{directory}/{name}.new", f"{directory}/{name}")


def main(ids: tuple[Rows, Rows, tuple[str, str] | None] | None) -> NoReturn:
    """Run the keeper and the monitor.

    ids: rootless.enter()'s arguments; None as root.
    """
    launcher.begin()
    if os.fork():  # the starter waits for this process; its child stays, and is nobody's
        os._exit(0)
    control = _socket.socket(fileno=3)
    words, fds = launcher.receive(control)
    if not words:
        os._exit(0)
    kept = marshal.loads(words)  # noqa: S302  # from our own starter
    lock = fds[0]
    os.dup2(_errors(kept["directory"]), 2)  # not the starter's terminal
    waiting, telling = os.pipe()
    if os.fork():
        keep(kept["id"], lock, waiting)
    os.close(waiting)
    prepare.set_title(b"cellhold-monitor")
    host = prepare.Privileged() if ids is None else _rootless(*ids)
    _lock, listening, stdin, *outputs = fds
    streams = dict(zip(outputs, (STDOUT, STDERR), strict=False))
    watching = Monitor(
        control, host, kept["directory"], listening, stdin=stdin if kept["stdin"] else -1, outputs=streams, check=kept["check"]
    )
    os.write(telling, b"%d %d %d %d\n" % (watching.serve(), *watching.end))
    os._exit(0)


def _errors(directory: str) -> int:
    """Return where to report unexpected errors; nowhere on a full disk."""
    try:
        return os.open(f"{directory}/errors", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)


def _rootless(uids: Rows, gids: Rows, helpers: tuple[str, str] | None) -> Privileged:
    """Become root of a user namespace.

    Without one, the request is answered with the reason.
    """
    from cellhold.init import rootless  # noqa: PLC0415  # it stays in memory as long as the container runs

    try:
        rootless.enter(uids, gids, helpers)
    except OSError as error:
        return rootless.Rootless(uids, gids, error)
    return rootless.Rootless(uids, gids, None)


def keep(container_id: str, lock: int, waiting: int) -> NoReturn:
    """Wait until the monitor says whether a program ran, or is gone.

    If one ran, see to its end. A shell takes a tenth of our memory.
    """
    path = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = f"import sys; sys.path.append({path!r}); from cellhold.container.restart_policy import main; main({container_id!r}, {lock})"
    process.close_on_exec(3)
    os.dup2(waiting, 3)
    os.set_inheritable(lock, True)
    wait = 'read -r ran end <&3 || ran=1; [ "$ran" = 0 ] || exec "$@" $end 3<&-'
    os.execv("/bin/sh", ["cellhold-keeper", "-c", wait, "cellhold-keeper", sys.executable, "-I", "-c", code])
