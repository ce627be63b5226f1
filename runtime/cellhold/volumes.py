"""Volumes as docker's and podman's users write them: HOST:DIR[:ro|rw|O] and DIR[:size=SIZE], as values of Spec.mounts."""

from __future__ import annotations

import os

from cellhold.errors import InvalidSpec
from cellhold.quantity import parse_size
from cellhold.spec import Mount

_WITH_OPTION = 2
_OPTIONS = ("ro", "rw", "O")


def volume(text: str) -> Mount:
    """HOST:DIR[:ro|rw|O] as a bind, with O as podman's overlay, whose changes are thrown away.

    A relative HOST begins with "."; a name instead of a path would be a named volume, which this version has not. Raises InvalidSpec.
    """
    source, *rest = text.split(":")
    if not 1 <= len(rest) <= _WITH_OPTION or (len(rest) == _WITH_OPTION and rest[1] not in _OPTIONS):
        raise InvalidSpec(f"cannot use volume={text}: not HOST:DIR, HOST:DIR:ro, HOST:DIR:rw or HOST:DIR:O (changes are thrown away)")
    if not source.startswith(("/", ".")):
        raise InvalidSpec(f"cannot use volume={text}: named volumes are not in this version", hint=f"write a path: ./{source}:{rest[0]}")
    option = rest[1] if len(rest) == _WITH_OPTION else "rw"
    kind = "overlay" if option == "O" else "bind"
    return Mount(kind=kind, source=os.path.abspath(source), target=rest[0], read_only=option == "ro")


def tmpfs(text: str) -> Mount:
    """DIR[:size=SIZE[,ro]] as an empty tmpfs; raises InvalidSpec."""
    target, _, options = text.partition(":")
    size, read_only = None, False
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        if name == "size":
            size = parse_size(value, key="tmpfs size")
        elif name in ("ro", "rw"):
            read_only = name == "ro"
        else:
            raise InvalidSpec(f"cannot use tmpfs={text}: option {name} is not known", hint="size=64m, ro or rw")
    return Mount(kind="tmpfs", target=target, size_bytes=size, read_only=read_only)
