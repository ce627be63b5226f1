"""Wheels by hash, from where the index of this host says that they lie.

A URL is the index's own word (resolving.py); a login goes to the index's host alone.
"""

from __future__ import annotations

import base64
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from cellhold.errors import CellholdError, InvalidSpec
from cellhold.spec.units import size
from cellhold_kernel.images.packages.index import without_login
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path
    from urllib.request import OpenerDirector

    from cellhold_kernel.images.packages.lock import Wheel

_AT_ONCE = 6
_PIECE = 1 << 20
_SECONDS = 60.0  # without a byte
_SCHEMES = ("http", "https")


@contextmanager
def fetching(
    wheels: Sequence[Wheel], to: Path, *, index: str, most_bytes: int, tell: Callable[[int], object]
) -> Iterator[Iterator[tuple[Wheel, Path]]]:
    """Yield the wheels with their files in the directory `to`.

    Each comes once it is there and its hash is right. index: the configured URL, whose
    login goes with it. most_bytes: of all of them. tell: called with the bytes of each
    piece, from several threads. Raises InvalidSpec for too many bytes or a wrong hash,
    CellholdError where the index does not give one.
    """
    promised = sum(wheel.size_bytes or 0 for wheel in wheels)
    if promised > most_bytes:
        raise _too_large(promised, most_bytes)
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="cellhold-wheels")
    opener = build_opener(_Redirects())
    try:
        largest_first = sorted(wheels, key=lambda wheel: -(wheel.size_bytes or 0))
        futures = [(wheel, pool.submit(_fetch, wheel, to, opener, index, most_bytes, tell)) for wheel in largest_first]
        yield _arrived(futures)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _arrived(futures: Sequence[tuple[Wheel, Future[Path]]]) -> Iterator[tuple[Wheel, Path]]:
    for wheel, future in futures:
        yield wheel, future.result()


def _fetch(wheel: Wheel, to: Path, opener: OpenerDirector, index: str, most_bytes: int, tell: Callable[[int], object]) -> Path:  # noqa: PLR0913, PLR0917
    path = to / wheel.filename
    allowed = most_bytes if wheel.size_bytes is None else wheel.size_bytes
    digest, received = hashlib.sha256(), 0
    try:
        with opener.open(_request(wheel.url, index), timeout=_SECONDS) as response, open(path, "xb") as file:
            while piece := response.read(_PIECE):
                received += len(piece)
                if received > allowed:
                    raise _too_large(received, allowed, wheel)
                digest.update(piece)
                file.write(piece)
                tell(len(piece))
    except (URLError, TimeoutError, ConnectionError) as error:
        reason = escape(str(getattr(error, "reason", error)), most=200)
        raise CellholdError(f"cannot fetch {wheel.filename} from {escape(without_login(wheel.url), most=200)}: {reason}") from error
    if digest.hexdigest() != wheel.sha256:
        raise InvalidSpec(
            f"cannot install {wheel.name} {wheel.version}: {wheel.filename} has another hash than the index says",
            hint="it was cut off on the way, or is not what was published",
        )
    return path


def _request(url: str, index: str) -> Request:
    parts, own = urlsplit(url), urlsplit(index)
    if parts.scheme not in _SCHEMES or (own.scheme == "https" and parts.scheme != "https"):
        raise InvalidSpec(f"cannot fetch {escape(without_login(url), most=200)}: an index names http or https URLs, and https only https")
    request = Request(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="")))  # noqa: S310  # checked
    login = parts if parts.username else own
    if parts.hostname == own.hostname and login.username:
        words = f"{unquote(login.username)}:{unquote(login.password or '')}"
    else:
        words = _of_netrc(parts.hostname or "")
    if words:
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(words.encode()).decode()}")
    return request


def _of_netrc(host: str) -> str:
    from netrc import NetrcParseError, netrc  # noqa: PLC0415  # few have one

    path = os.environ.get("NETRC") or os.path.join(os.environ.get("HOME", "/nonexistent"), ".netrc")
    try:
        found = netrc(path).authenticators(host)
    except (OSError, NetrcParseError, UnicodeDecodeError):
        return ""
    return "" if found is None else f"{found[0]}:{found[2]}"


class _Redirects(HTTPRedirectHandler):
    """Follow none from https to http, and none to anything else."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:  # noqa: PLR0913, PLR0917  # as it is called
        """Return the next request, None for one that is not followed."""
        scheme = urlsplit(newurl).scheme
        if scheme not in _SCHEMES or (urlsplit(req.full_url).scheme == "https" and scheme != "https"):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _too_large(count: int, most_bytes: int, wheel: Wheel | None = None) -> InvalidSpec:
    what = "the packages" if wheel is None else f"{wheel.name} {wheel.version}"
    return InvalidSpec(
        f"cannot install {what}: {size(count)} or more to fetch, and {size(most_bytes)} are the most",
        hint="packages-size in the machine's policy is the most that a set may take",
    )
