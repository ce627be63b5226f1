"""One exchange over HTTP: where a request may go, and what it may carry there.

Keys and retries are handled elsewhere.

- Plain http only to hosts that are configured, or on this machine; never from https to
  http.
- A redirect loses the key for good as soon as it leaves the registry's own origin
  (scheme, host, port).
- A registry on another machine cannot send us to services of this one.
"""

from __future__ import annotations

import ipaddress
import ssl
import threading
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from urllib3 import PoolManager, ProxyManager, Timeout
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import parse_url

from cellhold.errors import NotSupported, RegistryFailed
from cellhold.image.fields import quote
from cellhold.image.registry import reading, refusals
from cellhold.image.registry.lines import Lines
from cellhold.image.registry.settings import is_loopback
from cellhold.spec.tracing import step

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse
    from urllib3.util import Url

    from cellhold.image.registry.request import Request
    from cellhold.image.registry.settings import Endpoint, Settings

MOST_REDIRECTS = 5
_MOST_CONNECTIONS = 16
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_HEADERS = {"User-Agent": "cellhold", "Accept-Encoding": "identity"}  # a digest is of the bytes as they are stored


class Wire:
    """Connections to one endpoint, and to where it sends us.

    These are redirects, its token server, its storage.
    """

    def __init__(self, settings: Settings, endpoint: Endpoint) -> None:
        self.settings = settings
        self._home = parse_url(endpoint.url)
        self._ca = endpoint.ca
        self._pools: dict[tuple[str, str | None], PoolManager] = {}
        self._lines = Lines()
        self._lock = threading.Lock()

    def exchange(self, request: Request, key: str | None = None) -> BaseHTTPResponse:
        """Send a request and return the answer, its body unread.

        key: the Authorization header, for the origin of the request's address only.
        Raises RegistryFailed, or Again, if there is no answer.
        """
        first, url = origin(request.url), request.url
        for _ in range(MOST_REDIRECTS + 1):
            self._check(url, request.aim)
            key = key if origin(url) == first else None
            response = self._send(request, url, key)
            if response.status not in _REDIRECTS or request.method not in ("GET", "HEAD"):
                return response
            url = joined(url, response.headers.get("Location", ""))
            reading.settle(response, self.settings.patience)
        raise RegistryFailed(f"cannot {request.aim}: it redirects more than {MOST_REDIRECTS} times", status=response.status)

    def close(self) -> None:
        """Close idle connections, and cut the others; no more are opened."""
        self._lines.cut()
        with self._lock:
            managers = list(self._pools.values())
        for manager in managers:
            for key in manager.pools.keys():  # noqa: SIM118  # a container of urllib3's own, which cannot be iterated over
                manager.pools[key].close()  # clear() alone leaves that to the garbage collector
            manager.clear()

    def _send(self, request: Request, url: str, key: str | None) -> BaseHTTPResponse:
        try:
            with step("registry.ask", f"{request.method} {url.partition('?')[0]}"):  # a query can hold a signature
                return self._pool(url).urlopen(
                    request.method,
                    url,
                    body=request.body() if request.body else None,
                    headers={**_HEADERS, **request.headers} | ({"Authorization": key} if key else {}),
                    redirect=False,
                    retries=False,
                    preload_content=False,
                    decode_content=False,
                )
        except HTTPError as error:
            raise refusals.connection_failure(error, request.aim) from error

    def _check(self, url: str, aim: str) -> None:
        """Raise RegistryFailed for an address where nothing is to be sent."""
        parts = _split(url)
        if parts is None or not parts.host or parts.scheme not in ("http", "https"):
            raise RegistryFailed(f"cannot {aim}: it sends us to {quote(url)}, which is not an http or https address")
        if parts.scheme == "http" and (self._home.scheme == "https" or not self.settings.may_be_plain(str(parts.netloc))):
            raise RegistryFailed(
                f"cannot {aim}: it sends us to plain http at {quote(str(parts.netloc))}",
                hint="a registry behind a proxy must know its https address; or allow it: insecure = true in registries.toml",
            )
        if _is_inside(parts.host) and not _is_inside(self._home.host or ""):
            raise RegistryFailed(f"cannot {aim}: it sends us to {quote(str(parts.netloc))}, an address inside this machine")

    def _pool(self, url: str) -> PoolManager:
        parts = parse_url(url)
        place = (str(parts.scheme), _proxy(parts))
        with self._lock:
            if place not in self._pools:
                self._pools[place] = self._new_pool(*place)
            return self._pools[place]

    def _new_pool(self, scheme: str, proxy: str | None) -> PoolManager:
        patience = self.settings.patience
        timeout = Timeout(connect=patience.connect_seconds, read=patience.read_seconds)
        context = self._context() if scheme == "https" else None  # one for all: reading the machine's certificates takes 20 ms
        made = (
            ProxyManager(proxy, maxsize=_MOST_CONNECTIONS, timeout=timeout, ssl_context=context)
            if proxy
            else PoolManager(maxsize=_MOST_CONNECTIONS, timeout=timeout, ssl_context=context)
        )
        self._lines.serve(made)
        return made

    def _context(self) -> ssl.SSLContext:
        context = self._lines.context(ssl.create_default_context())
        if self._ca is None:
            return context
        try:
            context.load_verify_locations(cafile=self._ca)
        except OSError as error:  # ssl.SSLError is one
            raise NotSupported(f"cannot trust ca = {self._ca!r}: {error}", hint="name a file of certificates in PEM form") from error
        return context


def origin(url: str) -> tuple[str | None, str | None, int | None] | None:
    """Return scheme, host and port (RFC 6454): what a key is bound to.

    None if `url` is not an address.
    """
    parts = _split(url)
    return (parts.scheme, parts.host, parts.port or {"http": 80, "https": 443}.get(parts.scheme or "")) if parts else None


def joined(url: str, location: str) -> str:
    """Return where a Location or Link header leads from `url`.

    A malformed address is returned unchanged, and is refused when it is to be
    requested.
    """
    try:
        return urljoin(url, location)
    except ValueError:
        return location


def _split(url: str) -> Url | None:
    """Return the parts of an address as urllib3 sees them, which will connect.

    Another parser may see another host in a hostile address.
    """
    try:
        parts = parse_url(url)
    except LocationParseError:
        return None
    return None if parts.auth is not None else parts


def _is_inside(host: str) -> bool:
    """Return whether only this machine, or its own link, has that address.

    169.254.169.254 serves clouds' secrets.
    """
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return is_loopback(host)
    return address.is_loopback or address.is_link_local or address.is_unspecified


def _proxy(parts: Url) -> str | None:
    """Return the proxy of the environment (https_proxy, no_proxy ...).

    None for this machine, as in programs written in Go.
    """
    if is_loopback((parts.host or "").strip("[]")) or urllib.request.proxy_bypass_environment(str(parts.netloc)):  # type: ignore[attr-defined]  # not in typeshed
        return None
    return urllib.request.getproxies_environment().get(parts.scheme or "")
