"""A container's record: enough to clear it after any crash, and to describe it.

containers/ID/
    record.json     of a kept container: survives a power cut, and is written even on a
                    full disk (durable.write_text)
    own.json        of one that ends with the process that has it: not fsynced, since
                    nobody has it after a power cut

Written whole and renamed into place, so that a reader sees the old text or the new one.
The name says what happens if the record cannot be read: a record.json stands for a
container that somebody wants to keep, an own.json that nobody holds for litter.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError, ContainerNotFound, Damaged, NotSupported
from cellhold.spec.digest import Digest
from cellhold.spec.lifecycle import State
from cellhold.spec.outcome import Why
from cellhold.spec.spec import Spec
from cellhold.store import durable, locks, table
from cellhold.store.table import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEPT, OWN = "record.json", "own.json"
_LOCK = "record.lock"
_NOTHING = (_LOCK, "own.new", "record.new", "record.spare")  # all that one has that was killed before it was a container
_ID = re.compile(r"[0-9a-f]+")
_DEEPEST = 4  # storage/0/upper/NAME
_PID_MOST = 1 << 22  # PID_MAX_LIMIT, proc_sys_kernel(5)
_SHOWN = 80


@dataclass(kw_only=True)
class Record:
    """One container.

    created, started: seconds since the epoch; state, status and why as in
    cellhold.spec.

    limits: the numbers among those in force, by the names of cellhold.spec.Limits.
    image_id: the digest of its image (StoredImage.id), whatever that is called by now;
    "" if it has none, or an earlier version wrote the record. overlays: where its
    overlays are mounted, the root's first. layers: the chain ids of the unpacked layers
    that it is mounted from, topmost first; no other layers of its image are needed.
    rootfs: the device and inode of the directory that it was made of, if whoever made
    it took and checked one: it has to be the same when it is looked up again. base: the
    first of its ids on the host; None = its user's, or a claim's (ids.py).

    maker: the process that owns it, by its number and birth(), if it is a notebook's:
    for those `spec` holds the owner, the limits in force and the network. kept: no
    process owns it, and it stays until it is removed; then `spec` is what it was made
    from (store/spec_codec.py), auto_remove says that it is removed when it ends
    (docker's --rm), stopping that somebody has asked it to end, removing that somebody
    is about to remove it, restarts how often its policy has restarted it. more: members
    that another version of this program wrote.
    """

    id: str
    name: str
    image: str
    args: list[str]
    created: float
    state: str = "created"
    pid: int | None = None
    status: int | None = None
    signal: int | None = None  # that ended it
    why: str | None = None
    started: float | None = None
    born: int | None = None  # when PID 1 began, in the kernel's ticks since boot: its number may be another's by now
    limits: dict[str, float | None] = field(default_factory=dict)
    image_id: str = ""
    layers: list[str] = field(default_factory=list)
    overlays: list[str] = field(default_factory=lambda: ["/"])
    rootfs: list[int] = field(default_factory=list)
    base: int | None = None
    volumes: list[str] = field(default_factory=list)  # the names of those that it has, whether it runs or not
    network: str = "none"  # as it was asked for
    networks: list[str] = field(default_factory=list)  # the names of those that it is on while it runs
    maker: list[int] = field(default_factory=list)
    kept: bool = False
    spec: dict[str, Any] = field(default_factory=dict)
    auto_remove: bool = False
    stopping: bool = False
    removing: bool = False
    restarts: int = 0
    finished: float | None = None
    oom_kills: int = 0
    memory_peak_bytes: int | None = None
    cpu_seconds: float = 0.0
    health: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        """Whether its program runs or is paused, according to the record."""
        return self.state in ("running", "paused") and self.pid is not None

    def write(self, directory: Path) -> None:
        """Write the record into the container's directory. Raises OSError."""
        members = {**self.more, **{name: value for name, value in vars(self).items() if name != table.MORE}}
        if self.kept:
            durable.write_text(directory / KEPT, _FORM.dumps(members))
        else:
            durable.write(directory / OWN, _FORM.dumps(members), lasting=False)


def read(directory: Path) -> Record:
    """Return the record in a container's directory.

    Raises ContainerNotFound if there is none, Damaged, NotSupported (a later
    version's).
    """
    name = directory.name
    for file in (KEPT, OWN, KEPT):  # it may come to be kept while we look
        with suppress(FileNotFoundError):
            found = _FORM.read(directory / file, f"container {name}", hint=_remedy(directory))
            if found.id != name:
                raise Damaged(f"cannot read container {name}: {directory / file} is of {found.id[:_SHOWN]!r}", hint=_remedy(directory))
            return found
    if _has_files(directory):
        raise Damaged(f"cannot read container {name}: {directory / KEPT} is damaged: it is not there", hint=_remedy(directory))
    raise ContainerNotFound(f"cannot find container {name}: it has just been removed")


def peek(directory: Path) -> Record | None:
    """Return the record as it is now, or None if it cannot be read.

    None does not mean that the container is gone.
    """
    try:
        return read(directory)
    except CellholdError:
        return None


def list_readable(containers: Path) -> list[Record]:
    """Return the records that can be read."""
    return [record for record in map(peek, directories(containers)) if record is not None]


def unreadable(containers: Path) -> list[Unreadable]:
    """Return the containers whose records cannot be read, by id.

    Nobody knows what they use.
    """
    found = []
    for directory in directories(containers):
        try:
            read(directory)
        except ContainerNotFound:
            continue
        except (Damaged, NotSupported) as error:
            found.append(Unreadable(name=directory.name, place=directory, error=error))
    return found


def directories(containers: Path) -> list[Path]:
    """Return the directories of containers, by id.

    Half removed ones and other files are left out.
    """
    return sorted(path for path in containers.iterdir() if is_container_id(path) and path.is_dir() and not path.is_symlink())


def is_container_id(directory: Path) -> bool:
    """Return whether the name is a container's."""
    return _ID.fullmatch(directory.name) is not None


def is_kept(directory: Path) -> bool:
    """Return whether the files in a directory are those of a kept container.

    Only the names decide, whatever the record says.
    """
    return (directory / KEPT).exists() or (not (directory / OWN).exists() and _has_files(directory))


def is_held(directory: Path) -> bool:
    """Return whether a process holds the container in that directory.

    That is its owner or monitor, or one that is just starting or clearing it.
    """
    try:
        os.close(locks.try_directory(directory, shared=True))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def is_leftover(record: Record, directory: Path) -> bool:
    """Return whether a container was left behind by a killed process.

    The next sweep clears it, and its name is free.
    """
    if record.kept:
        return record.removing and not is_held(directory)
    return record.removing or not is_held(directory)  # removing: a sweep is at it, and has it


def find(text: str, containers: Path) -> Record:
    """Return the container of that name, or whose id begins with the text.

    A container left by a crash yields to one that exists. Raises ContainerNotFound;
    Damaged, NotSupported if its record cannot be read.
    """
    records = list_readable(containers)
    named = _without_leftovers([found for found in records if text in (found.name, found.id)], containers)
    begun = _without_leftovers([found for found in records if text and found.id.startswith(text)], containers)
    broken = [found for found in unreadable(containers) if text and found.name.startswith(text)]
    if not named and len(begun) + len(broken) == 1 and broken:
        raise broken[0].error
    if len(named or begun) == 1 and (named or not broken):
        return (named or begun)[0]
    count = len(named or [*begun, *broken])
    reason = f"{count} container ids begin with it" if count else "there is no such container"
    raise ContainerNotFound(
        f"cannot find container {text[:_SHOWN]!r}: {reason}", hint="cellhold ps -a lists them; in a notebook %container shows the id"
    )


def _without_leftovers(matches: list[Record], containers: Path) -> list[Record]:
    """Drop leftovers if there is more than one match."""
    if len(matches) < 2:  # noqa: PLR2004  # one of two
        return matches
    return [one for one in matches if not is_leftover(one, containers / one.id)] or matches[:1]


def birth(pid: int) -> int | None:
    """Return when a process began, in ticks since boot, or None if there is none.

    proc_pid_stat(5), field starttime.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b") ")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


@contextmanager
def changing(directory: Path, *, anyway: bool = False) -> Iterator[Record]:
    """Yield the record of a kept container to change; write it at the end.

    No other process changes it meanwhile. anyway: a disk that is full or read-only is
    not an error. Raises ContainerNotFound if it is gone by now, and what read() and
    Record.write() raise.
    """
    path = directory / _LOCK
    with locks.held(path, lambda: _opened(path)):
        found = read(directory)
        before = {one.name: getattr(found, one.name) for one in fields(found)}
        yield found
        if vars(found) != before:
            try:
                found.write(directory)
            except OSError as error:
                if not (anyway and error.errno in durable.UNWRITABLE):
                    raise


def _opened(path: Path) -> int:
    try:
        return locks.file(path)()
    except FileNotFoundError:
        raise ContainerNotFound(f"cannot find container {path.parent.name}: it has just been removed") from None


def _has_files(directory: Path, depth: int = 1) -> bool:
    """Return whether anything but our empty directories, locks and drafts is in it.

    What cannot be read may be anything.
    """
    try:
        with os.scandir(directory) as found:
            for entry in found:
                if not entry.is_dir(follow_symlinks=False):
                    if entry.name not in _NOTHING:
                        return True
                elif depth == _DEEPEST or _has_files(directory / entry.name, depth + 1):
                    return True
    except OSError:
        return directory.exists()
    return False


def _remedy(directory: Path) -> str:
    return f"what it has written is in {directory}/storage; `cellhold rm --force {directory.name}` removes all of it"


def _check(record: Record) -> None:
    """Raise ValueError for misleading values.

    Those are impossible times, an unknown state, a spec of other types.
    """
    for name in ("created", "started", "finished"):
        table.check_moment(getattr(record, name), name)
    if record.state not in tuple(State):
        raise ValueError("state is unknown")
    if record.why is not None and record.why not in tuple(Why):
        raise ValueError("why is unknown")
    if record.pid is not None and not 0 < record.pid <= _PID_MOST:
        raise ValueError("pid is not the number of a process")
    for text in record.layers:
        Digest.parse(text)
    if record.spec:
        table.check(Spec, record.spec)


_FORM = table.Form(kind=Record, version=2, steps={**table.BEFORE_VERSIONS, 1: dict}, check=_check)  # 1: an own one was a record.json
