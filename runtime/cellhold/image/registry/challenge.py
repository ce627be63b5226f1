"""The WWW-Authenticate header: which authentication a registry wants.

RFC 9110, 11.6.1; distribution's docs/spec/auth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_WORD = re.compile(r'\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?')
_MOST = 8 << 10


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """One challenge.

    scheme: "bearer", "basic", ...
    parameters: realm, service ..., with lower-case names.
    """

    scheme: str
    parameters: Mapping[str, str]


def parse(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Parse the challenges in those headers; a syntax error ends a header."""
    return tuple(challenge for header in headers for challenge in _parse(header[:_MOST]))


def choose(challenges: Iterable[Challenge]) -> Challenge | None:
    """Return the challenge to answer: a token exposes the password to fewer parties."""
    known = {challenge.scheme: challenge for challenge in challenges}
    return known.get("bearer") or known.get("basic")


def _parse(header: str) -> list[Challenge]:
    found: list[tuple[str, dict[str, str]]] = []
    at = 0
    while match := _WORD.match(header, at):
        at = match.end()
        name, quoted, plain = match.groups()
        if quoted is None and plain is None:
            found.append((name.lower(), {}))
        elif found:
            found[-1][1][name.lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return [Challenge(scheme=scheme, parameters=MappingProxyType(parameters)) for scheme, parameters in found]
