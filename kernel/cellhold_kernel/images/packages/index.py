"""The one package index that this host is configured for.

Read in this order; the first that says something holds, alone: with two indexes,
whoever may publish on one of them answers for the names of the other.

    policy.toml      [ceilings] packages-index
    CELLHOLD_INDEX, UV_DEFAULT_INDEX, UV_INDEX_URL, PIP_INDEX_URL
    uv.toml          of the user, then of the machine: [[index]] or index-url
    pip.conf         of the user, then of the machine: index-url
    PyPI

Nothing that a notebook says comes in: no metadata, no script block, no lock.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from cellhold.errors import InvalidSpec
from cellhold.linux import hostpath

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PYPI = "https://pypi.org/simple"
VARIABLES = ("CELLHOLD_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
_LARGEST = 1 << 20  # bytes of a configuration file
_LONGEST = 2000
_SECTION = re.compile(r"\s*\[([\w.-]+)\]\s*")
_OPTION = re.compile(r"index[-_]url\s*[=:]\s*(\S+)\s*", re.IGNORECASE)
_PIP_SECTIONS = ("global", "install", "download")


def configured(policy: str | None = None, env: Mapping[str, str] = os.environ) -> str:
    """Return the URL of the index.

    policy: what the machine's policy says. Raises InvalidSpec.
    """
    for source, url in _sources(policy, env):
        if url:
            return check(url, source)
    return PYPI


def check(url: str, source: str) -> str:
    """Return the URL without a slash at its end.

    Raises InvalidSpec for one that is not of an index.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or len(url) > _LONGEST or not url.isprintable() or " " in url:
        raise InvalidSpec(
            f"cannot use the package index that {source} names: not an http or https URL",
            hint="an index is a URL such as https://pypi.org/simple",
        )
    return url.rstrip("/")


def without_login(url: str) -> str:
    """Return the URL as it may be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _sources(policy: str | None, env: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    yield "the machine's policy", policy
    for name in VARIABLES:
        yield name, env.get(name)
    home = Path(env.get("HOME") or "/nonexistent")
    user = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    for path in (user / "uv/uv.toml", Path("/etc/uv/uv.toml")):
        yield str(path), _of_uv(path)
    own = [Path(env["PIP_CONFIG_FILE"])] if env.get("PIP_CONFIG_FILE") else []
    for path in (*own, user / "pip/pip.conf", home / ".pip/pip.conf", Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf")):
        yield str(path), _of_pip(path)


def _of_uv(path: Path) -> str | None:
    text = _text(path)
    if text is None:
        return None
    import tomllib  # noqa: PLC0415  # 10 ms, and few have such a file

    try:
        table: dict[str, Any] = tomllib.loads(text)
    except ValueError as error:
        raise InvalidSpec(f"cannot read {path}: {error}") from None
    listed = table.get("index")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and one.get("default") is True and isinstance(one.get("url"), str):
            return str(one["url"])
    pip = table.get("pip")
    for place in (table, pip if isinstance(pip, dict) else {}):
        for name in ("default-index", "index-url"):
            if isinstance(place.get(name), str):
                return str(place[name])
    return None


def _of_pip(path: Path) -> str | None:
    section = ""
    for line in (_text(path) or "").splitlines():
        if found := _SECTION.fullmatch(line):
            section = found[1]
        elif section in _PIP_SECTIONS and (option := _OPTION.fullmatch(line)):
            return option[1]
    return None


def _text(path: Path) -> str | None:
    if path.is_absolute():
        with suppress(OSError, UnicodeDecodeError):
            return hostpath.read(path, _LARGEST).decode()
    return None
