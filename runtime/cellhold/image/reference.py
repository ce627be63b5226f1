"""The name of an image in a registry, as Docker reads and completes it.

"python:3.12" is docker.io/library/python:3.12.

    REFERENCE   [REGISTRY/]REPOSITORY[:TAG][@DIGEST]
    REGISTRY    the first part, if it has a dot, a colon or upper case, or is
                "localhost"; else docker.io
    REPOSITORY  lower case; a lone name of docker.io is in library/

The grammar is that of the distribution project's `reference` package, which docker,
podman and containerd share.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, replace
from typing import Self

from cellhold.errors import InvalidSpec
from cellhold.spec.digest import Digest

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
_OLD_DEFAULT_REGISTRY = "index.docker.io"
_SPELT_OUT = (f"{DEFAULT_REGISTRY}/", f"{_OLD_DEFAULT_REGISTRY}/")
_OFFICIAL = "library/"
_LONGEST_REPOSITORY = 255
_LONGEST = 1024  # nothing that is right is longer
_TOLD_MOST = 200

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")
_ID = re.compile(r"[a-f0-9]{64}")
_LARGEST_PORT = 65535
_NOTEBOOKS = "localhost/nb"  # and a notebook's id: the images that it has made
_LIKE_AN_ID = re.compile(r"library/[a-f0-9]{12,}")  # as long as those that `cellhold images` prints, or longer
_RESERVED = {
    "library/host": "that means this machine's own files",
    "library/scratch": "that means no image, in a Dockerfile",
    "library/sha256": "that is how a digest begins",
    "library/sha512": "that is how a digest begins",
}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """An image's name in its parts.

    registry: with its port, if one is named.
    repository: its path there.
    tag, digest: at least one is there after parse().
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the name `text`; without tag and digest, its tag is "latest".

        Raises InvalidSpec.
        """
        if _ID.fullmatch(text):
            raise _wrong(text, "64 hexadecimal digits are an image's id, no name of a repository")
        if not text or len(text) > _LONGEST:
            raise _wrong(text, f"{len(text)} characters are not a valid image name")
        rest, digest = _split_digest(text)
        registry, rest = _split_registry(rest)
        repository, colon, tag = rest.partition(":")
        if registry == DEFAULT_REGISTRY and "/" not in repository:
            repository = _OFFICIAL + repository
        _check(text, registry, repository, tag if colon else None)
        default = None if digest else DEFAULT_TAG
        return cls(registry=registry, repository=repository, tag=tag if colon else default, digest=digest)

    @property
    def selector(self) -> str:
        """The digest to request from a registry, or the tag if there is no digest."""
        return str(self.digest) if self.digest else self.tag or DEFAULT_TAG

    def with_digest(self, digest: Digest) -> Self:
        """Return the reference to exactly this content."""
        return replace(self, digest=digest)

    def familiar(self) -> str:
        """Format the reference in docker's short form.

        It is without docker.io and library/, unless parse() would take the rest for
        something else.
        """
        repository = self.repository
        if repository.startswith(_OFFICIAL) and repository.count("/") == 1:
            repository = repository.removeprefix(_OFFICIAL)
        if self.registry != DEFAULT_REGISTRY or ("/" in repository and is_registry(repository.partition("/")[0])):
            return str(self)
        return repository + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        """Format in full: docker.io/library/python:3.12@sha256:..."""
        return f"{self.registry}/{self.repository}{self._suffix()}"


def new_name(text: str, *, aim: str, owner: str = "") -> str:
    """Return `text` in full, checked as a new name of an image.

    aim: what for, as in "cannot AIM: ...". No name may read as something else that an
        image is called by: a digest, an id, the host image.
    owner: a notebook's id, "" = none; names below notebook_name() may be given by that
        notebook alone.
    Raises InvalidSpec.
    """
    wanted = Reference.parse(text)
    if wanted.digest is not None:
        raise InvalidSpec(f"cannot {aim}: a digest cannot be given as a name", hint="write REPOSITORY:TAG")
    lone = wanted.repository.removeprefix(_OFFICIAL)
    if wanted.registry == DEFAULT_REGISTRY and (reason := _RESERVED.get(wanted.repository)):
        raise InvalidSpec(f"cannot {aim}: no image can be called {lone}: {reason}", hint=f"write my/{lone}, say")
    if wanted.registry == DEFAULT_REGISTRY and _LIKE_AN_ID.fullmatch(wanted.repository):
        raise InvalidSpec(f"cannot {aim}: {lone[:_TOLD_MOST]} reads as the id of an image", hint=f"write my/{lone}, say")
    if notebook_of(wanted) not in (None, owner or None):
        raise InvalidSpec(f"cannot {aim}: names below {_NOTEBOOKS} are those of images that notebooks make")
    return str(wanted)


def notebook_name(owner: str, text: str) -> str:
    """Return the store's name of the image that a notebook calls `text`.

    No other owner has that name, whatever `text` is.
    owner: the notebook's id (cellhold.spec.spec.Spec.owner). Raises InvalidSpec for a
        name with a registry in it.
    """
    wanted = Reference.parse(text)
    if wanted.registry != DEFAULT_REGISTRY or text.startswith(_SPELT_OUT):
        short = wanted.familiar() if wanted.registry == DEFAULT_REGISTRY else wanted.repository
        raise _wrong(text, "a notebook's own image has no registry in its name", hint=f"write {short[:_TOLD_MOST]}")
    lone = wanted.repository.removeprefix(_OFFICIAL) if wanted.repository.count("/") == 1 else wanted.repository
    return str(Reference.parse(f"{_NOTEBOOKS}/{owner}/{lone}:{wanted.tag or DEFAULT_TAG}"))


def notebook_of(name: Reference) -> str | None:
    """Return the id of the notebook whose image that is; None for all other names."""
    if name.registry != _NOTEBOOKS.partition("/")[0]:
        return None
    below, *rest = name.repository.split("/")
    return rest[0] if below == _NOTEBOOKS.partition("/")[2] and rest else None


def _split_digest(text: str) -> tuple[str, Digest | None]:
    rest, at, digest = text.partition("@")
    try:
        return rest, Digest.parse(digest) if at else None
    except ValueError as error:
        raise _wrong(text, str(error)) from error


def _split_registry(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash or not is_registry(first):
        return DEFAULT_REGISTRY, text
    return (DEFAULT_REGISTRY if first == _OLD_DEFAULT_REGISTRY else first), rest


def is_registry(first: str) -> bool:
    """Return whether the part before the first slash names a registry."""
    return "." in first or ":" in first or first == "localhost" or first != first.lower()


def _check(text: str, registry: str, repository: str, tag: str | None) -> None:
    if not _REGISTRY.fullmatch(registry):
        raise _wrong(text, f"{registry!r} is not a registry's name")
    _check_address(text, registry)
    if repository != repository.lower():
        raise _wrong(text, "a repository's name has no upper case", hint=f"write {repository.removeprefix(_OFFICIAL).lower()}")
    if not _REPOSITORY.fullmatch(repository):
        raise _wrong(text, "a repository's name is made of a-z and 0-9, with single . _ or - between them, and / between its parts")
    if len(repository) > _LONGEST_REPOSITORY:
        raise _wrong(text, f"a repository's name has {_LONGEST_REPOSITORY} characters at most")
    if tag is not None and not _TAG.fullmatch(tag):
        raise _wrong(text, f"{tag!r} is not a tag: a tag has up to 128 of A-Z a-z 0-9 _ . -, and does not begin with . or -")


def _check_address(text: str, registry: str) -> None:
    """Refuse what the grammar allows but no connection can be made to."""
    host, colon, port = registry.rpartition(":") if not registry.endswith("]") else (registry, "", "")
    if colon and not 1 <= int(port) <= _LARGEST_PORT:
        raise _wrong(text, f"{port[:_TOLD_MOST]} is not a port: ports go from 1 to {_LARGEST_PORT}")
    if (host or registry).startswith("["):
        try:
            socket.inet_pton(socket.AF_INET6, (host or registry)[1:-1])
        except OSError:
            raise _wrong(text, f"{registry!r} is not a registry's name") from None


def _wrong(text: str, reason: str, hint: str = "write [REGISTRY/]REPOSITORY[:TAG][@DIGEST], as in python:3.12-slim") -> InvalidSpec:
    return InvalidSpec(f"cannot use image={text[:_TOLD_MOST]!r}: {reason}", hint=hint)
