"""The policy for notebooks, /etc/cellhold/policy.toml: defaults and ceilings.

    [defaults]      # keys of %container; kernelspec and notebook override them
    memory = "1g"

    [ceilings]
    # also cpus, pids, disk, time, memory-swap, cell-time, output, message, net-*
    memory = "4g"
    # at a time: the notebook's own and those that %%run -d left running
    containers = 4
    # that %%run --cap-add may add to the default set
    capabilities = ["SYS_PTRACE"]
    # patterns as in fnmatch(3)
    images = ["host", "/srv/images/*"]
    # "host" and "container" (the host's, another container's) only if listed
    networks = ["none", "bridge"]
    # none < internet < all; lists (allow=...) only below all
    egress = "internet"
    # the notebook's folder: none < ro < new < rw
    mount = "ro"
    volumes = ["/srv/data", "/srv/scratch:rw", "notes"]
    # names of packages that a notebook may ask for, with what they need; false: none
    packages = ["polars", "pandas*"]
    # instead of the index of this host's configuration
    packages-index = "https://mirror.example/simple"
    packages-size = "4g"                # the most that the layer of one set takes
    # names of variables that a notebook may set; "!" forbids
    env = ["OMP_*", "!*_TOKEN"]

A notebook that asks for nothing gets at most the ceiling; a request for more is
refused. Amounts are ceilings of the sum over all containers that a notebook has at a
time. A cell may ask for the directories that a list names; without a list only a
kernelspec may. What the values mean, and whether a request is within them, is decided
by the gate (gate/).
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
from cellhold.spec.units import parse_size
from cellhold_kernel.settings.requirements import MOST_BYTES
from cellhold_kernel.settings.workspace import WAYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.spec.spec import Mount

PATH = Path("/etc/cellhold/policy.toml")
EGRESSES = ("none", "internet", "all")
_MOST_BYTES = 1 << 20
_LISTS = ("images", "networks", "volumes", "capabilities", "env")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A policy as it was written: key -> text. None: the policy does not limit that.

    What the texts mean is the business of settings.py.
    """

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
    env: tuple[str, ...] | None = None
    packages: tuple[str, ...] | None = None
    packages_index: str | None = None
    packages_bytes: int = MOST_BYTES

    def names_image(self, image: str) -> bool:
        """Return whether there is a list of images that names this one.

        A directory is compared by its real path.
        """
        if image.startswith(("/", ".")):
            return any(fnmatchcase(real(image), pattern) for pattern in self.images or ())
        return any(_names(pattern, image) for pattern in self.images or ())

    def names_volume(self, mount: Mount) -> bool:
        """Return whether there is a list of volumes that allows this mount.

        A directory is allowed if it is, or lies in, a listed one; writable only if the
        entry says so.
        """
        if mount.kind == "volume":
            named = (entry.partition(":") for entry in self.volumes or ())
            return any(name == mount.source and (way != "ro" or mount.read_only) for name, _, way in named)
        source = Path(real(str(mount.source)))
        for entry in self.volumes or ():
            directory, _, way = entry.partition(":")
            if source.is_relative_to(real(directory)) and (way == "rw" or mount.read_only or mount.kind == "overlay"):
                return True
        return False

    def allows_variable(self, name: str) -> bool:
        """Return whether a notebook may set an environment variable of this name.

        No "!" may forbid it; if other entries exist, one must match.
        """
        entries = self.env or ()
        allowed = [entry for entry in entries if not entry.startswith("!")]
        forbidden = any(fnmatchcase(name, entry[1:]) for entry in entries if entry.startswith("!"))
        is_listed = any(fnmatchcase(name, entry) for entry in allowed)
        return not forbidden and (is_listed or self.env is None or (bool(entries) and not allowed))

    def above(self, asked: str, key: str, ceiling: str | tuple[str, ...]) -> NotAllowed:
        """Return the error for a request above a ceiling."""
        allowed = ceiling if isinstance(ceiling, str) else "[" + ", ".join(ceiling) + "]"
        return NotAllowed(
            f"cannot use {asked}: above the ceiling {key} = {allowed} of {self.path}",
            hint="stay within it, or ask the administrator of this machine",
        )


def real(path: str) -> str:
    """Resolve symbolic links; return the path unresolved if they change meanwhile.

    Good enough for a refusal only: what is used is opened by host_directories.py.
    """
    try:
        return os.path.realpath(path)
    except OSError:  # what was a link no longer is one
        return os.path.abspath(path)


def _names(pattern: str, image: str) -> bool:
    """Return whether an image's name matches a pattern, which names its registry too.

    "python:*" matches python:3/x by its letters; but that is image x at the host
    `python`, port 3.
    """
    registry, slash, _ = image.partition("/")
    if slash and is_registry(registry) and not pattern.startswith("*"):
        first, more, _ = pattern.partition("/")
        if not more or not fnmatchcase(registry, first):
            return False
    return fnmatchcase(image, pattern)


def read(path: Path = PATH) -> Policy:
    """Read the policy; an empty one if there is no file.

    Raises InvalidSpec if the file cannot be read or is not a valid policy.
    """
    try:
        content = hostpath.read(path, _MOST_BYTES)
    except FileNotFoundError as error:
        if path.is_symlink():  # a policy was written, and is only out of reach
            raise _broken(path, "it is a link to a file that does not exist") from error
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
        raise _broken(path, f"mount = {mount!r} is not one of {', '.join(WAYS)}")
    egress = ceilings.pop("egress", EGRESSES[-1])
    if egress not in EGRESSES:
        raise _broken(path, f"egress = {egress!r} is not one of {', '.join(EGRESSES)}")
    detached = ceilings.pop("detached", True)
    if not isinstance(detached, bool):
        raise _broken(path, f"detached = {detached!r} is neither true nor false")
    containers = ceilings.pop("containers", None)
    if containers is not None and (isinstance(containers, bool) or not isinstance(containers, int) or containers < 1):
        raise _broken(path, f"containers = {containers!r} is not a whole number of at least 1")
    packages = _packages(ceilings, path)
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
        env=lists.get("env"),
        **packages,
    )


def _table(tables: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise _broken(path, f"{name} is not a table: write [{name}]")
    return dict(table)


def _words(value: Any, name: str, path: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise _broken(path, f"{name} is not a list of strings")
    if name == "capabilities":
        return tuple(_capability(word, path) for word in value)
    if name == "volumes" and (wrong := [word for word in value if not _is_volume(word)]):
        raise _broken(path, f"volumes: {wrong[0]!r} is neither an absolute directory nor a volume's name, with or without :ro or :rw")
    return tuple(value)


def _packages(ceilings: dict[str, Any], path: Path) -> dict[str, Any]:
    """Take out what the policy says of packages.

    False for none, or patterns of names; their index; the most bytes of a set.
    """
    found: dict[str, Any] = {}
    allowed = ceilings.pop("packages", True)
    if allowed is not True:
        found["packages"] = () if allowed is False else _words(allowed, "packages", path)
    index = ceilings.pop("packages-index", None)
    if index is not None:
        if not isinstance(index, str) or not index.startswith(("http://", "https://")):
            raise _broken(path, f"packages-index = {index!r} is not a URL")
        found["packages_index"] = index
    size = ceilings.pop("packages-size", None)
    if size is not None:
        try:
            found["packages_bytes"] = parse_size(str(size), key="packages-size")
        except InvalidSpec as error:
            raise _broken(path, str(error)) from error
    return found


def _capability(word: str, path: Path) -> str:
    name = f"CAP_{word.upper().removeprefix('CAP_')}"
    try:
        mask(frozenset({name}))
    except InvalidSpec as error:
        raise _broken(path, f"capabilities: {word!r} is not a capability: {error}") from error
    return name


def _is_volume(word: str) -> bool:
    source, _, way = word.partition(":")
    return way in ("", "ro", "rw") and (os.path.isabs(source) or bool(source and "/" not in source and not source.startswith(".")))


def _texts(table: dict[str, Any], path: Path) -> Mapping[str, str]:
    texts = {}
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise _broken(path, f"{key} is neither a string nor a number")
        texts[key] = str(value)
    return MappingProxyType(texts)


def _broken(path: Path, reason: str) -> InvalidSpec:
    return InvalidSpec(f"cannot use the policy {path}: {reason}", hint="no container is made until the policy is corrected")
