"""The upload of a blob to a registry (distribution-spec, "Pushing blobs").

It is not sent if it is there, or in another repository of that registry.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from cellhold.errors import RegistryFailed
from cellhold.image.registry import reading
from cellhold.image.registry.patience import insist
from cellhold.image.registry.request import Request
from cellhold.image.registry.session import pull_scopes, push_scopes
from cellhold.image.registry.wire import joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from urllib3 import BaseHTTPResponse

    from cellhold.image.descriptor import Descriptor
    from cellhold.image.registry.session import Session

_OK, _CREATED, _ACCEPTED, _NO_CONTENT, _NOT_FOUND = 200, 201, 202, 204, 404


class Way(Enum):
    """How a registry came to have a blob."""

    SENT = "sent"
    MOUNTED = "mounted"  # from another repository of it
    WAS_THERE = "was there"


class Upload:
    """One blob on its way.

    open_: the content, opened anew for each try.
    tell: called with the bytes sent so far; fewer after a new try.
    """

    def __init__(
        self, session: Session, repository: str, descriptor: Descriptor, open_: Callable[[], BinaryIO], tell: Callable[[int], None] | None
    ) -> None:
        self._session = session
        self._repository = repository
        self._descriptor = descriptor
        self._open = open_
        self._tell = tell or (lambda _size_bytes: None)
        self._aim = f"push the blob {descriptor.digest}"
        self._scopes = push_scopes(repository)

    def run(self, mount_from: str | None, chunk_bytes: int | None) -> Way:
        """Push the blob; begin anew after a failure that may pass.

        Raises RegistryFailed.
        """
        if has_blob(self._session, self._repository, self._descriptor, self._scopes):
            return Way.WAS_THERE
        return insist(lambda: self._attempt(mount_from, chunk_bytes), self._session.patience, self._session.stopped)

    def _attempt(self, mount_from: str | None, chunk_bytes: int | None) -> Way:
        place, start, end = self._begin(mount_from), 0, self._descriptor.size_bytes
        if place is None:
            return Way.MOUNTED
        while chunk_bytes and end - start > chunk_bytes:
            place = self._chunk(place, start, start + chunk_bytes)
            start += chunk_bytes
        self._finish(place, start, end)
        return Way.SENT

    def _begin(self, mount_from: str | None) -> str | None:
        """Return the address to send the blob to.

        None: the registry has taken it from `mount_from`, another repository of it.
        """
        url, scopes = self._session.url(self._repository, "blobs/uploads/"), self._scopes
        if mount_from:
            url += "?" + urlencode({"mount": str(self._descriptor.digest), "from": mount_from})
            scopes += pull_scopes(mount_from)
        headers = {"Content-Length": "0"}
        request = Request(method="POST", url=url, aim=self._aim, scopes=scopes, expected=(_CREATED, _ACCEPTED), headers=headers)
        with self._session.ask(request) as response:
            return None if response.status == _CREATED else self._next(response, url)

    def _chunk(self, place: str, start: int, end: int) -> str:
        request = replace(self._sending("PATCH", place, start, end), expected=(_ACCEPTED, _NO_CONTENT))
        with self._session.ask(request) as response:
            return self._next(response, place)

    def _finish(self, place: str, start: int, end: int) -> None:
        url = f"{place}{'&' if '?' in place else '?'}{urlencode({'digest': str(self._descriptor.digest)})}"
        with self._session.ask(self._sending("PUT", url, start, end)):
            return

    def _sending(self, method: str, url: str, start: int, end: int) -> Request:
        is_part = end - start < self._descriptor.size_bytes
        headers = {"Content-Length": str(end - start), "Content-Type": "application/octet-stream"}
        return Request(
            method=method,
            url=url,
            aim=self._aim,
            scopes=self._scopes,
            expected=(_CREATED, _NO_CONTENT),
            headers=headers | ({"Content-Range": f"{start}-{end - 1}"} if is_part else {}),
            body=lambda: self._read(start, end),
            is_repeatable=False,
        )

    def _read(self, start: int, end: int) -> Iterator[bytes]:
        with self._open() as file:
            file.seek(start)
            while start < end:
                data = file.read(min(reading.PIECE_BYTES, end - start))
                if not data:
                    raise RegistryFailed(f"cannot {self._aim}: its file ends after {start} of {end} bytes")
                yield data
                start += len(data)
                self._tell(start)

    def _next(self, response: BaseHTTPResponse, url: str) -> str:
        """Return the full address for the next request."""
        location = response.headers.get("Location")
        if not location:
            raise RegistryFailed(f"cannot {self._aim} at {self._session.endpoint.name}: it does not say where to send it")
        return joined(joined(self._session.endpoint.url, url), location)


def has_blob(session: Session, repository: str, descriptor: Descriptor, scopes: tuple[str, ...]) -> bool:
    """Return whether the registry has the blob. Raises RegistryFailed."""
    url = session.url(repository, f"blobs/{descriptor.digest}")
    aim = f"look for the blob {descriptor.digest}"
    with session.ask(Request(method="HEAD", url=url, aim=aim, scopes=scopes, expected=(_OK, _NOT_FOUND))) as response:
        return response.status == _OK
