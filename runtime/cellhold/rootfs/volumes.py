"""Volumes: named directories that outlive containers (docker volume).

HOME/volumes/NAME/
    volume.json     when it was made, its labels, whether it is anonymous
    _data/          what containers see; the owners on disk are the containers' ids (0
                    is root), shifted by each mount

A volume appears whole, and is renamed before it is removed (store/durable.py): one
whose volume.json is missing or unreadable is damaged, and stays until it is removed by
name and by force. A volume that a container uses is in its record, by name, and is not
removed. What a container's image has at the mount point is copied into an empty volume
by the container's own PID 1 (init/populate.py).
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError, Damaged, InvalidSpec, NotAllowed, NotSupported, VolumeNotFound
from cellhold.linux import hostpath
from cellhold.spec.names import check_name
from cellhold.spec.spec import Mount
from cellhold.spec.units import parse_count, parse_size
from cellhold.store import durable, record, table, tree
from cellhold.store.table import Unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cellhold.spec.spec import Spec
    from cellhold.store.home import Home
    from cellhold.store.record import Record

_WITH_OPTIONS = 2
_FACTS, _DATA = "volume.json", "_data"
_KEYS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_FLAGS = ("readonly",)


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One volume.

    created: seconds since the epoch; anonymous: made for one container, and removed
    with it by `rm -v` and --rm.
    """

    name: str
    data: Path
    created: float
    labels: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = False

    def used_bytes(self) -> int:
        """Return its bytes on disk; a fraction of a second for 100 000 files."""
        return tree.used_bytes(self.data)


@dataclass(frozen=True, kw_only=True)
class _Facts:
    created: float
    labels: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = False


_FORM = table.Form(kind=_Facts, version=1, steps=table.BEFORE_VERSIONS, check=lambda facts: table.check_moment(facts.created, "created"))


def create(name: str | None, home: Home, *, labels: Mapping[str, str] | None = None) -> Volume:
    """Make a volume, or return the existing one, as Docker does.

    name: None for an anonymous one.

    Raises InvalidSpec, SetupFailed, and Damaged or NotSupported for an existing one
    that cannot be read.
    """
    anonymous = name is None
    name = name or os.urandom(32).hex()
    if not anonymous:
        check_name(name)
    place = home.volumes / name
    with home.written(), home.locked():
        _clear_empty(place)
        if not place.exists():
            facts = _Facts(created=time.time(), labels=dict(labels or {}), anonymous=anonymous)
            with durable.appearing(place) as draft:
                (draft / _DATA).mkdir(mode=0o755)
                durable.write(draft / _FACTS, _FORM.dumps(vars(facts)))
    return find(name, home)


def find(name: str, home: Home) -> Volume:
    """Return the volume of that name. Raises VolumeNotFound, Damaged, NotSupported."""
    place = home.volumes / name
    if _is_name(name) and place.is_dir():
        return _read(place)
    raise VolumeNotFound(f"cannot find volume {name[:80]!r}: there is no such volume", hint="cellhold volume ls lists them")


def list_readable(home: Home) -> list[Volume]:
    """Return the volumes that can be read, by name."""
    return [volume for volume in map(_look, _places(home)) if isinstance(volume, Volume)]


def unreadable(home: Home) -> list[Unreadable]:
    """Return the volumes that cannot be read."""
    return [volume for volume in map(_look, _places(home)) if isinstance(volume, Unreadable)]


def _places(home: Home) -> list[Path]:
    return sorted(place for place in home.volumes.iterdir() if _is_name(place.name) and place.is_dir())


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except InvalidSpec:
        return False
    return True


def _look(place: Path) -> Volume | Unreadable | None:
    try:
        return _read(place)
    except VolumeNotFound:
        return None
    except (Damaged, NotSupported) as error:
        return Unreadable(name=place.name, place=place, error=error)


def _read(place: Path) -> Volume:
    subject = f"volume {place.name}"
    remedy = f"its files are in {place / _DATA}: copy what you want to keep; `cellhold volume rm --force {place.name}` removes it"
    try:
        facts = _FORM.read(place / _FACTS, subject, hint=remedy)
    except FileNotFoundError:
        if not place.exists():
            raise VolumeNotFound(f"cannot find {subject}: it has just been removed") from None
        raise Damaged(f"cannot read {subject}: {place / _FACTS} is damaged: it is not there", hint=remedy) from None
    if not (place / _DATA).is_dir() and place.exists():
        raise Damaged(f"cannot read {subject}: {place} is damaged: {_DATA} is not there", hint=remedy)
    return Volume(name=place.name, data=place / _DATA, **vars(facts))


def _clear_empty(place: Path) -> None:
    """Remove an empty directory left where an earlier version was killed.

    It holds nothing that anybody could miss.
    """
    if (place / _FACTS).exists():
        return
    with suppress(OSError):  # there is nothing, or there is something in it
        (place / f"{_FACTS}.new").unlink(missing_ok=True)
        (place / _DATA).rmdir()
    with suppress(OSError):
        place.rmdir()


def users(name: str, home: Home) -> list[Record]:
    """Return the containers that use a volume, whether they run or not."""
    return [one for one in record.list_readable(home.containers) if name in one.volumes]


def remove(name: str, home: Home, *, force: bool = False) -> None:
    """Remove a volume and all that is in it.

    force: also if it is damaged, or a damaged container may use it; a missing volume is
    then not an error.

    Raises VolumeNotFound, NotAllowed where a container has it, Damaged, NotSupported.
    """
    with home.written(), home.locked():
        try:
            find(name, home)
        except VolumeNotFound:
            if force:
                return
            raise
        except Damaged:
            if not force:
                raise
        if using := users(name, home):
            raise NotAllowed(
                f"cannot remove volume {name}: container {using[0].name} has it", hint=f"cellhold rm {using[0].name}, then again"
            )
        if (broken := record.unreadable(home.containers)) and not force:
            raise NotAllowed(
                f"cannot remove volume {name}: container {broken[0].name} may have it, and its record cannot be read",
                hint=f"cellhold rm --force {broken[0].name}, then again; or cellhold volume rm --force {name}",
            )
        durable.remove(home.volumes / name)


def prune(home: Home, *, named: bool = False) -> list[Volume]:
    """Remove the anonymous volumes that no container uses; return those removed.

    named: the others, too.
    """
    gone = []
    for volume in list_readable(home):
        if (volume.anonymous or named) and not users(volume.name, home):
            try:
                remove(volume.name, home)
            except (NotAllowed, VolumeNotFound):  # somebody has just taken it, or nobody can tell
                continue
            gone.append(volume)
    return gone


def clear(home: Home) -> None:
    """Remove what is half made and half removed. Raises OSError."""
    if any(map(durable.is_half, home.volumes.iterdir())):
        with home.locked():
            durable.clear(home.volumes)


def remove_anonymous(known: Record, home: Home) -> None:
    """Remove anonymous volumes that only this container, which is gone, used."""
    for name in known.volumes:
        try:
            if find(name, home).anonymous:
                remove(name, home)
        except CellholdError:
            continue


def create_missing(spec: Spec, home: Home) -> Spec:
    """Return the spec with its volumes made where they are missing.

    Anonymous ones have the names that they have now.
    """
    return replace(spec, mounts=tuple(_claimed(entry, home) for entry in spec.mounts))


def _claimed(entry: Mount, home: Home) -> Mount:
    return replace(entry, source=create(entry.source or None, home).name) if entry.kind == "volume" else entry


def open_volumes(spec: Spec, home: Home) -> Spec:
    """Return the spec with its volumes opened, to be mounted.

    A volume removed meanwhile is made again, empty. Raises InvalidSpec.
    """
    return replace(spec, mounts=tuple(_placed(entry, home) for entry in spec.mounts))


def _placed(entry: Mount, home: Home) -> Mount:
    if entry.kind != "volume":
        return entry
    data = create(entry.source, home).data
    try:
        return replace(entry, source=str(data), opened=hostpath.opened(home.volumes).beneath(str(data.relative_to(home.volumes))))
    except OSError as error:
        raise InvalidSpec(f"cannot mount volume {entry.source} on {entry.target}: {error.strerror}") from error


def write_out(spec: Spec, home: Home) -> None:
    """Make what a container wrote into its volumes survive a power cut.

    Raises OSError.
    """
    if any(entry.kind == "volume" and not entry.read_only for entry in spec.mounts):
        durable.sync_filesystem(home.volumes)


def names(spec: Spec) -> list[str]:
    """Return the names of the volumes of a spec that create_missing() returned."""
    return [str(entry.source) for entry in spec.mounts if entry.kind == "volume"]


# as people write them


def volume(text: str) -> Mount:
    """Parse [HOST:|NAME:]DIR[:OPTION,...] as a bind or a volume.

    HOST is a path; a relative one begins with "."; a name is a volume's, made if it is
    missing; without either the volume is anonymous. Options: ro, rw, O (podman's
    overlay, whose changes are thrown away); z and Z (SELinux labels) do nothing. Raises
    InvalidSpec.
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
    """Parse Docker's --mount. Raises InvalidSpec.

    type=volume|bind|tmpfs,source=...,target=...[,readonly][,tmpfs-size=...]
    [,tmpfs-mode=...]
    """
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
    """Parse DIR[:size=SIZE[,nr_inodes=FILES][,mode=MODE][,ro]] as an empty tmpfs.

    Raises InvalidSpec.
    """
    target, _, options = text.partition(":")
    values: dict[str, Any] = {}
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        if name == "size":
            values["size_bytes"] = parse_size(value, key="tmpfs size")
        elif name == "nr_inodes":
            values["inodes"] = parse_count(value, key="nr_inodes")
        elif name == "mode":
            values["mode"] = _mode(value)
        elif name in ("ro", "rw"):
            values["read_only"] = name == "ro"
        elif name in ("exec", "noexec"):
            values["no_exec"] = name == "noexec"
        elif name not in ("nosuid", "nodev"):  # it is so anyway
            raise InvalidSpec(
                f"cannot use tmpfs={text}: option {name} is not known", hint="size=64m, nr_inodes=4096, mode=1777, noexec, ro or rw"
            )
    return Mount(kind="tmpfs", target=target, **values)


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:  # noqa: PLR2004  # what chmod(2) takes
        raise InvalidSpec(f"cannot use mode={text}: not a mode in octal digits", hint="mode=1777, for example")
    return mode
