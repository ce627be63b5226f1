"""record.json of a container: enough to find and clear it after any crash, and to say what it was.

Written whole and renamed into place, so that a reader sees the old text or the new one. It is not fsynced: after a power cut
there is no container left to find.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any

from cellhold.errors import ContainerNotFound, NotSupported
from cellhold.store import locks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = 1  # of the form; a record of a later one is left alone
_LOCK = "record.lock"
_SHOWN = 80
_PRIVATE = partial(os.open, mode=0o600)


@dataclass(kw_only=True)
class Record:
    """One container. created, started: seconds since the epoch; state, status and why as in cellhold.lifecycle and cellhold.outcome.

    limits: the numbers among those that hold, by the names of cellhold.spec.Limits.
    overlays: where its overlays are mounted, the root's first. layers: the chain ids of the unpacked layers that it is mounted from, the
    topmost first; no other of its image's are needed. rootfs: the device and inode of the directory that it was made of, where that was
    taken and checked by whoever made it: it has to be the same when it is looked up again.

    kept: it is nobody's, and stays until it is removed; then `spec` is what it was made by (store/specs.py), auto_remove says that it goes
    with its end (docker's --rm), stopping that somebody has asked it to end, restarts how often its policy has started it again.
    """

    id: str
    name: str
    image: str
    args: list[str]
    created: float
    state: str = "created"
    pid: int | None = None
    status: int | None = None
    why: str | None = None
    started: float | None = None
    born: int | None = None  # when PID 1 began, in the kernel's ticks since boot: its number may be another's by now
    limits: dict[str, float | None] = field(default_factory=dict)
    layers: list[str] = field(default_factory=list)
    overlays: list[str] = field(default_factory=lambda: ["/"])
    rootfs: list[int] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)  # the names of those that it has, whether it runs or not
    network: str = "none"  # as it was asked for
    networks: list[str] = field(default_factory=list)  # the names of those that it is on while it runs
    kept: bool = False
    spec: dict[str, Any] = field(default_factory=dict)
    auto_remove: bool = False
    stopping: bool = False
    restarts: int = 0
    finished: float | None = None
    oom_kills: int = 0
    health: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION

    @property
    def is_alive(self) -> bool:
        """Whether its program runs, or is paused, by the record."""
        return self.state in ("running", "paused") and self.pid is not None

    def write(self, directory: Path) -> None:
        """Put it into the container's directory."""
        fresh = directory / "record.new"
        fresh.unlink(missing_ok=True)  # it was being written when something was interrupted
        with open(fresh, "x", encoding="utf-8", opener=_PRIVATE) as file:  # x follows no link; an interrupt closes it wherever it comes
            file.write(json.dumps(vars(self)))
        os.replace(fresh, directory / "record.json")


def find(text: str, containers: Path) -> Record:
    """The container of that name, or whose id begins so. Raises ContainerNotFound."""
    known = [found for found in map(read, containers.iterdir()) if found is not None]
    named = [found for found in known if text in (found.name, found.id)] or [found for found in known if text and found.id.startswith(text)]
    if len(named) == 1:
        return named[0]
    reason = f"{len(named)} containers have ids that begin so" if named else "there is no such container"
    raise ContainerNotFound(
        f"cannot find container {text[:_SHOWN]!r}: {reason}", hint="cellhold ps -a lists them; in a notebook %container tells the id"
    )


def birth(pid: int) -> int | None:
    """When a process began, in ticks since boot (proc_pid_stat(5), field starttime); None if there is none of that number."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b") ")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def read(directory: Path) -> Record | None:
    """The record in a container's directory; None if there is none, or half of one, or one of a later version of this program."""
    try:
        found = json.loads((directory / "record.json").read_text(encoding="utf-8"))
        return Record(**found) if found.get("version", VERSION) <= VERSION else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _opened(path: Path) -> int:
    try:
        return locks.file(path)()
    except FileNotFoundError:
        raise ContainerNotFound(f"cannot find container {path.parent.name}: it has just been removed") from None


def is_of_later_version(directory: Path) -> bool:
    """Whether a later version of this program has written what is there, so that this one must not touch it."""
    try:
        found = json.loads((directory / "record.json").read_text(encoding="utf-8"))
        return bool(found["version"] > VERSION)
    except (OSError, ValueError, TypeError, KeyError):
        return False


@contextmanager
def changing(directory: Path) -> Iterator[Record]:
    """Change the record of a container that is kept, while no other process does: it is read, and written when the block is through.

    Raises ContainerNotFound where it is gone by now.
    """
    path = directory / _LOCK
    with locks.held(path, lambda: _opened(path)):
        found = read(directory)
        if found is None and is_of_later_version(directory):
            raise NotSupported(f"cannot change container {directory.name}: a later version of Cellhold has made it", hint="use that one")
        if found is None:
            raise ContainerNotFound(f"cannot find container {directory.name}: it has just been removed")
        before = {one.name: getattr(found, one.name) for one in fields(found)}
        yield found
        if vars(found) != before:
            found.write(directory)
