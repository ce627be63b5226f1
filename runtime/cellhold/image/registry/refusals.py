"""Errors of a registry, or of the way to it: one sentence and a hint.

The registry's own words are quoted and cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from urllib3.exceptions import (
    ConnectTimeoutError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from cellhold.errors import ImageRefused, RegistryFailed
from cellhold.image import fields
from cellhold.image.fields import quote
from cellhold.image.registry import reading
from cellhold.image.registry.patience import Again, retry_after

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse
    from urllib3.exceptions import (
        HTTPError,
    )

    from cellhold.image.fields import Field
    from cellhold.image.registry.patience import Patience

TOO_MANY = 429
_PASSING = frozenset((408, TOO_MANY, 500, 502, 503, 504))
_MOST_BYTES = 16 << 10
_MOST_ERRORS = 3
_LOG_IN = "log in with docker login, or correct the login in Docker's config.json; or the repository does not exist"
_HINTS = {
    401: _LOG_IN,
    403: _LOG_IN,
    404: "look at the spelling of the name",
    TOO_MANY: "wait, or log in: registries bound what people without a name may pull",
}


def status_error(response: BaseHTTPResponse, aim: str, patience: Patience) -> RegistryFailed:
    """Return the error for an unexpected status.

    "cannot AIM: it answers 404 (MANIFEST_UNKNOWN: 'manifest unknown')".
    """
    reasons = _quote_errors(response, patience)
    return RegistryFailed(
        f"cannot {aim}: it answers {response.status}{f' ({reasons})' if reasons else ''}",
        status=response.status,
        hint=_HINTS.get(response.status),
    )


def status_failure(response: BaseHTTPResponse, aim: str, patience: Patience) -> RegistryFailed | Again:
    """Return the exception for an unexpected status: Again if it may pass."""
    failure = status_error(response, aim, patience)
    if response.status not in _PASSING:
        return failure
    return Again(failure, after_seconds=retry_after(response.headers.get("Retry-After")))


def connection_failure(error: HTTPError, aim: str) -> RegistryFailed | Again:
    """Return the exception for a request without an answer.

    It is Again, except for a bad certificate, which a retry does not make right.
    """
    failure = RegistryFailed(f"cannot {aim}: {_reason(error)}", hint=_way_out(error))
    return failure if isinstance(error, SSLError) else Again(failure)


def _reason(error: HTTPError) -> str:
    if isinstance(error, NameResolutionError):
        return "no host has that name"
    if isinstance(error, NewConnectionError):
        return f"it cannot be reached ({quote(str(error.__cause__ or error))})"
    if isinstance(error, (ReadTimeoutError, ConnectTimeoutError)):
        return "it does not answer in time"
    if isinstance(error, ProxyError):
        return f"the proxy cannot be used ({quote(str(error.original_error))})"
    if isinstance(error, SSLError):
        return f"there is no safe connection to it ({quote(str(error))})"
    return f"the connection broke ({quote(str(error))})"


def _way_out(error: HTTPError) -> str:
    if isinstance(error, SSLError):
        return "in registries.toml, ca = FILE trusts a certificate, and insecure = true allows plain http"
    return "is the name of the registry right, and the network up?"


def _quote_errors(response: BaseHTTPResponse, patience: Patience) -> str:
    """Return the errors of the body (distribution-spec, "Error Codes"), quoted.

    If it has none, the start of the body; empty if there is no body.
    """
    try:
        body = reading.whole(response, most_bytes=_MOST_BYTES, patience=patience)
    except (reading.Cut, reading.TooLong):
        return ""
    try:
        document = fields.read(body, "answer", most_bytes=_MOST_BYTES)
        return ", ".join([_error(entry) for entry in document["errors"].items()][:_MOST_ERRORS]) or _token_server_message(document)
    except ImageRefused:
        text = body.decode(errors="replace").strip()
        return quote(text) if text and "<html" not in text.lower() else ""


def _error(entry: Field) -> str:
    message = entry["message"].optional_text()
    code = entry["code"].optional_text() or "error"
    return f"{code if code.isascii() and code.isidentifier() and len(code) < 64 else quote(code)}: {quote(message or '')}"  # noqa: PLR2004


def _token_server_message(document: Field) -> str:
    """Return the message of a token server, quoted.

    {"details": "incorrect username or password"}, {"error_description": ...}.
    """
    texts = (document[key].value for key in ("details", "error_description", "message", "error"))
    return next((quote(text) for text in texts if text and isinstance(text, str)), "")
