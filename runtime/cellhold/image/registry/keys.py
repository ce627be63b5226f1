"""The Authorization header for one endpoint: none until it asks for one.

Then a password or a token (distribution's docs/spec/auth/token.md, oauth.md). A login
goes to its registry, and to the token server that this registry names; a token goes to
its registry.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode, urlsplit

from cellhold.errors import ImageRefused, RegistryFailed
from cellhold.image import fields
from cellhold.image.fields import quote
from cellhold.image.registry import challenge, reading, refusals
from cellhold.image.registry.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from urllib3 import BaseHTTPResponse

    from cellhold.image.registry.challenge import Challenge
    from cellhold.image.registry.login import Login
    from cellhold.image.registry.settings import Endpoint
    from cellhold.image.registry.wire import Wire

_OK = 200
_MOST_BYTES = 256 << 10
_TOKEN = re.compile(r"[\x21-\x7e]+")
_SECONDS = 60  # of a token that does not say
_SLACK_SECONDS = 10


class _Token(NamedTuple):
    text: str
    end: float  # on the monotonic clock


class Keys:
    """The keys of one endpoint, for all threads.

    find: returns the login by the endpoint's name for it; called at most once.
    """

    def __init__(self, endpoint: Endpoint, wire: Wire, find: Callable[[str], Login | None]) -> None:
        self._endpoint = endpoint
        self._wire = wire
        self._find = find
        self._found: Login | None = None
        self._has_looked = False
        self._challenge: Challenge | None = None
        self._tokens: dict[tuple[str, ...], _Token] = {}
        self._lock = threading.Lock()

    def header(self, scopes: tuple[str, ...]) -> str | None:
        """Return the Authorization header for these scopes.

        None as long as the endpoint has not asked for one.
        """
        with self._lock:
            return self._header(scopes) if self._challenge else None

    def answer(self, refused: BaseHTTPResponse, scopes: tuple[str, ...], shown: str | None) -> str | None:
        """Return the header to send after a 401 to a request that had `shown`.

        None if there is no other. Raises RegistryFailed or Again.
        """
        asked = challenge.choose(challenge.parse(refused.headers.getlist("WWW-Authenticate")))
        if asked is None:
            return None
        with self._lock:
            self._challenge = asked
            kept = self._tokens.get(scopes)
            if kept and shown == f"Bearer {kept.text}":
                del self._tokens[scopes]
            header = self._header(scopes)
        return header if header != shown else None

    def _header(self, scopes: tuple[str, ...]) -> str | None:
        assert self._challenge is not None  # noqa: S101  # for mypy: both callers have seen to it
        if self._challenge.scheme == "basic":
            login = self._login()
            return _basic(login) if login and login.username else None
        kept = self._tokens.get(scopes)
        if kept is None or kept.end < time.monotonic():
            kept = self._tokens[scopes] = self._fetch(self._challenge, scopes)
        return f"Bearer {kept.text}"

    def _login(self) -> Login | None:
        if not self._has_looked:
            self._found, self._has_looked = self._find(self._endpoint.login), True
        return self._found

    def _fetch(self, asked: Challenge, scopes: tuple[str, ...]) -> _Token:
        aim = f"get a token for {self._endpoint.name}"
        realm = asked.parameters.get("realm", "")
        if urlsplit(realm).scheme != "https" and not self._endpoint.is_plain:
            raise RegistryFailed(f"cannot {aim}: its token server is {quote(realm)}, not at an https address")
        response = self._ask(realm, asked.parameters.get("service", ""), scopes, aim)
        try:
            if response.status != _OK:
                raise refusals.status_failure(response, aim, self._wire.settings.patience)
            return _token(reading.whole(response, most_bytes=_MOST_BYTES, patience=self._wire.settings.patience))
        except (reading.Cut, reading.TooLong, ImageRefused) as error:
            raise RegistryFailed(f"cannot {aim}: the answer of {quote(realm)} holds no token", status=response.status) from error
        finally:
            reading.settle(response, self._wire.settings.patience)

    def _ask(self, realm: str, service: str, scopes: tuple[str, ...], aim: str) -> BaseHTTPResponse:
        login = self._login()
        if login and login.identity_token:
            form = {"grant_type": "refresh_token", "service": service, "client_id": "cellhold", "scope": " ".join(scopes)}
            body = urlencode({**form, "refresh_token": login.identity_token}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
            return self._wire.exchange(Request(method="POST", url=realm, aim=aim, headers=headers, body=lambda: (body,)))
        query = [("service", service)] * bool(service) + [("scope", scope) for scope in scopes]
        if login:
            query.append(("account", login.username))
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}"
        return self._wire.exchange(Request(method="GET", url=url, aim=aim), _basic(login) if login else None)


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


def _token(body: bytes) -> _Token:
    document = fields.read(body, "token", most_bytes=_MOST_BYTES)
    text = document["token"].optional_text() or document["access_token"].text()
    if not _TOKEN.fullmatch(text):
        raise document["token"].refused("it has characters that a header cannot have")
    seconds = document["expires_in"].count() if document["expires_in"] else _SECONDS
    return _Token(text, time.monotonic() + max(_SECONDS, seconds) - _SLACK_SECONDS)
