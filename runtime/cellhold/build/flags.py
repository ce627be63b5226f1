"""The --flags of a Dockerfile's instructions, and which are not supported here.

What their values mean is decided by the code that performs the instruction.
"""

from __future__ import annotations

from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_WITH_VALUE = {
    "FROM": ("platform",),
    "COPY": ("from", "chown", "chmod"),
    "ADD": ("chown", "chmod"),
    "RUN": ("network",),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
}
_SWITCHES = {"COPY": ("link",), "ADD": ("link",)}
_NOT_YET = {
    "COPY": ("parents", "exclude"),
    "ADD": ("exclude", "keep-git-dir", "checksum", "unpack"),
    "RUN": ("mount", "security", "device"),
}
_TRUTH = {"": True, "true": True, "false": False}
_NETWORKS = ("none", "default")


class FlagRefused(ValueError):
    """A flag that is unknown, or whose value is wrong.

    hint: what would be right.
    """

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


def parse(keyword: str, given: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """Return the flags of an instruction by name.

    A switch that is on has the value "true". Raises FlagRefused.
    """
    flags: dict[str, tuple[str, ...]] = {}
    for text in given:
        name, equals, value = text.removeprefix("--").partition("=")
        _check_name(keyword, name)
        if name in flags:
            raise FlagRefused(f"--{name} is there twice")
        if name in _SWITCHES.get(keyword, ()):
            if value.lower() not in _TRUTH:
                raise FlagRefused(f"--{name} is on or off, not {value!r}", f"write --{name}, --{name}=true or --{name}=false")
            value = "true" if _TRUTH[value.lower()] else "false"
        elif not equals or not value:
            raise FlagRefused(f"--{name} has no value", f"write --{name}=VALUE")
        flags[name] = (value,)
    _check_values(keyword, flags)
    return MappingProxyType(
        {name: values for name, values in flags.items() if values != ("false",) or name not in _SWITCHES.get(keyword, ())}
    )


def _check_name(keyword: str, name: str) -> None:
    known = (*_WITH_VALUE.get(keyword, ()), *_SWITCHES.get(keyword, ()))
    if name in _NOT_YET.get(keyword, ()):
        raise FlagRefused(f"{keyword} --{name} is not supported yet")
    if name in known:
        return
    near = get_close_matches(name, known, n=1)
    if near:
        raise FlagRefused(f"{keyword} has no flag --{name[:100]}", f"did you mean --{near[0]}?")
    hint = "its flags are " + ", ".join(f"--{one}" for one in known) if known else None
    raise FlagRefused(f"{keyword} has no flag{'' if known else 's,'} --{name[:100]}", hint)


def _check_values(keyword: str, flags: Mapping[str, tuple[str, ...]]) -> None:
    network = flags.get("network", _NETWORKS)[-1]
    if network not in _NETWORKS:
        raise FlagRefused(f"{keyword} --network={network[:100]} is not supported yet", "--network=none and --network=default are")
    if "$" in flags.get("from", ("",))[-1]:
        raise FlagRefused("variables are not replaced in --from", "name a stage: FROM $IMAGE AS parts, and COPY --from=parts")
