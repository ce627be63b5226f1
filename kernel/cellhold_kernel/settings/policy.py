"""The machine's policy, /etc/cellhold/policy.toml: what its notebooks get when they say nothing, and the most they may have.

    [defaults]                          # the words of %container; kernelspec and notebook override them
    memory = "1g"

    [ceilings]
    memory = "4g"                       # also cpus, pids, disk, time, memory-swap, cell-time, output, message, net-*
    containers = 4                      # at a time: the notebook's own, and what %%run -d has left running
    capabilities = ["SYS_PTRACE"]       # that %%run --cap-add may give beside the default set
    images = ["host", "/srv/images/*"]  # patterns as in fnmatch(3)
    networks = ["none", "bridge"]       # "host" and "container" (the host's, another container's) only where they stand here
    egress = "internet"                 # none < internet < all; lists (allow=...) only below all
    mount = "ro"                        # the notebook's folder: none < ro < rw
    volumes = ["/srv/data", "/srv/scratch:rw", "notes"]

Who says nothing gets no more than the ceiling; who asks for more is refused. Amounts hold for the sum of all that a
notebook has at a time. What the lists of directories name, a cell may ask for by itself; without them only a kernelspec
may. What the texts mean, and whether something is within them, is the gate's to say (gate/).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cellhold.errors import InvalidSpec, NotAllowed
from cellhold.image.reference import is_registry
from cellhold.linux import hostpath
from cellhold.linux.capabilities import mask
from cellhold_kernel.settings.workspace import WAYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.spec.spec import Mount

PATH = Path("/etc/cellhold/policy.toml")
EGRESSES = ("none", "internet", "all")
_MOST_BYTES = 1 << 20
_LISTS = ("images", "networks", "volumes", "capabilities")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A policy as it was written: key -> text; what the texts mean is config.py's. None: nothing is said about that."""

    path: Path = PATH
    defaults: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    limits: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    mount: str | None = None
    egress: str = "all"
    images: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None
    volumes: tuple[str, ...] | None = None
    detached: bool = True  # whether a cell may start a container that outlives it (%%run -d)
    capabilities: tuple[str, ...] = ()  # "CAP_SYS_PTRACE"
    containers: int | None = None

    def names_image(self, image: str) -> bool:
        """Whether the list of images is there and names this one; a directory by its real path."""
        if image.startswith(("/", ".")):
            return any(fnmatchcase(real(image), pattern) for pattern in self.images or ())
        return any(_names(pattern, image) for pattern in self.images or ())

    def names_volume(self, mount: Mount) -> bool:
        """Whether the list of volumes is there and has a directory that this one is, or lies in; writable only where it says so."""
        if mount.kind == "volume":
            named = (entry.partition(":") for entry in self.volumes or ())
            return any(name == mount.source and (way != "ro" or mount.read_only) for name, _, way in named)
        source = Path(real(str(mount.source)))
        for entry in self.volumes or ():
            directory, _, way = entry.partition(":")
            if source.is_relative_to(real(directory)) and (way == "rw" or mount.read_only or mount.kind == "overlay"):
                return True
        return False

    def above(self, asked: str, key: str, ceiling: str | tuple[str, ...]) -> NotAllowed:
        """The error for what is asked above a ceiling."""
        allowed = ceiling if isinstance(ceiling, str) else "[" + ", ".join(ceiling) + "]"
        return NotAllowed(
            f"cannot use {asked}: above the ceiling {key} = {allowed} of {self.path}", hint="stay within it, or ask who runs this machine"
        )


def real(path: str) -> str:
    """The path without links; as it is where somebody changes it meanwhile. Good for a refusal only (host_directories.py opens)."""
    try:
        return os.path.realpath(path)
    except OSError:  # what was a link is none any more
        return os.path.abspath(path)


def _names(pattern: str, image: str) -> bool:
    """Whether an image's name fits a pattern. Which registry it is at, the pattern has to say as well.

    "python:*" fits python:3/x by its letters; but that is image x at the host `python`, port 3.
    """
    registry, slash, _ = image.partition("/")
    if slash and is_registry(registry) and not pattern.startswith("*"):
        first, more, _ = pattern.partition("/")
        if not more or not fnmatchcase(registry, first):
            return False
    return fnmatchcase(image, pattern)


def read(path: Path = PATH) -> Policy:
    """The policy in that file; an empty one where there is no file. Raises InvalidSpec for one that cannot be read or understood."""
    try:
        content = hostpath.read(path, _MOST_BYTES)
    except FileNotFoundError as error:
        if path.is_symlink():  # somebody has written one, which is only out of reach
            raise _broken(path, "it is a link to what is not there") from error
        return Policy(path=path)
    except OSError as error:
        raise _broken(path, str(error.strerror)) from error
    import tomllib  # noqa: PLC0415  # 10 ms, and most machines have no policy

    try:
        return _policy(tomllib.loads(content.decode()), path)
    except ValueError as error:  # not UTF-8, not TOML
        raise _broken(path, str(error)) from error


def _policy(tables: dict[str, Any], path: Path) -> Policy:
    if more := sorted(tables.keys() - {"defaults", "ceilings"}):
        raise _broken(path, f"there is no table [{more[0]}]; the tables are [defaults] and [ceilings]")
    defaults, ceilings = (_table(tables, name, path) for name in ("defaults", "ceilings"))
    lists = {name: _words(ceilings.pop(name), name, path) for name in _LISTS if name in ceilings}
    mount = ceilings.pop("mount", None)
    if mount is not None and mount not in WAYS:
        raise _broken(path, f"mount = {mount!r} is none of {', '.join(WAYS)}")
    egress = ceilings.pop("egress", EGRESSES[-1])
    if egress not in EGRESSES:
        raise _broken(path, f"egress = {egress!r} is none of {', '.join(EGRESSES)}")
    detached = ceilings.pop("detached", True)
    if not isinstance(detached, bool):
        raise _broken(path, f"detached = {detached!r} is neither true nor false")
    containers = ceilings.pop("containers", None)
    if containers is not None and (isinstance(containers, bool) or not isinstance(containers, int) or containers < 1):
        raise _broken(path, f"containers = {containers!r} is not a whole number of at least 1")
    limits = _texts(ceilings, path)
    return Policy(
        path=path,
        defaults=_texts(defaults, path),
        limits=limits,
        mount=mount,
        egress=egress,
        detached=detached,
        containers=containers,
        images=lists.get("images"),
        networks=lists.get("networks"),
        volumes=lists.get("volumes"),
        capabilities=lists.get("capabilities", ()),
    )


def _table(tables: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise _broken(path, f"{name} is no table: write [{name}]")
    return dict(table)


def _words(value: Any, name: str, path: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise _broken(path, f"{name} is no list of texts")
    if name == "capabilities":
        return tuple(_capability(word, path) for word in value)
    if name == "volumes" and (wrong := [word for word in value if not _is_volume(word)]):
        raise _broken(path, f"volumes: {wrong[0]!r} is no absolute directory, with or without :ro or :rw, and no volume's name")
    return tuple(value)


def _capability(word: str, path: Path) -> str:
    name = f"CAP_{word.upper().removeprefix('CAP_')}"
    try:
        mask(frozenset({name}))
    except InvalidSpec as error:
        raise _broken(path, f"capabilities: {word!r} is none: {error}") from error
    return name


def _is_volume(word: str) -> bool:
    place, _, way = word.partition(":")
    return way in ("", "ro", "rw") and (os.path.isabs(place) or bool(place and "/" not in place and not place.startswith(".")))


def _texts(table: dict[str, Any], path: Path) -> Mapping[str, str]:
    texts = {}
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise _broken(path, f"{key} is neither a text nor a number")
        texts[key] = str(value)
    return MappingProxyType(texts)


def _broken(path: Path, reason: str) -> InvalidSpec:
    return InvalidSpec(f"cannot use the policy {path}: {reason}", hint="no container is made as long as it cannot be understood")
