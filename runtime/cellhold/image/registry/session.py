"""Requests to one endpoint, sent until it answers.

They carry a key if the endpoint wants one, and are repeated after a failure that may
pass.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from cellhold.image.registry import reading, refusals
from cellhold.image.registry.keys import Keys
from cellhold.image.registry.patience import insist
from cellhold.image.registry.wire import Wire, joined, origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event

    from urllib3 import BaseHTTPResponse

    from cellhold.image.registry.login import Login
    from cellhold.image.registry.patience import Patience
    from cellhold.image.registry.request import Request
    from cellhold.image.registry.settings import Endpoint, Settings

_UNAUTHORIZED = 401


class Session:
    """Serve all threads; once `stopped` is set, no thread waits any more."""

    def __init__(self, endpoint: Endpoint, *, settings: Settings, find: Callable[[str], Login | None], stopped: Event) -> None:
        self.endpoint = endpoint
        self.stopped = stopped
        self._wire = Wire(settings, endpoint)
        self._keys = Keys(endpoint, self._wire, find)

    @property
    def patience(self) -> Patience:
        """How long to wait for it."""
        return self._wire.settings.patience

    def url(self, repository: str, rest: str) -> str:
        """Return the address of something in a repository: "manifests/latest"."""
        return f"{self.endpoint.url}/v2/{quote(repository)}/{quote(rest, safe='/:')}"

    @contextmanager
    def ask(self, request: Request) -> Iterator[BaseHTTPResponse]:
        """Return an answer with an expected status, open until the block ends.

        Raises RegistryFailed: "cannot AIM at NAME: ...".
        """
        complete = replace(request, url=joined(self.endpoint.url, request.url), aim=f"{request.aim} at {self.endpoint.name}")
        attempt = partial(self._attempt, complete)
        response = insist(attempt, self.patience, self.stopped) if request.is_repeatable else attempt()
        try:
            yield response
        except BaseException:
            response.close()
            raise
        reading.settle(response, self.patience)

    def close(self) -> None:
        """Close its connections."""
        self._wire.close()

    def _attempt(self, request: Request) -> BaseHTTPResponse:
        response = self._with_key(request)
        if response.status in request.expected:
            return response
        try:
            raise refusals.status_failure(response, request.aim, self.patience)
        finally:
            reading.settle(response, self.patience)

    def _with_key(self, request: Request) -> BaseHTTPResponse:
        if origin(request.url) != origin(self.endpoint.url):  # an upload can go to another host, which must not see a key
            return self._wire.exchange(request)
        shown = self._keys.header(request.scopes)
        response = self._wire.exchange(request, shown)
        if response.status != _UNAUTHORIZED:
            return response
        try:
            key = self._keys.answer(response, request.scopes, shown)
        except BaseException:
            response.close()
            raise
        if key is None:
            return response
        reading.settle(response, self.patience)
        return self._wire.exchange(request, key)


def pull_scopes(repository: str) -> tuple[str, ...]:
    """Return the token scopes for reading a repository."""
    return (f"repository:{repository}:pull",)


def push_scopes(repository: str) -> tuple[str, ...]:
    """Return the token scopes for writing to a repository too."""
    return (f"repository:{repository}:pull,push",)
