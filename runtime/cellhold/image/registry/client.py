"""A registry: its manifests, blobs and tags.

Names of repositories are those of Reference; nothing is kept on disk.
"""

from __future__ import annotations

import hashlib
import re
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, NamedTuple, Self

from cellhold.errors import ImageNotFound, ImageRefused, RegistryFailed
from cellhold.image import fields, manifest, mediatypes
from cellhold.image.fields import quote
from cellhold.image.registry import download, reading
from cellhold.image.registry.logins import Logins
from cellhold.image.registry.patience import Again, insist
from cellhold.image.registry.request import Request
from cellhold.image.registry.session import Session, pull_scopes, push_scopes
from cellhold.image.registry.settings import Settings
from cellhold.image.registry.upload import Upload, has_blob
from cellhold.image.registry.wire import joined
from cellhold.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import BinaryIO

    from urllib3 import HTTPHeaderDict

    from cellhold.image.descriptor import Descriptor
    from cellhold.image.registry.settings import Endpoint
    from cellhold.image.registry.upload import Way


_OK, _CREATED, _NOT_FOUND = 200, 201, 404
_MOST_PAGES = 100
_TAGS_BYTES = 4 << 20
_NEXT = re.compile(r'\s*<([^>]*)>\s*;\s*rel="?next"?')


class Received(NamedTuple):
    """A manifest as it came: bytes, media type, and the digest that was verified.

    media_type: None if the registry does not say.
    """

    raw: bytes
    media_type: str | None
    digest: Digest


class Registry:
    """The registry `name` ("docker.io", "localhost:5000"), for all threads.

    A context manager; close() wakes any thread that waits for a next try.

    Each method raises RegistryFailed where the registry cannot be reached or refuses,
    with its HTTP status.
    """

    def __init__(self, name: str, *, credentials: Logins | None = None, settings: Settings | None = None) -> None:
        self.name = name
        self._settings = settings or Settings.read()
        self._logins = credentials or Logins()
        self._stopped = Event()
        self._own = self._session(self._settings.endpoint(name))
        self._pulls = [*map(self._session, self._settings.mirrors(name)), self._own]

    def manifest(self, repository: str, reference: str) -> Received:
        """Return the manifest or index of a tag or digest.

        It comes from the first mirror that has it, or from the registry. A digest is
        verified against what came, and so is the Docker-Content-Digest header.
        Raises ImageNotFound if there is none, ImageRefused if it is too long or a
        different one.
        """
        for session in self._pulls[:-1]:
            try:
                return _manifest(session, repository, reference)
            except (RegistryFailed, ImageNotFound, ImageRefused):
                continue  # the next one may have it; if the registry fails too, its sentence is the one to tell
        return _manifest(self._own, repository, reference)

    def blob(self, repository: str, descriptor: Descriptor, *, start_byte: int = 0) -> Iterator[bytes]:
        """Yield the blob from `start_byte` on, in pieces of up to 256 KiB.

        It resumes by itself after cuts. The caller verifies the content.
        Raises ImageRefused if its length is not the descriptor's.
        """
        return download.stream(self._pulls, repository, descriptor, start_byte)

    def has_blob(self, repository: str, descriptor: Descriptor) -> bool:
        """Return whether the registry itself has that blob in that repository."""
        return has_blob(self._own, repository, descriptor, pull_scopes(repository))

    def push_blob(
        self,
        repository: str,
        descriptor: Descriptor,
        open_: Callable[[], BinaryIO],
        *,
        mount_from: str | None = None,
        tell: Callable[[int], None] | None = None,
    ) -> Way:
        """Send a blob, unless the registry has it.

        Nothing is sent if it is there, or in the repository `mount_from` of the same
        registry.
        open_: its content, seekable, opened anew for each try.
        tell: called with the bytes sent so far.
        """
        return Upload(self._own, repository, descriptor, open_, tell).run(mount_from, self._settings.section(self.name).push_chunk_bytes)

    def push_manifest(self, repository: str, reference: str, raw: bytes, media_type: str) -> None:
        """Store a manifest under a tag, or under its digest.

        What it refers to must be there.
        """
        aim = f"push the manifest {repository}:{reference}"
        request = Request(
            method="PUT",
            url=self._own.url(repository, f"manifests/{reference}"),
            aim=aim,
            scopes=push_scopes(repository),
            expected=(_OK, _CREATED),
            headers={"Content-Type": media_type, "Content-Length": str(len(raw))},
            body=lambda: (raw,),
        )
        with self._own.ask(request) as response:
            said = response.headers.get("Docker-Content-Digest")
        if said and said != str(_digest(said, raw)):
            raise RegistryFailed(f"cannot {aim} at {self.name}: it has understood {quote(said)}, not {Digest.of(raw)}")

    def tags(self, repository: str) -> tuple[str, ...]:
        """Return all tags of a repository, in the registry's order."""
        found: list[str] = []
        url = self._own.url(repository, "tags/list") + "?n=1000"
        for _ in range(_MOST_PAGES):
            page, following = self._page(repository, url)
            found += page
            if not following or not page:
                return tuple(found)
            url = joined(url, following)
        raise RegistryFailed(f"cannot list the tags of {repository} at {self.name}: there are more than {_MOST_PAGES} pages of them")

    def close(self) -> None:
        """Close the connections.

        Any thread that waits at one of them, or for a next try, fails at once. May be
        called from any thread, and twice.
        """
        self._stopped.set()
        for session in self._pulls:
            session.close()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def _session(self, endpoint: Endpoint) -> Session:
        find = partial(self._logins.find, stopped=self._stopped)
        return Session(endpoint, settings=self._settings, find=find, stopped=self._stopped)

    def _page(self, repository: str, url: str) -> tuple[tuple[str, ...], str | None]:
        """Return some tags, and the address of more."""
        request = Request(method="GET", url=url, aim=f"list the tags of {repository}", scopes=pull_scopes(repository), is_repeatable=False)
        headers, body = _short(self._own, request, _TAGS_BYTES)
        try:
            tags = fields.read(body, "list", most_bytes=_TAGS_BYTES)["tags"].texts()
        except ImageRefused as error:
            raise RegistryFailed(f"cannot {request.aim} at {self.name}: {error}") from error
        following = _NEXT.match(headers.get("Link", ""))
        return tags, following[1] if following else None


def _manifest(session: Session, repository: str, reference: str) -> Received:
    name = f"{repository}{'@' if ':' in reference else ':'}{reference}"
    request = Request(
        method="GET",
        url=session.url(repository, f"manifests/{reference}"),
        aim=f"get the manifest {name}",
        scopes=pull_scopes(repository),
        headers={"Accept": ", ".join(mediatypes.ACCEPTED)},
        is_repeatable=False,
    )
    try:
        headers, raw = _short(session, request, manifest.MOST_BYTES)
    except RegistryFailed as error:
        if error.status == _NOT_FOUND:
            raise ImageNotFound(str(error), hint=error.hint) from error
        raise
    digests = [text for text in (reference if ":" in reference else None, headers.get("Docker-Content-Digest")) if text]
    for expected in digests:
        if expected != str(_digest(expected, raw)):
            raise ImageRefused(
                f"cannot use the manifest {name} of {session.endpoint.name}: it was to be {quote(expected)} and is {_digest(expected, raw)}"
            )
    return Received(raw, headers.get("Content-Type"), _digest(digests[0] if digests else "", raw))


def _digest(like: str, raw: bytes) -> Digest:
    """Return the digest of `raw`, of the same kind as the text `like`.

    It is sha256 if `like` is not a digest.
    """
    try:
        algorithm = Digest.parse(like).algorithm
    except ValueError:
        algorithm = "sha256"
    return Digest(algorithm, hashlib.new(algorithm, raw).hexdigest())


def _short(session: Session, request: Request, most_bytes: int) -> tuple[HTTPHeaderDict, bytes]:
    """Return the headers and the body of an answer that fits into memory.

    It is requested again if it is cut.
    """

    def attempt() -> tuple[HTTPHeaderDict, bytes]:
        try:
            with session.ask(request) as response:
                return response.headers, reading.whole(response, most_bytes=most_bytes, patience=session.patience)
        except reading.TooLong as error:
            raise ImageRefused(f"cannot {request.aim} at {session.endpoint.name}: the answer is longer than {most_bytes} bytes") from error
        except reading.Cut as error:
            raise Again(RegistryFailed(f"cannot {request.aim} at {session.endpoint.name}: {error}")) from error

    return insist(attempt, session.patience, session.stopped)
