"""The form of names: containers, volumes, networks, hosts; and lengths of paths."""

from __future__ import annotations

import os
import re

from cellhold.errors import InvalidSpec

PATH_MAXIMUM, NAME_MAXIMUM = 4095, 255  # bytes, limits.h: PATH_MAX counts the NUL
_SHOWN = 80  # characters of a path in an error
_HOSTNAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,62}[a-zA-Z0-9])?")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")


def check_name(name: str) -> None:
    """Raise InvalidSpec for an invalid name of a container or a volume."""
    if not _NAME.fullmatch(name):
        raise InvalidSpec(f"cannot use name={name!r}: letters, digits, '_', '.' and '-', beginning with a letter or digit")


def check_length(path: str, verb: str) -> None:
    """Raise InvalidSpec for a path that is too long for the system calls.

    PATH_MAX and NAME_MAX of limits.h.
    """
    size = len(os.fsencode(path))
    if size > PATH_MAXIMUM:
        raise InvalidSpec(f"cannot {verb} {path[:_SHOWN]}...: its path has {size} bytes, at most {PATH_MAXIMUM} are possible")
    if any(len(os.fsencode(name)) > NAME_MAXIMUM for name in path.split("/")):
        raise InvalidSpec(f"cannot {verb} {path[:_SHOWN]}...: a name in it has more than {NAME_MAXIMUM} bytes")


def check_hostname(name: str) -> str:
    """Return the name; raise InvalidSpec for an invalid host name."""
    if not _HOSTNAME.fullmatch(name):
        raise InvalidSpec(f"cannot use hostname={name!r}: up to 64 letters, digits, dots and hyphens")
    return name
