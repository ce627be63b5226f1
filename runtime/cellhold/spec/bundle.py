"""An OCI bundle as a Spec: config.json of the OCI runtime specification.

See config.md and config-linux.md of version 1.

What Cellhold always does itself (namespaces, /proc, /dev, masked paths, seccomp) is
taken as read. What it does not do is refused by name, because a bundle that asks for a
restriction and does not get it is a hole.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cellhold.errors import ImageNotFound, InvalidSpec, NotSupported
from cellhold.spec.fields import FIELDS
from cellhold.spec.limits import Limits
from cellhold.spec.spec import Mount, Spec
from cellhold.spec.units import parse_count, parse_size

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.spec.field import Field

_LARGEST = 1 << 20  # bytes of a config.json
_OURS = {"proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2"}
_OUR_TARGETS = {"/dev", "/run"}  # paths of the container
_PERIOD = 100_000


def spec(directory: Path) -> Spec:
    """Return the container that the bundle in `directory` asks for.

    Raises ImageNotFound (no bundle there), InvalidSpec (a field is wrong) or
    NotSupported (a field asks for what Cellhold does not do).
    """
    config = load(directory)
    process, root, linux = section(config, "process"), section(config, "root"), section(config, "linux")
    refuse(config, linux)
    user = section(process, "user")
    return Spec(
        image=str((directory / root_path(root)).absolute()),
        args=tuple(strings(process, "args")),
        env=dict(entry.partition("=")[::2] for entry in strings(process, "env")),
        cwd=text(process, "cwd") or "/",
        user=f"{number(user, 'uid') or 0}:{number(user, 'gid') or 0}",
        hostname=text(config, "hostname") or None,
        limits=limits(section(linux, "resources"), process),
        mounts=tuple(mount for entry in items(config, "mounts") if (mount := mount_of(entry, directory))),
        read_only=flag(root, "readonly"),
        capabilities=frozenset(strings(section(process, "capabilities"), "bounding")),
    )


def root_path(root: dict[str, Any]) -> str:
    """Return root.path; without it the bundle itself would be the root."""
    if not (path := text(root, "path")):
        raise InvalidSpec("cannot run the bundle: root.path is missing", hint="name the directory of the root file system")
    return path


def load(directory: Path) -> dict[str, Any]:
    """Read config.json; check that it is an object of a sane size."""
    path = directory / "config.json"
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        config = json.loads(data)
    except OSError as error:
        raise ImageNotFound(f"cannot use bundle={directory}: {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidSpec(f"cannot use bundle={directory}: config.json is not JSON: {error}") from error
    if len(data) > _LARGEST or not isinstance(config, dict):
        raise InvalidSpec(f"cannot use bundle={directory}: config.json is not an object of less than 1 MiB")
    return config


def refuse(config: dict[str, Any], linux: dict[str, Any]) -> None:
    """Raise NotSupported for what would change the isolation and is not done."""
    for name, values in (("hooks", config.get("hooks")), ("linux.sysctl", linux.get("sysctl")), ("linux.devices", linux.get("devices"))):
        if values:
            raise NotSupported(f"cannot run the bundle: {name} is not in this version", hint=f"remove {name} from config.json")
    resources = section(linux, "resources")
    for parent, words in (("", "blockIO hugepageLimits network rdma unified"), ("cpu", "realtimeRuntime"), ("memory", "kernel kernelTCP")):
        for name in words.split():
            if (section(resources, parent) if parent else resources).get(name):
                raise NotSupported(
                    f"cannot run the bundle: linux.resources.{parent}{'.' if parent else ''}{name} is not in this version",
                    hint="a limit is refused if it cannot be enforced: remove it from config.json",
                )
    for entry in items(linux, "namespaces"):
        if entry.get("path"):
            raise NotSupported(f"cannot run the bundle: joining the namespace {entry['path']} is not in this version")


def limits(resources: dict[str, Any], process: dict[str, Any]) -> Limits:
    """Return the limits of linux.resources and process.rlimits."""
    cpu = section(resources, "cpu")
    quota, period = number(cpu, "quota"), number(cpu, "period") or _PERIOD
    values = {field.name: limit(resources, field, *field.oci) for field in FIELDS if field.oci is not None}
    rlimits = {
        text(entry, "type").removeprefix("RLIMIT_").lower(): (number(entry, "soft") or 0, number(entry, "hard") or 0)
        for entry in items(process, "rlimits")
    }
    return Limits(**values, cpus=quota / period if quota and quota > 0 else None, rlimits=rlimits)


def limit(resources: dict[str, Any], field: Field, parent: str, name: str) -> Any:
    """Return the value of one limit in linux.resources.

    Where the bundle does not set it, that is the field's default.
    """
    if not field.is_amount:
        return text(section(resources, parent), name) or None
    value = number(section(resources, parent), name)
    if value is None:
        return field.value(Limits())
    return value if value in field.words.values() else positive(value)


def mount_of(entry: dict[str, Any], directory: Path) -> Mount | None:
    """Return a bind or a tmpfs of the bundle.

    None for the mounts that every container has.
    """
    kind, target, flags = text(entry, "type"), text(entry, "destination"), strings(entry, "options")
    if kind in _OURS or target in _OUR_TARGETS:
        return None
    if kind == "tmpfs":
        values = dict(option.partition("=")[::2] for option in flags)
        return Mount(
            kind="tmpfs",
            target=target,
            size_bytes=parse_size(values["size"], key="tmpfs size") if "size" in values else None,
            inodes=parse_count(values["nr_inodes"], key="nr_inodes") if "nr_inodes" in values else None,
            read_only="ro" in values,
            no_exec="noexec" in values,
        )
    if kind in ("bind", "none", "") and ("bind" in flags or "rbind" in flags):
        source = str((directory / text(entry, "source")).absolute())
        return Mount(kind="bind", target=target, source=source, read_only="ro" in flags)
    raise NotSupported(f"cannot run the bundle: mounting {kind} on {target} is not in this version", hint="bind and tmpfs are")


def section(parent: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object, {} if it is missing."""
    return typed(parent, name, dict, "an object") or {}


def items(parent: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects, [] if it is missing."""
    values = typed(parent, name, list, "a list") or []
    if not all(isinstance(value, dict) for value in values):
        raise InvalidSpec(f"cannot run the bundle: {name} is not a list of objects")
    return values


def strings(parent: dict[str, Any], name: str) -> list[str]:
    """Return a list of strings, [] if it is missing."""
    values = typed(parent, name, list, "a list") or []
    if not all(isinstance(value, str) for value in values):
        raise InvalidSpec(f"cannot run the bundle: {name} is not a list of strings")
    return values


def text(parent: dict[str, Any], name: str) -> str:
    """Return a string, "" if it is missing."""
    return typed(parent, name, str, "a string") or ""


def number(parent: dict[str, Any], name: str) -> int | None:
    """Return a whole number, None if it is missing."""
    value: int | None = typed(parent, name, int, "a whole number")
    return value


def flag(parent: dict[str, Any], name: str) -> bool:
    """Return true or false; false if it is missing."""
    if not isinstance(value := parent.get(name), bool | None):
        raise InvalidSpec(f"cannot run the bundle: {name} is not true or false")
    return value is True


def positive(value: int | None) -> int | None:
    """Return a limit, or None; OCI writes "no limit" as 0 or -1."""
    return value if value and value > 0 else None


def typed(parent: dict[str, Any], name: str, kind: type, words: str) -> Any:
    """Return parent[name], checked for its type; None if it is missing."""
    value = parent.get(name)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise InvalidSpec(f"cannot run the bundle: {name} is not {words}")
    return value
