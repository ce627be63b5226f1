"""The user's logins at registries, as docker keeps them.

They are in ~/.docker/config.json (or in DOCKER_CONFIG), and in the helpers that it
names.

auths        {"localhost:5000": {"auth": base64 of USER:PASSWORD, "identitytoken": ...}}
credHelpers  {"registry.example": NAME}   docker-credential-NAME knows it
credsStore   NAME                         it knows all others
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cellhold.errors import ImageRefused, InvalidSpec
from cellhold.image import fields
from cellhold.image.registry import helpers
from cellhold.image.registry.login import Login
from cellhold.linux import hostpath

if TYPE_CHECKING:
    from threading import Event

    from cellhold.image.fields import Field

_MOST_BYTES = 1 << 20


class Logins:
    """The logins of one config.json; it is read when a registry first asks."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker", "config.json")

    def find(self, registry: str, *, stopped: Event | None = None) -> Login | None:
        """Return the login at that registry; None if there is none.

        docker.io's name is "https://index.docker.io/v1/".
        stopped: once it is set, a helper is not waited for any more.
        Raises InvalidSpec for a file that cannot be understood, RegistryFailed if a
        helper fails.
        """
        try:
            document = self._read()
            if document is None:
                return None
            helper = _helper(document, registry)
            return (helpers.ask(helper, registry, stopped=stopped) if helper else None) or _stored_login(document["auths"], registry)
        except ImageRefused as error:  # it is not an image, but is read as carefully
            raise InvalidSpec(f"cannot use {self.path}: {error}", hint="log in again with docker login, or remove it") from error

    def _read(self) -> Field | None:
        try:
            return fields.read(hostpath.read(self.path, _MOST_BYTES), "config.json", most_bytes=_MOST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InvalidSpec(f"cannot use {self.path}: {error.strerror}", hint="or set DOCKER_CONFIG to another directory") from error


def host_of(name: str) -> str:
    """Return the host and port of a registry's name.

    The name may be written as an address: https://registry.example/v1/.
    """
    return urlsplit(name if "://" in name else f"//{name}").netloc


def _helper(document: Field, registry: str) -> str | None:
    for name in (registry, host_of(registry)):
        if named := document["credHelpers"][name].optional_text():
            return named
    return document["credsStore"].optional_text()


def _stored_login(auths: Field, registry: str) -> Login | None:
    wanted = host_of(registry)
    names = [registry] if registry in auths.mapping() else [name for name in auths.mapping() if host_of(name) == wanted]
    return _login(auths[names[0]]) if names else None


def _login(entry: Field) -> Login | None:
    token = entry["identitytoken"].optional_text()
    packed = entry["auth"].optional_text()
    if packed:
        try:
            username, colon, password = base64.b64decode(packed, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if not colon:
            raise entry["auth"].refused("it is not base64 of USER:PASSWORD")  # the text itself is a secret
        return Login(username=username, password=password.rstrip("\0"), identity_token=token)
    username, password = entry["username"].optional_text() or "", entry["password"].optional_text() or ""
    return Login(username=username, password=password, identity_token=token) if token or username else None
