"""registries.toml: how to reach registries.

Read from /etc/cellhold/registries.toml, and over it, key by key, from
~/.config/cellhold/registries.toml.

    [registry."localhost:5000"]
    insecure = true                     # plain http; only loopback has that by itself

    [registry."docker.io"]
    mirrors = ["https://mirror.example"]  # asked first, for pulls
    ca = "/etc/ssl/private-ca.pem"      # trusted besides the machine's
    push-chunk = "32m"                  # for proxies that refuse long requests

Logins are read elsewhere: logins.py.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cellhold.errors import InvalidSpec
from cellhold.image.reference import DEFAULT_REGISTRY
from cellhold.image.registry.patience import Patience
from cellhold.linux import hostpath
from cellhold.spec.units import parse_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MOST_BYTES = 1 << 20
_DOCKER_HOST = "registry-1.docker.io"  # where docker.io's registry really is
_DOCKER_LOGIN = "https://index.docker.io/v1/"  # under which name docker keeps the login


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An address that requests go to.

    name: for people.
    url: without /v2/.
    login: the name of its credentials.
    ca: a file of certificates.
    """

    name: str
    url: str
    login: str
    ca: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is asked without TLS."""
        return self.url.startswith("http:")


@dataclass(frozen=True, kw_only=True)
class Section:
    """What the settings say of one registry. None: nothing."""

    insecure: bool | None = None
    mirrors: tuple[str, ...] = ()
    ca: str | None = None
    push_chunk_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of all registries.

    sections: by the registry's name, with its port.
    """

    sections: Mapping[str, Section] = field(default_factory=lambda: MappingProxyType({}))
    patience: Patience = field(default_factory=Patience)

    @classmethod
    def read(cls, paths: Iterable[Path] | None = None) -> Settings:
        """Read the files, the later over the earlier.

        Raises InvalidSpec for a file that cannot be read or understood.
        """
        tables: dict[str, dict[str, Any]] = {}
        for path in default_paths() if paths is None else paths:
            for name, table in _tables(path).items():
                tables[name] = tables.get(name, {}) | _checked(table, name, path)
        return cls(sections=MappingProxyType({name: Section(**table) for name, table in tables.items()}))

    def section(self, registry: str) -> Section:
        """Return the settings of that registry."""
        return self.sections.get(registry, Section())

    def endpoint(self, registry: str) -> Endpoint:
        """Return the endpoint of the registry itself."""
        ca = self.section(registry).ca
        if registry == DEFAULT_REGISTRY:
            return Endpoint(name=registry, url=f"https://{_DOCKER_HOST}", login=_DOCKER_LOGIN, ca=ca)
        scheme = "http" if self.may_be_plain(registry) else "https"
        return Endpoint(name=registry, url=f"{scheme}://{registry}", login=registry, ca=ca)

    def mirrors(self, registry: str) -> tuple[Endpoint, ...]:
        """Return the registry's mirrors, in the order to try them.

        Raises InvalidSpec for a plain one that is not marked as insecure.
        """
        return tuple(map(self._mirror, self.section(registry).mirrors))

    def may_be_plain(self, authority: str) -> bool:
        """Return whether HOST[:PORT] may be reached without TLS.

        So it may if that is configured, and on this machine, unless it has a `ca`.
        """
        section = self.section(authority)
        if section.insecure is not None:
            return section.insecure
        return section.ca is None and is_loopback(urlsplit(f"//{authority}").hostname or "")

    def _mirror(self, url: str) -> Endpoint:
        authority = urlsplit(url).netloc
        if url.startswith("http:") and not self.may_be_plain(authority):
            raise InvalidSpec(
                f"cannot use the mirror {url!r}: plain http is not allowed for it",
                hint=f'[registry."{authority}"] insecure = true allows it',
            )
        return Endpoint(name=authority, url=url.rstrip("/"), login=authority, ca=self.section(authority).ca)


def default_paths() -> tuple[Path, Path]:
    """Return the paths of the machine's file and of the user's."""
    user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path("/etc/cellhold/registries.toml"), user / "cellhold/registries.toml"


def is_loopback(host: str) -> bool:
    """Return whether that name or address is this machine by its very spelling."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _tables(path: Path) -> dict[str, Any]:
    try:
        content = hostpath.read(path, _MOST_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _broken(path, str(error.strerror)) from error
    import tomllib  # noqa: PLC0415  # 10 ms, and most machines have no such file

    try:
        document = tomllib.loads(content.decode())
    except ValueError as error:  # not UTF-8, not TOML
        raise _broken(path, str(error)) from error
    tables = document.pop("registry", {})
    if document or not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise _broken(path, 'it has something else than tables [registry."NAME"]')
    return tables


def _checked(table: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    """Return the arguments of a Section."""
    section = f'[registry."{name}"]'
    kinds: dict[str, type] = {"insecure": bool, "mirrors": list, "ca": str, "push-chunk": str}
    for key, value in table.items():
        if not isinstance(value, kinds.get(key, ())):
            raise _broken(
                path, f"{section} {key} = {value!r} is not one of: insecure = true, mirrors = [URL ...], ca = FILE, push-chunk = SIZE"
            )
    arguments = {key: value for key, value in table.items() if key in ("insecure", "ca")}
    if "push-chunk" in table:
        arguments["push_chunk_bytes"] = parse_size(table["push-chunk"], key=f"{path}: {section} push-chunk") or None
    if "mirrors" in table:
        arguments["mirrors"] = tuple(_url(url, section, path) for url in table["mirrors"])
    return arguments


def _url(url: Any, section: str, path: Path) -> str:
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise _broken(path, f"{section} mirrors: {url!r} is not an address such as https://mirror.example")
    return str(url)


def _broken(path: Path, reason: str) -> InvalidSpec:
    return InvalidSpec(f"cannot use the settings {path}: {reason}", hint="correct the file, or remove it")
