"""The settings of a notebook's container: keys, sources, and how they merge.

Weakest first: built-in < the machine's policy < kernelspec metadata < the notebook's
own metadata < a `%container` line. Each source is a mapping key -> text, as a person
wrote it; `Settings.over` lays one over another and remembers the source of each value.
The gate turns the result into a Spec, within the policy's ceilings
(gate/containers.py). The same keys are the flags of `cellhold kernel install`.

A notebook may come from a stranger, so its own metadata is trusted less: it cannot use
directories of the host (volume=, a directory as image) unless the policy names them,
nor make its folder writable: that takes a cell, where everybody sees it.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from cellhold.errors import InvalidSpec
from cellhold.network import egress, ports
from cellhold.rootfs import volumes
from cellhold.spec import units
from cellhold.spec.fields import BY_KEY
from cellhold.spec.limits import Limits
from cellhold.spec.spec import LOOPBACK, STORAGES, Spec
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings import environment, requirements
from cellhold_kernel.settings.environment import Environment
from cellhold_kernel.settings.workspace import TARGET, WAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellhold.spec.spec import Mount, Port
    from cellhold_kernel.settings.requirements import PackageRequirement

UNLIMITED = "none"
GUARDS = ("warn", "interrupt", "pause")
_SHOWN = 64
_LEAST_MESSAGE = 1 << 20
_KERNEL = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Trust(IntEnum):
    """How far a source is trusted."""

    METADATA = 0  # travels with the notebook, unseen
    CELL = 1  # is seen, and run by a person
    HOST = 2  # is this machine's own


class Kind(IntEnum):
    """What a key sets."""

    SPEC = 0  # a field of Spec
    LIMIT = 1  # a field of Limits; "none" lifts it
    MOUNTS = 2  # entries of Spec.mounts; may be repeated in a line
    CELL = 3  # a limit of each cell, which the host kernel keeps (CellLimits); "none" lifts it
    PROGRAM = 4  # what runs in the container


class Guard(NamedTuple):
    """What happens when a cell comes near the memory limit.

    share: of the memory limit, 0 to 1. action: one of GUARDS.
    """

    share: float
    action: str


class Key(NamedTuple):
    """One key of the configuration."""

    field: str  # that it fills
    read: Callable[[str, str], Any]  # text, key -> value; raises InvalidSpec
    meaning: str  # for help texts
    kind: Kind = Kind.LIMIT


def _message(text: str, key: str) -> int:
    size = units.parse_size(text, key=key)
    if size < _LEAST_MESSAGE:
        raise InvalidSpec(f"cannot use {key}={text[:_SHOWN]}: a cell's messages need at least 1 MiB", hint=f"{key}=1m")
    return size


def _text(text: str, _key: str) -> str:
    return text


def _way(text: str, key: str) -> str:
    if text not in WAYS:
        raise InvalidSpec(f"cannot use {key}={text}: not a way to show the notebook's folder", hint=f"one of {', '.join(WAYS)}")
    return text


def _volumes(text: str, _key: str) -> tuple[Mount, ...]:
    return tuple(volumes.volume(word) for word in _words(text))


def _tmpfs(text: str, _key: str) -> tuple[Mount, ...]:
    return tuple(volumes.tmpfs(word) for word in _words(text))


def _ports(text: str, key: str) -> tuple[Port, ...]:
    published = tuple(port for word in _words(text) for port in ports.parse(word))
    if beyond := next((port for port in published if port.address != LOOPBACK), None):
        raise InvalidSpec(
            f"cannot use {key}={text[:_SHOWN]}: a notebook publishes on {LOOPBACK} only, not on {beyond.address}",
            hint=f"{key}={beyond.host or beyond.container}:{beyond.container}",
        )
    return published


def _egress(text: str, _key: str) -> str:
    return str(egress.parse(text))


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidSpec(f"cannot read {text[:_SHOWN]}: {error}", hint="close the quotation mark") from error


def _image(text: str, key: str) -> str:
    if not text.strip() or "\0" in text:
        raise InvalidSpec(
            f"cannot use {key}={text!r}: not the name of an image",
            hint="image=host, a directory (image=/srv/rootfs) or an OCI image (image=python:3.12)",
        )
    return text


def _kernel(text: str, key: str) -> str:
    if not _KERNEL.fullmatch(text):
        raise InvalidSpec(f"cannot use {key}={text[:_SHOWN]}: not the name of a kernel", hint="kernel=python3, kernel=ir or kernel=shell")
    return text.lower()


def _packages(text: str, key: str) -> tuple[PackageRequirement, ...]:
    return () if text == UNLIMITED else requirements.parse_list(text, key)


def _moment(text: str, key: str) -> str | None:
    return None if text == UNLIMITED else requirements.parse_moment(text, key)


def _guard(text: str, key: str) -> Guard:
    share, colon, action = text.partition(":")
    number = share.removesuffix("%")
    if not (number.isascii() and number.isdecimal() and len(number) < 4 and 1 <= int(number) <= 99):  # noqa: PLR2004  # digits, per cent
        raise InvalidSpec(f"cannot use {key}={text[:_SHOWN]}: not a share of the memory limit", hint=f"{key}=90% or {key}=90%:pause")
    if colon and action not in GUARDS:
        raise InvalidSpec(f"cannot use {key}={text[:_SHOWN]}: {action[:_SHOWN]!r} is not an action", hint=f"one of {', '.join(GUARDS)}")
    return Guard(int(number) / 100, action or GUARDS[0])


def _limits(*, of_network: bool) -> dict[str, Key]:
    """Return the keys of a container's limits (cellhold.spec.fields)."""
    rows = BY_KEY.values()
    return {field.key: Key(field.name, field.parse, field.key_help) for field in rows if field.needs_network is of_network}


KEYS: dict[str, Key] = {
    "image": Key(
        "image", _image, "the image: host (this machine's files, read-only), a directory, or an OCI image: python:3.12-slim", Kind.SPEC
    ),
    "kernel": Key("kernel", _kernel, "which kernel of the image: python3, shell, or a kernelspec's name", Kind.PROGRAM),
    "packages": Key("packages", _packages, "Python packages in front of the image's: polars, seaborn>=0.13; none", Kind.PROGRAM),
    "exclude-newer": Key("exclude_newer", _moment, "packages as they were on a day: 2026-11-30; none", Kind.PROGRAM),
    **_limits(of_network=False),
    "cell-time": Key("seconds", units.parse_seconds, "wall time of each cell: 30s, 1h", Kind.CELL),
    "output": Key("output_bytes", units.parse_size, "output of each cell: 10m", Kind.CELL),
    "message": Key("message_bytes", _message, "one message of a cell, such as its largest picture: 1g", Kind.CELL),
    "memory-guard": Key(
        "guard", _guard, f"what to do when a cell comes near the memory limit: 90% (warn), 90%:pause; {', '.join(GUARDS)}", Kind.CELL
    ),
    "network": Key(
        "network",
        _text,
        "the network: none, bridge, or one of your own; host and container:NAME if the machine's policy lists them",
        Kind.SPEC,
    ),
    "ports": Key("ports", _ports, "ports to publish on this machine's loopback: 8888:8888, or 8888 for any free port", Kind.SPEC),
    "egress": Key("egress", _egress, "allowed destinations: internet (public addresses), all, none, allow=NAME[:PORT],NETWORK", Kind.SPEC),
    **_limits(of_network=True),
    "storage": Key("storage", _text, f"where the writable layer is kept: {', '.join(STORAGES)}", Kind.SPEC),
    "hostname": Key("hostname", _text, "the host name", Kind.SPEC),
    "env": Key("env", environment.parse, "environment variables: NAME=VALUE", Kind.SPEC),
    "mount": Key(
        "mount",
        _way,
        f"the notebook's folder at {TARGET}: ro (changes stay in the container), new (new files go out), rw, none",
        Kind.MOUNTS,
    ),
    "volume": Key("mounts", _volumes, "a directory of the host or a volume: SOURCE:DIR[:ro|rw|O]", Kind.MOUNTS),
    "tmpfs": Key("mounts", _tmpfs, "an empty directory in memory: DIR[:size=SIZE]", Kind.MOUNTS),
}
REPEATED = frozenset({"volume", "tmpfs", "env"})  # several in a line, and flags that may be repeated


class Said(NamedTuple):
    """The text of a key, and its source.

    beneath: of a key of the notebook's metadata, what the key was before.
    """

    text: str
    source: str
    trust: Trust
    beneath: Said | None = None


@dataclass(frozen=True, kw_only=True)
class CellLimits:
    """What each cell may use; None = no limit. The host kernel enforces it."""

    seconds: float | None = None
    output_bytes: int | None = None
    message_bytes: int | None = 1 << 30
    guard: Guard | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The texts of all keys, not yet parsed.

    A wrong value is reported when the spec is made, and can be overridden before that.
    environment: variables of this machine that the kernelspec passes on.
    """

    said: Mapping[str, Said] = field(default_factory=lambda: MappingProxyType({}))
    environment: Environment = field(default_factory=Environment)

    def over(self, source: str, texts: Mapping[str, str], *, trust: Trust = Trust.HOST) -> Settings:
        """Return these settings with `texts` laid over them.

        Raises InvalidSpec for a key that does not exist.
        """
        for key in texts:
            if key not in KEYS:
                raise unknown(key, source)
        new = {key: Said(text, source, trust, self._beneath(key, trust)) for key, text in texts.items()}
        return replace(self, said=MappingProxyType({**self.said, **new}))

    def _beneath(self, key: str, trust: Trust) -> Said | None:
        """Return what holds without the metadata, which a new value of it overrides."""
        word = self.said.get(key) if trust is Trust.METADATA else None
        return word.beneath if word is not None and word.trust is Trust.METADATA else word

    def without_metadata(self) -> Settings:
        """Return the settings as they would be without the notebook's metadata."""
        left = {key: word.beneath if word.trust is Trust.METADATA else word for key, word in self.said.items()}
        return replace(self, said=MappingProxyType({key: word for key, word in left.items() if word is not None}))

    def trust(self, key: str) -> Trust:
        """Return how far the source of a key is trusted; HOST if it has no value."""
        return self.said[key].trust if key in self.said else Trust.HOST

    @property
    def kernel(self) -> str | None:
        """The kernel to start; None: whichever the image has. Raises InvalidSpec."""
        said = self.said.get("kernel")
        return None if said is None else str(understood("kernel", said.text, said.source))

    def texts(self) -> dict[str, str]:
        """Return key -> text, as in a kernelspec."""
        return {key: said.text for key, said in self.said.items()}


def understood(key: str, text: str, source: str = "") -> Any:
    """Parse the text of a key and check the value by itself.

    The error names the source, so it is checked here (but memory-swap, which is checked
    with memory). Raises InvalidSpec.
    """
    word = KEYS[key]
    value: Any
    try:
        value = None if word.kind in (Kind.LIMIT, Kind.CELL) and text == UNLIMITED else word.read(text, key)
        if word.kind is Kind.SPEC:
            replace(Spec(network="bridge"), **{word.field: value})
        elif word.kind is Kind.LIMIT and key != "memory-swap":
            replace(Limits(), **{word.field: value})
    except InvalidSpec as error:
        raise InvalidSpec(f"{error} (in {source})" if source else str(error), hint=error.hint) from None
    return value


def unknown(key: str, source: str = "") -> InvalidSpec:
    """Return the error for a key that does not exist, with the nearest that does."""
    from difflib import get_close_matches  # noqa: PLC0415  # 5 ms to import, and rarely needed

    near = get_close_matches(key[:_SHOWN], KEYS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    where = f" (in {source})" if source else ""
    return InvalidSpec(f"cannot use {escape(key, most=_SHOWN)}: there is no such key{where}", hint=f"{hint}The keys are {', '.join(KEYS)}")
