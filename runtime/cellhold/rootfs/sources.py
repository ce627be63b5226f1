"""Open what a spec shows of the host: binds, overlays and devices.

Each is looked up once, when the container is made. Whoever checks what is shown (a
notebook's folder, a policy) opens it and passes the descriptor along; that one is kept.
A path without a descriptor is the user's own choice, as in Docker: links are followed,
and what it leads to now is shown.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec
from cellhold.linux import hostpath

if TYPE_CHECKING:
    from cellhold.linux.hostpath import HostPath
    from cellhold.spec.spec import Device, Mount, Spec

_OPENED = ("bind", "overlay")
_MISSING = "no such file or directory on the host"


def open_sources(spec: Spec) -> Spec:
    """Return the spec with a descriptor for all that it shows of the host.

    Raises InvalidSpec if something is missing, or is another file now.
    """
    return replace(spec, mounts=tuple(_mount(entry) for entry in spec.mounts), devices=tuple(_device(one) for one in spec.devices))


def let_go(spec: Spec) -> Spec:
    """Return the spec without descriptors; those that nobody else has are closed."""
    mounts = tuple(_bare(entry) for entry in spec.mounts)
    return replace(spec, mounts=mounts, devices=tuple(replace(one, opened=None) for one in spec.devices), rootfs=None)


def _bare(entry: Mount) -> Mount:
    return replace(entry, opened=None, fixed=tuple(replace(one, opened=None) for one in entry.fixed))


def _mount(entry: Mount) -> Mount:
    if entry.kind not in _OPENED:
        return entry
    if entry.opened is None:
        found = _looked_up(str(entry.source), f"cannot bind {entry.source} to {entry.target}", _MISSING)
        if entry.identity not in (None, found.identity):
            raise InvalidSpec(
                f"cannot bind {entry.source} to {entry.target}: it is another file than the one that the container was made with",
                hint="remove the container, and make another one",
            )
        entry = replace(entry, opened=found)
    else:
        entry = replace(entry, identity=entry.opened.identity)
    assert entry.opened is not None  # noqa: S101  # for mypy
    if entry.kind == "overlay" and not entry.opened.is_directory:
        raise InvalidSpec(
            f"cannot use {entry.source} as the lower directory of an overlay on {entry.target}: not a directory", hint="bind it: :ro or :rw"
        )
    return entry


def _device(one: Device) -> Device:
    return one if one.opened is not None else replace(one, opened=_looked_up(one.source, f"cannot use device={one.source}"))


def _looked_up(path: str, subject: str, missing: str | None = None) -> HostPath:
    try:
        return hostpath.opened(path)
    except FileNotFoundError as error:
        raise InvalidSpec(f"{subject}: {missing or error.strerror}") from error
    except OSError as error:
        raise InvalidSpec(f"{subject}: {error.strerror}") from error
