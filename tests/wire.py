"""Frames over one connection: a stream's number, a length, and bytes.

Stream ORDERS is what is ordered and told, in JSON; then the ZMTP bytes of the four channels,
and OUTPUT is what the program writes. As all of them share one connection, a channel that
nobody reads holds up the others. Both ends use it: far_side.py, and the engine in carried.py.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold_kernel.transport.backend import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Callable

_HEAD = struct.Struct("!BI")
ORDERS, OUTPUT = 0, len(CHANNELS) + 1
_CHUNK = 64 << 10


class Wire:
    """Frames over one connection. Whoever sends may be any thread, whoever reads is one."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._lock = threading.Lock()

    def send(self, stream: int, data: bytes) -> None:
        with self._lock, suppress(OSError):  # whoever reads sees that it is cut
            self._socket.sendall(_HEAD.pack(stream, len(data)) + data)

    def order(self, **words: object) -> None:
        self.send(ORDERS, json.dumps(words).encode())

    def read(self) -> tuple[int, bytes] | None:
        """Return the next frame; None where the connection is cut."""
        head = self._exactly(_HEAD.size)
        if head is None:
            return None
        stream, size = _HEAD.unpack(head)
        data = self._exactly(size)
        return None if data is None else (stream, data)

    def _exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            try:
                piece = self._socket.recv(size - len(data))
            except OSError:
                return None
            if not piece:
                return None
            data += piece
        return data

    def pump(self, stream: int, read: Callable[[int], bytes]) -> threading.Thread:
        """Send what `read` returns until that is nothing, in a thread."""

        def run() -> None:
            with suppress(OSError):
                while data := read(_CHUNK):
                    self.send(stream, data)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
