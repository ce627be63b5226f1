"""The sockets of a registry's client, which another thread can cut.

A thread that waits for an address, a connection, a TLS handshake or an answer sees no
event and no signal. It is woken by shutdown(2) of its socket; getaddrinfo(3), which
nothing wakes, is called by a thread of its own, which is then abandoned.
"""

from __future__ import annotations

import socket
import ssl
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util import Timeout

if TYPE_CHECKING:
    from urllib3 import PoolManager

_LOOK_SECONDS = 0.05
Addresses = list[tuple[Any, Any, int, str, Any]]  # as of getaddrinfo(3)


class Lines:
    """All sockets of one client; once they are cut no more are opened."""

    def __init__(self) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._lock = threading.Lock()
        self._is_cut = False

    def cut(self) -> None:
        """Wake any thread that waits at a socket, with end of stream or an error.

        May be called twice.
        """
        with self._lock:
            self._is_cut = True
            sockets = list(self._sockets)
        for one in sockets:
            _shut(one)

    def add(self, one: socket.socket) -> None:
        """Add a socket, to be cut with the others."""
        with self._lock:
            self._sockets.add(one)
            is_cut = self._is_cut
        if is_cut:
            _shut(one)

    def serve(self, manager: PoolManager) -> None:
        """Make a manager open its connections here."""
        plain = type("_Http", (_Plain,), {"lines": self})
        tls = type("_Https", (_Tls,), {"lines": self})
        manager.pool_classes_by_scheme = {
            "http": type("_HttpPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("_HttpsPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
        }

    def context(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Return the TLS context, whose handshakes can be cut."""
        context.sslsocket_class = type("_TlsSocket", (_TlsSocket,), {"lines": self})
        return context

    def opened(self, connection: HTTPConnection, host: str) -> socket.socket:
        """Return a socket that is connected to the port of `connection` at a host.

        Raises OSError, socket.gaierror.
        """
        error = OSError("there is no address")
        seconds = Timeout.resolve_default_timeout(connection.timeout)
        for family, kind, protocol, _name, address in self._addresses(host, connection.port):
            one = socket.socket(family, kind, protocol)
            try:
                for option in connection.socket_options or ():
                    one.setsockopt(*option)
                one.settimeout(seconds)
                self.add(one)
                one.connect(address)
            except OSError as failure:
                one.close()
                error = failure
                if self._is_cut:
                    break
            else:
                return one
        raise error

    def _addresses(self, host: str, port: int | None) -> Addresses:
        host = host.strip("[]")
        with suppress(socket.gaierror):
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        found: Future[Addresses] = Future()

        def resolve() -> None:
            try:
                found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                found.set_exception(error)

        threading.Thread(target=resolve, daemon=True).start()
        while not self._is_cut:
            with suppress(NotYet):
                return found.result(_LOOK_SECONDS)
        raise OSError("it was given up")


class _Plain(HTTPConnection):
    """Over TCP."""

    lines: Lines

    def _new_conn(self) -> socket.socket:
        return _connected(self, self._dns_host, self.lines)


class _Tls(HTTPSConnection):
    """Over TLS; its context is of `Lines.context`."""

    lines: Lines

    def _new_conn(self) -> socket.socket:
        return _connected(self, self._dns_host, self.lines)


class _TlsSocket(ssl.SSLSocket):
    """Takes the place of the one below it before the handshake."""

    lines: Lines

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # ssl's
        self.lines.add(self)
        super().do_handshake(block)


def _connected(connection: HTTPConnection, host: str, lines: Lines) -> socket.socket:
    """Connect with the same errors as HTTPConnection._new_conn."""
    try:
        return lines.opened(connection, host)
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, f"Connection to {connection.host} timed out.") from error
    except (OSError, UnicodeError) as error:
        raise NewConnectionError(connection, f"Failed to establish a new connection: {error}") from error


def _shut(one: socket.socket) -> None:
    with suppress(OSError):  # it is closed already, or not connected yet and woken all the same
        socket.socket.shutdown(one, socket.SHUT_RDWR)  # ssl's own would take the TLS away from under its reader
