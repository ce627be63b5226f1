"""A registry that answers whatever a test wants, on loopback.

For answers that no honest registry gives.

with Liar() as liar:
    liar.says("GET", "/v2/x/manifests/1", Answer(500), Answer(body=b"{}"))  # in turn; the last one stays
    ...
    assert liar.asked[0].headers["Authorization"] == ...
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import Message


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer.

    pieces: the body in pieces, instead of `body`, without a Content-Length; then the
    connection is cut.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    pieces: Callable[[], Iterator[bytes]] | None = None


class Asked(NamedTuple):
    method: str
    path: str
    headers: Message
    body: bytes


class Liar:
    """host: its HOST:PORT; asked: every request, in order."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.asked: list[Asked] = []
        self._answers: dict[tuple[str, str], list[Answer | Callable[[Asked], Answer]]] = {}
        self._server = _Server((address, 0), type("Handler", (_Handler,), {"liar": self}))
        self._server.daemon_threads = True
        self.host = f"{address}:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def says(self, method: str, path: str, *answers: Answer | Callable[[Asked], Answer]) -> None:
        """Set the answers to a request; the path is without its query."""
        self._answers[method, path] = list(answers)

    def paths(self, method: str = "GET") -> list[str]:
        return [asked.path for asked in self.asked if asked.method == method]

    def keys(self) -> list[str | None]:
        """Return the Authorization header of each request."""
        return [asked.headers["Authorization"] for asked in self.asked]

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        answers = self._answers.get((asked.method, asked.path.partition("?")[0]), [Answer(status=404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer if isinstance(answer, Answer) else answer(asked)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print it to standard error, except for a client that hangs up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    liar: Liar
    protocol_version = "HTTP/1.1"
    timeout = 10
    disable_nagle_algorithm = True

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.liar.answer(Asked(self.command, self.path, self.headers, body))
        with suppress(OSError):  # the client may have had enough
            self._give(answer)

    def _give(self, answer: Answer) -> None:
        self.send_response(answer.status)
        if answer.pieces is None and "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        if answer.pieces is not None:
            self.close_connection = True
            for piece in answer.pieces():
                self.wfile.write(piece)
        elif int(answer.headers.get("Content-Length", len(answer.body))) != len(answer.body):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _any  # noqa: N815  # the names that http.server looks for

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def liar() -> Iterator[Liar]:
    """A registry of the test's own."""
    with Liar() as one:
        yield one
