"""Published ports without root: what comes is passed on, both ways, to its end; and nobody keeps the others waiting."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cellhold.network.forwarding import Forwarder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SECONDS = 10
_MUCH = 30_000_000


@contextmanager
def forwarded(serve: Callable[[socket.socket], None] | None) -> Iterator[tuple[str, int]]:
    """An address from which each connection is passed on to one that serve() answers; to nobody without."""
    gate, theirs = socket.socketpair()
    with gate, theirs, socket.create_server(("127.0.0.1", 0)) as target, socket.create_server(("127.0.0.1", 0)) as at:
        port = target.getsockname()[1]
        if serve is None:
            target.close()
        else:
            threading.Thread(target=_answer, args=(target, serve), daemon=True).start()
        forwarder = Forwarder("127.0.0.1", gate.fileno())
        forwarder.listen(at, port)
        running = threading.Thread(target=forwarder.run)
        running.start()
        try:
            yield at.getsockname()
        finally:
            theirs.close()
            running.join(_SECONDS)
            assert not running.is_alive()


def _answer(target: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            one, _who = target.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(one, serve), daemon=True).start()


def _serve(one: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    with one:
        serve(one)


def _all(one: socket.socket) -> bytes:
    pieces = []
    while piece := one.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def test_the_end_of_what_is_sent_is_passed_on_and_what_comes_after_it_still_comes() -> None:
    with forwarded(lambda one: one.sendall(_all(one)[::-1])) as address, socket.create_connection(address, _SECONDS) as asking:
        asking.sendall(b"hello")
        asking.shutdown(socket.SHUT_WR)
        assert _all(asking) == b"olleh"


def test_a_lot_goes_both_ways_unchanged_while_others_are_served() -> None:
    sent = os.urandom(_MUCH)
    with forwarded(lambda one: one.sendall(_all(one))) as address, socket.create_connection(address, _SECONDS) as asking:
        received: list[bytes] = []
        reading = threading.Thread(target=lambda: received.append(_all(asking)))
        reading.start()
        asking.sendall(sent[: _MUCH // 2])
        for _ in range(20):
            with socket.create_connection(address, _SECONDS) as other:
                other.sendall(b"x")
                other.shutdown(socket.SHUT_WR)
                assert _all(other) == b"x"
        asking.sendall(sent[_MUCH // 2 :])
        asking.shutdown(socket.SHUT_WR)
        reading.join(_SECONDS)
        assert received == [sent]


def test_where_nobody_listens_who_asks_is_not_kept_waiting() -> None:
    with forwarded(None) as address, socket.create_connection(address, _SECONDS) as asking, suppress(ConnectionResetError):
        assert asking.recv(1) == b""


def test_who_is_cut_off_takes_nobody_with_him() -> None:
    def cut(one: socket.socket) -> None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() resets

    with forwarded(cut) as address:
        for _ in range(50):
            with socket.create_connection(address, _SECONDS) as asking:
                try:
                    while asking.recv(1):
                        pass
                except ConnectionResetError:
                    continue
