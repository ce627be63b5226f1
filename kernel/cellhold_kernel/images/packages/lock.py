"""What a uv.lock says, read as a stranger's text; and what a wheel of it is.

A lock that comes with a notebook is only believed about names, versions and hashes:
`pins()`. Its URLs are never asked; what it names is looked for at the index of this
host, and has to have a hash that it lists.

https://docs.astral.sh/uv/concepts/projects/layout/#the-lockfile
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cellhold.errors import InvalidSpec
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.requirements import normalize, parse_moment

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 2 << 20  # bytes of a lock
_MOST_PACKAGES = 2000
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]{0,99}", re.ASCII)
_HASH = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_SHOWN = 200
_HINT = "remove it from the notebook's metadata (uv.lock), or write it again: juv lock"


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A file to fetch. size_bytes: None where the index does not say."""

    name: str
    version: str
    filename: str
    url: str
    sha256: str
    size_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Pins:
    """What a lock pins.

    versions: name -> all that it has of it. hashes: of any of its files, sha256 in
    hexadecimal digits.

    exclude_newer: what was published after that moment does not exist; None: all does.
    """

    versions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    hashes: frozenset[str] = frozenset()
    exclude_newer: str | None = None

    def constraints(self) -> Iterator[str]:
        """Yield a requirement for each name that has one version."""
        for name, versions in sorted(self.versions.items()):
            if len(versions) == 1:
                yield f"{name}=={versions[0]}"


def pins(text: str) -> Pins:
    """Parse a lock. Raises InvalidSpec for what is none."""
    document = _document(text)
    versions: dict[str, list[str]] = {}
    hashes: set[str] = set()
    packages = document.get("package", [])
    if not isinstance(packages, list) or len(packages) > _MOST_PACKAGES:
        raise _broken("it has no list of packages, or too many")
    for package in packages:
        name, version = _text(package, "name", _NAME), package.get("version")
        if version is None:  # of a project that has none
            continue
        versions.setdefault(normalize(name), []).append(_text(package, "version", _VERSION))
        files = package.get("wheels", [])
        for file in files if isinstance(files, list) else []:
            found = _text(file, "hash", _HASH) if isinstance(file, dict) and "hash" in file else None
            if found:
                hashes.add(found.removeprefix("sha256:"))
    options = document.get("options")
    newer = options.get("exclude-newer") if isinstance(options, dict) else None
    return Pins(
        versions={name: tuple(dict.fromkeys(found)) for name, found in versions.items()},
        hashes=frozenset(hashes),
        exclude_newer=None if newer is None else parse_moment(str(newer), "exclude-newer of the lock"),
    )


def _document(text: str) -> dict[str, Any]:
    if len(text) > LARGEST:
        raise _broken(f"it has more than {LARGEST >> 20} MiB")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _broken(escape(str(error), most=_SHOWN)) from None


def _text(table: Any, name: str, form: re.Pattern[str]) -> str:
    value = table.get(name) if isinstance(table, dict) else None
    if not isinstance(value, str) or not form.fullmatch(value):
        raise _broken(f"{name} {escape(str(value), most=_SHOWN)!r} is none")
    return value


def _broken(reason: str) -> InvalidSpec:
    return InvalidSpec(f"cannot use the lock of the notebook's packages: {reason}", hint=_HINT)
