"""Volumes: directories that outlive containers, by name (docker volume); and what people write after -v, --mount and --tmpfs.

HOME/volumes/NAME/
    volume.json     when it was made, its labels, whether it is anonymous; its last part: without it the volume is half made or half removed
    _data/          what containers see; the owners on disk are the containers' ids (0 is root), shifted by each mount

A volume that a container has is in its spec, by name, and is not removed. What a container's image has at the place is copied into a volume
that is empty, by the container's own PID 1 (init/populate.py).
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cellhold import hostpath
from cellhold.errors import CellholdError, InvalidSpec, NotAllowed, VolumeNotFound
from cellhold.quantity import parse_size
from cellhold.spec import Mount, check_name
from cellhold.store import record, removal, tree

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cellhold.spec import Spec
    from cellhold.store.home import Home
    from cellhold.store.record import Record

_WITH_OPTIONS = 2
_FACTS = "volume.json"
_KEYS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_FLAGS = ("readonly",)


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One. created: seconds since the epoch; anonymous: made for one container, and removed with it by `rm -v` and --rm."""

    name: str
    data: Path
    created: float
    labels: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = False

    def used_bytes(self) -> int:
        """Bytes on disk; a fraction of a second for 100 000 files."""
        return tree.used_bytes(self.data)


def create(name: str | None, home: Home, *, labels: Mapping[str, str] | None = None) -> Volume:
    """Make it, or find it where it is there already, as docker does. name: None for an anonymous one. Raises InvalidSpec, SetupFailed."""
    anonymous = name is None
    name = name or os.urandom(32).hex()
    if not anonymous:
        check_name(name)
    place = home.volumes / name
    with home.written(), home.locked():
        if (found := _read(place)) is not None:
            return found
        removal.remove(place)  # half of one
        (place / "_data").mkdir(mode=0o755, parents=True)
        facts = {"created": time.time(), "labels": dict(labels or {}), "anonymous": anonymous}
        (place / f"{_FACTS}.new").write_text(json.dumps(facts), encoding="utf-8")
        os.replace(place / f"{_FACTS}.new", place / _FACTS)
    return find(name, home)


def find(name: str, home: Home) -> Volume:
    """The volume of that name. Raises VolumeNotFound."""
    found = _read(home.volumes / name) if "/" not in name and name not in ("", ".", "..") else None
    if found is None:
        raise VolumeNotFound(f"cannot find volume {name[:80]!r}: there is no such volume", hint="cellhold volume ls lists them")
    return found


def every(home: Home) -> list[Volume]:
    """All of them, by name."""
    return sorted(filter(None, map(_read, home.volumes.iterdir())), key=lambda volume: volume.name)


def _read(place: Path) -> Volume | None:
    try:
        facts = json.loads((place / _FACTS).read_text(encoding="utf-8"))
        return Volume(name=place.name, data=place / "_data", **facts)
    except (OSError, ValueError, TypeError):
        return None


def users(name: str, home: Home) -> list[Record]:
    """The containers that have it, whether they run or not."""
    known = filter(None, map(record.read, home.containers.iterdir()))
    return [one for one in known if name in one.volumes]


def remove(name: str, home: Home, *, force: bool = False) -> None:
    """Remove it and all that is in it; force: none of that name is no error. Raises VolumeNotFound, NotAllowed where a container has it."""
    with home.locked():
        try:
            found = find(name, home)
        except VolumeNotFound:
            if force:
                return
            raise
        if using := users(name, home):
            raise NotAllowed(
                f"cannot remove volume {name}: container {using[0].name} has it", hint=f"cellhold rm {using[0].name}, then again"
            )
        (home.volumes / found.name / _FACTS).unlink()
        removal.remove(home.volumes / found.name)


def prune(home: Home, *, named: bool = False) -> list[Volume]:
    """Remove the anonymous ones that no container has; named: the others, too. Gives those that went."""
    gone = []
    for volume in every(home):
        if (volume.anonymous or named) and not users(volume.name, home):
            try:
                remove(volume.name, home)
            except CellholdError:  # somebody has just taken it
                continue
            gone.append(volume)
    return gone


def remove_anonymous(known: Record, home: Home) -> None:
    """Those anonymous volumes that only this container, which is gone, had."""
    for name in known.volumes:
        try:
            if find(name, home).anonymous:
                remove(name, home)
        except CellholdError:
            continue


def claimed(spec: Spec, home: Home) -> Spec:
    """The spec with its volumes made where they are missing, the anonymous ones by the names that they have now."""
    return replace(spec, mounts=tuple(_claimed(entry, home) for entry in spec.mounts))


def _claimed(entry: Mount, home: Home) -> Mount:
    return replace(entry, source=create(entry.source or None, home).name) if entry.kind == "volume" else entry


def placed(spec: Spec, home: Home) -> Spec:
    """The spec with the volumes opened, to be mounted; what was removed meanwhile is made again, empty. Raises InvalidSpec."""
    return replace(spec, mounts=tuple(_placed(entry, home) for entry in spec.mounts))


def _placed(entry: Mount, home: Home) -> Mount:
    if entry.kind != "volume":
        return entry
    data = create(entry.source, home).data
    try:
        return replace(entry, source=str(data), opened=hostpath.opened(home.volumes).beneath(str(data.relative_to(home.volumes))))
    except OSError as error:
        raise InvalidSpec(f"cannot mount volume {entry.source} on {entry.target}: {error.strerror}") from error


def names(spec: Spec) -> list[str]:
    """Of the volumes of a spec that is claimed."""
    return [str(entry.source) for entry in spec.mounts if entry.kind == "volume"]


# ---------------------------------------------------------------------------------------------------------------- as people write them


def volume(text: str) -> Mount:
    """[HOST:|NAME:]DIR[:OPTION,...] as a bind or a volume; with O as podman's overlay, whose changes are thrown away.

    HOST is a path, a relative one begins with "."; a name is a volume's, made where it is missing; neither is an anonymous volume.
    Options: ro, rw, O; z and Z (SELinux labels) do nothing. Raises InvalidSpec.
    """
    parts = text.split(":")
    if "\0" in text or "\n" in text:
        raise InvalidSpec(f"cannot use volume={text!r}: a path holds a newline or NUL")
    if len(parts) == 1:
        return Mount(kind="volume", source="", target=parts[0])
    source, target, *rest = parts
    options = rest[0].split(",") if rest else []
    if len(rest) > 1 or not source or not target or (wrong := set(options) - {"ro", "rw", "O", "z", "Z"}):
        reason = f"option {min(wrong)} is not known" if len(rest) == 1 and source and target and wrong else "not HOST:DIR or NAME:DIR"
        raise InvalidSpec(f"cannot use volume={text}: {reason}", hint="HOST:DIR:ro, :rw or :O (changes are thrown away)")
    if source.startswith(("/", ".")):
        kind = "overlay" if "O" in options else "bind"
        return Mount(kind=kind, source=os.path.abspath(source), target=target, read_only="ro" in options)
    if "/" in source:
        raise InvalidSpec(f"cannot use volume={text}: {source} is neither a path from the root nor a name", hint=f"./{source}:{target}")
    check_name(source)
    return Mount(kind="volume", source=source, target=target, read_only="ro" in options)


def mount(text: str) -> Mount:
    """docker's --mount: type=volume|bind|tmpfs,source=...,target=...[,readonly][,tmpfs-size=...][,tmpfs-mode=...]. Raises InvalidSpec."""
    given: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        key = _KEYS.get(key, key)
        if key not in ("type", "source", "target", "readonly", "tmpfs-size", "tmpfs-mode"):
            raise InvalidSpec(f"cannot use mount={text}: {key} is not known", hint="type=bind,source=/data,target=/data,readonly")
        given[key] = value if equals else "true"
    kind = given.get("type", "volume")
    if "target" not in given:
        raise InvalidSpec(f"cannot use mount={text}: no target given", hint="add target=/data")
    read_only = given.get("readonly", "false") in ("true", "1")
    if kind == "tmpfs":
        size, mode = given.get("tmpfs-size"), given.get("tmpfs-mode")
        return Mount(
            kind="tmpfs",
            target=given["target"],
            size_bytes=None if size is None else parse_size(size, key="tmpfs-size"),
            mode=None if mode is None else _mode(mode),
            read_only=read_only,
        )
    source = given.get("source", "")
    if kind == "volume":
        if source:
            check_name(source)
        return Mount(kind="volume", source=source, target=given["target"], read_only=read_only)
    return Mount(kind=kind, source=source or None, target=given["target"], read_only=read_only)


def tmpfs(text: str) -> Mount:
    """DIR[:size=SIZE[,mode=MODE][,ro]] as an empty tmpfs; raises InvalidSpec."""
    target, _, options = text.partition(":")
    values: dict[str, Any] = {}
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        if name == "size":
            values["size_bytes"] = parse_size(value, key="tmpfs size")
        elif name == "mode":
            values["mode"] = _mode(value)
        elif name in ("ro", "rw"):
            values["read_only"] = name == "ro"
        elif name in ("exec", "noexec"):
            values["no_exec"] = name == "noexec"
        elif name not in ("nosuid", "nodev"):  # it is so anyway
            raise InvalidSpec(f"cannot use tmpfs={text}: option {name} is not known", hint="size=64m, mode=1777, noexec, ro or rw")
    return Mount(kind="tmpfs", target=target, **values)


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:  # noqa: PLR2004  # what chmod(2) takes
        raise InvalidSpec(f"cannot use mode={text}: not a mode in octal digits", hint="mode=1777, for example")
    return mode
