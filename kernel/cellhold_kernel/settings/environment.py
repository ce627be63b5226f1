"""A notebook container's environment: `env`, and what this machine passes on.

Nothing of the host's environment gets into a container by itself: a server's has tokens
and passwords. A kernelspec, which is this machine's own, says which variables do:

    "env": {"OMP_NUM_THREADS": "4"}          of kernel.json, as Jupyter sets it
    "metadata": {"cellhold": {"env_passthrough": ["JUPYTERHUB_*"]}}
                                             patterns as in fnmatch(3)

TZ and LANG are passed on as well, where the image has none of its own. `env` of the
keys (%container env="A=1 B=2") comes on top of all that.
"""

from __future__ import annotations

import os
import re
import shlex
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from cellhold.errors import InvalidSpec
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PASSTHROUGH = "env_passthrough"
_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*[*]?", re.ASCII)
_SHOWN = 64
_MOST_BYTES = 64 << 10  # of all variables that a notebook asks for; execve(2) takes 128 KiB of one
_LOCALTIME, _ZONES = "/etc/localtime", "/zoneinfo/"


class Environment(NamedTuple):
    """Variables of this machine that a container gets.

    passed: as the kernelspec says. locale: TZ and LANG, for an image without its own.
    """

    passed: Mapping[str, str] = MappingProxyType({})
    locale: Mapping[str, str] = MappingProxyType({})


def parse(text: str, key: str) -> Mapping[str, str]:
    """Parse NAME=VALUE words, quoted as in a shell. Raises InvalidSpec."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidSpec(f"cannot read {key}={escape(text, most=_SHOWN)}: {error}", hint="close the quotation mark") from error
    if len(os.fsencode(text)) > _MOST_BYTES:
        raise InvalidSpec(f"cannot use {key}: {len(os.fsencode(text))} bytes, above {_MOST_BYTES}", hint="keep it in a file")
    variables = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals or "\0" in word:
            raise InvalidSpec(
                f"cannot use {key}={escape(word, most=_SHOWN)}: not NAME=VALUE",
                hint=f"""{key}="A=1 B='two words'"; a kernelspec's {PASSTHROUGH} passes this machine's own on""",
            )
        variables[name] = value
    return MappingProxyType(variables)


def patterns(value: Any) -> tuple[str, ...]:
    """Read the list of a kernelspec's `env_passthrough`. Raises ValueError."""
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError(f"{PASSTHROUGH} is not a list of names")
    for word in value:
        if not _PATTERN.fullmatch(word):
            raise ValueError(
                f"{PASSTHROUGH}: {escape(word, most=_SHOWN)} is not the name of a variable, with or without * at its end:"
                " a server's whole environment is never passed on"
            )
    return tuple(value)


def of_kernelspec(document: Mapping[str, Any], names: Iterable[str], environ: Mapping[str, str]) -> Environment:
    """Return what of `environ` a kernelspec passes on.

    document: kernel.json; its own `env` is among it, with the values that Jupyter has
    given us (start_kernel(env=), ${NAME}). names: patterns(). Raises ValueError.
    """
    own = document.get("env", {})
    if not isinstance(own, dict):
        raise ValueError("env is not an object: write {NAME: VALUE}")  # noqa: TRY004  # a document that cannot be used
    wanted = tuple(names)
    passed = {name: value for name, value in environ.items() if name in own or any(fnmatchcase(name, pattern) for pattern in wanted)}
    return Environment(MappingProxyType(passed), locale(environ))


def locale(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return this machine's TZ and LANG.

    Without TZ, it is the zone that /etc/localtime links to, if that is a link.
    """
    found = {name: environ[name] for name in ("TZ", "LANG") if environ.get(name)}
    if "TZ" not in found:
        try:
            _, is_zone, zone = os.readlink(_LOCALTIME).partition(_ZONES)
        except OSError:
            is_zone = ""
        if is_zone:
            found["TZ"] = zone
    return MappingProxyType(found)
