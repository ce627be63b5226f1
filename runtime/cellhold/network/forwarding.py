"""TCP ports that are published without root.

A process listens where people ask, and connects in the container's network namespace.

What comes is passed on by splice(2), which copies nothing. It is twice as fast as
through slirp4netns, whose own stack it goes by; so it is not for a container with a
rate, which is its device's. It ends as the container's PID 1 does: our end of the gate
tells it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold import helper
from cellhold.errors import SetupFailed
from cellhold.linux import process
from cellhold.network import usermode_process

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from cellhold.network.usermode_process import Endpoint
    from cellhold.spec.spec import Port

_BACKLOG = 4096
_PIPE = 1 << 20  # what a direction holds at most; pipe(7): less where its user has many
_TURNS = 16  # of a connection until others have theirs
_FLAGS = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
_SYN_SENT = 2  # tcp(7), TCP_INFO
_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


def start(at: Endpoint, ports: Sequence[Port], closing: ExitStack) -> int:
    """Start the process for those ports.

    Returns a descriptor that can be read from when it is there. Raises SetupFailed for
    a port that is taken.
    """
    if not ports:
        return -1
    listening = []
    for port in ports:
        one = closing.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((port.address, port.host))
            one.listen(_BACKLOG)
        except OSError as error:
            raise SetupFailed(f"cannot publish port {port.host}: {error.strerror}", step="network.connect") from error
        listening.append(one)
    ready, tell = os.pipe()
    closing.callback(os.close, ready)
    with os.fdopen(tell, "wb"):
        pairs = [f"{one.fileno()}:{port.container}" for one, port in zip(listening, ports, strict=True)]
        words = helper.python(
            *(__name__, at.lease.address, *map(str, (at.gate, tell, at.user, at.namespace)), *pairs),
            bounds=helper.Bounds(memory_bytes=2 << 30),
        )
        usermode_process.start(words, pass_fds=[*(one.fileno() for one in listening), at.gate, tell, at.user, at.namespace])
    return ready


def main() -> None:
    """Be the process.

    Arguments: the container's address, descriptors of the gate, of whoever waits for
    us, of the namespaces, and of each port.
    """
    address, gate, tell, user, namespace, *pairs = sys.argv[1:]
    process.setns(int(user), process.CLONE_NEWUSER)
    process.setns(int(namespace), process.CLONE_NEWNET)
    process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
    process.set_capabilities(bounding=0, permitted=0)
    for fd in (user, namespace):
        os.close(int(fd))
    forwarder = Forwarder(address, int(gate))
    for pair in pairs:
        listening, port = map(int, pair.split(":"))
        forwarder.listen(socket.socket(fileno=listening), port)
    os.write(int(tell), b"1")
    os.close(int(tell))
    forwarder.run()


class _Way:
    """One direction of a connection: from a socket into a pipe, and on into the other."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source, self._sink = source, sink
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):  # the user has many
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, _PIPE)
        self._held = 0
        self._ended = False
        self.done = False

    def move(self) -> bool:
        """Move what there is, for some turns; return whether there may be more at once.

        Raises OSError where one of them is gone.
        """
        for _turn in range(_TURNS):
            taken = given = 0
            if not self._ended:
                with suppress(BlockingIOError):
                    taken = os.splice(self._source.fileno(), self._in, _PIPE, flags=_FLAGS)
                    self._ended = not taken
                self._held += taken
            if self._held:
                with suppress(BlockingIOError):
                    given = os.splice(self._out, self._sink.fileno(), self._held, flags=_FLAGS)
                self._held -= given
            if self._ended and not self._held:
                if not self.done:
                    self._sink.shutdown(socket.SHUT_WR)
                self.done = True
            if self.done or not (taken or given):
                return False
        return True

    def close(self) -> None:
        os.close(self._in)
        os.close(self._out)


class _Connection:
    """Two sockets and the ways between them."""

    def __init__(self, outside: socket.socket, address: tuple[str, int]) -> None:
        self.inside = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.outside = outside
        self.ways: list[_Way] = []  # none until the other side has answered
        outside.setblocking(False)
        for one in (outside, self.inside):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._refused = self.inside.connect_ex(address)

    def move(self) -> tuple[bool, bool]:
        """Whether it is over, and whether there is more to move at once."""
        try:
            if not self.ways:
                if not self._is_answered():
                    return False, False
                for source, sink in ((self.outside, self.inside), (self.inside, self.outside)):
                    self.ways.append(_Way(source, sink))
            more = [way.move() for way in self.ways]
        except OSError:
            return True, False
        return all(way.done for way in self.ways), any(more)

    def _is_answered(self) -> bool:
        """Raises OSError where nobody listens."""
        if error := self.inside.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or self._refused:
            if error != errno.EINPROGRESS:
                raise OSError(error, os.strerror(error))
            if self.inside.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _SYN_SENT:
                return False
        return True

    def close(self) -> None:
        for way in self.ways:
            way.close()
        self.inside.close()
        self.outside.close()


class Forwarder:
    """The loop: accept connections, move what they send, and end with the container."""

    def __init__(self, address: str, gate: int) -> None:
        """Nobody listens yet.

        address: the container's. gate: a descriptor; run() ends when its other end is
        closed.
        """
        self._address, self._gate = address, gate
        self._poll = select.epoll()
        self._poll.register(gate, 0)  # told of its end nevertheless
        self._listening: dict[int, tuple[socket.socket, int]] = {}
        self._connections: dict[int, _Connection] = {}  # by each of their two descriptors
        self._eager: set[_Connection] = set()  # had their turns, and have more

    def listen(self, at: socket.socket, port: int) -> None:
        """Pass on to that port of the container what connects there."""
        at.setblocking(False)
        self._listening[at.fileno()] = at, port
        self._poll.register(at, select.EPOLLIN)

    def run(self) -> None:
        """Until the container has ended."""
        while True:
            ready = self._poll.poll(0 if self._eager else None)
            eager, self._eager = self._eager, set()
            for fd, _events in ready:
                if fd == self._gate:
                    return
                if fd in self._listening:
                    self._accept(*self._listening[fd])
                elif fd in self._connections:
                    eager.add(self._connections[fd])
            for connection in eager:
                self._move(connection)

    def _accept(self, at: socket.socket, port: int) -> None:
        try:
            outside, _who = at.accept()
        except BlockingIOError:
            return
        except OSError:  # as many descriptors as there may be: the next who ends makes room
            for fd in self._listening:
                self._poll.modify(fd, 0)
            return
        try:
            connection = _Connection(outside, (self._address, port))
        except OSError:
            outside.close()
            return
        for one in (connection.inside, connection.outside):
            self._connections[one.fileno()] = connection
            self._poll.register(one, _EDGES)

    def _move(self, connection: _Connection) -> None:
        is_over, is_eager = connection.move()
        if is_eager:
            self._eager.add(connection)
        if is_over:
            for one in (connection.inside, connection.outside):
                del self._connections[one.fileno()]
            connection.close()
            for fd in self._listening:
                self._poll.modify(fd, select.EPOLLIN)
