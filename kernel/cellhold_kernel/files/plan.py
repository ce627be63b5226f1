"""From what a container has written to what is done on the host, and what stays.

Pure: the upper directory (survey.py), the record of what this notebook has made, and
what lies in the folder now are values. Nothing old is changed or removed but what the
record has and nobody else has touched since.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from cellhold_kernel.files import names
from cellhold_kernel.files.survey import Kind, Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from cellhold_kernel.files.survey import Entry, Survey


class Why(Enum):
    """Why something stays in the container."""

    FOREIGN = auto()  # somebody else's: changed inside
    FOREIGN_REMOVED = auto()  # somebody else's: removed inside
    NAME = auto()  # a name of the table
    KIND = auto()  # no regular file, no directory
    BOUND = auto()  # too large, or too many
    HOST = auto()  # the host does not take it
    INSIDE = auto()  # nothing goes out at all (mount=ro)


@dataclass(frozen=True, kw_only=True)
class Stay:
    """Something that stays.

    more: in words: who would read it, what it is, why the host refuses.
    """

    path: bytes
    why: Why
    more: str = ""
    is_quiet: bool = False


class Identity(NamedTuple):
    """A file or directory of the folder.

    device: 0 is the folder's own, which another boot may number otherwise.

    ctime_ns: None where the host kernel was killed before it could see it.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int | None
    is_directory: bool = False

    def is_same(self, other: Identity | None) -> bool:
        """Whether nobody has changed it since. A directory is the same whatever is in it."""
        if other is None or (self.device, self.inode, self.is_directory) != (other.device, other.inode, other.is_directory):
            return False
        if self.is_directory:
            return True
        return (self.size, self.mtime_ns) == (other.size, other.mtime_ns) and (
            None in (self.ctime_ns, other.ctime_ns) or self.ctime_ns == other.ctime_ns
        )


class Made(NamedTuple):
    """A row of the record: what the notebook has made.

    origin: the container that it came from.
    """

    identity: Identity
    origin: str


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The most that goes out at the end of one cell."""

    size_bytes: int = 1 << 30
    count: int = 10_000


@dataclass(frozen=True, kw_only=True)
class Remove:
    """Remove a file, or an empty directory, if it is still what is expected."""

    path: bytes
    expected: Identity


@dataclass(frozen=True, kw_only=True)
class MakeDirectory:
    """Make a directory."""

    path: bytes


@dataclass(frozen=True, kw_only=True)
class Write:
    """Write a file: a new one (expected is None), or in the place of what is expected.

    size: at most.

    is_ours: whether it is the notebook's afterwards.
    """

    path: bytes
    signature: Signature
    expected: Identity | None
    is_ours: bool = True

    @property
    def size(self) -> int:
        """Bytes."""
        return self.signature.size


Action = Remove | MakeDirectory | Write


@dataclass(kw_only=True)
class Plan:
    """What is to be done, in this order; what stays.

    And what need not be looked at again until it changes.
    """

    actions: list[Action] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)
    settled: dict[bytes, Signature] = field(default_factory=dict)
    forgotten: list[bytes] = field(default_factory=list)  # rows of the record that are somebody else's by now

    @property
    def size_bytes(self) -> int:
        """Bytes that are to be written."""
        return sum(action.size for action in self.actions if isinstance(action, Write))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked for. is_new: whether a path is to be looked at.

    kept: whether a person has named it (%keep).

    is_again: a file that has the size and time of what is outside is that. hidden:
    paths that are covered inside. origin: the container. is_removal_seen: whether what
    is missing was removed.
    """

    origin: str
    bounds: Bounds = Bounds()
    hidden: Collection[bytes] = ()
    is_new: Callable[[bytes, Signature], bool] = lambda _path, _signature: True
    kept: Callable[[bytes], bool] = lambda _path: False
    is_inside: bool = False
    is_again: bool = False
    is_removal_seen: bool = True


def paths_of_interest(survey: Survey, record: Mapping[bytes, Made], asked: Asked) -> list[bytes]:
    """Return the paths whose facts on the host a plan needs, parents first."""
    found = {path for path, entry in survey.entries.items() if _is_wanted(path, entry, asked)}
    return sorted(found.union(removed(survey, record, asked)))


def removed(survey: Survey, record: Mapping[bytes, Made], asked: Asked) -> list[bytes]:
    """Return what the record has and the container does not see any more."""
    if not survey.is_whole or not asked.is_removal_seen:
        return []
    return [path for path, made in record.items() if _is_hidden(path, made, survey.entries, asked.origin)]


def make(survey: Survey, record: Mapping[bytes, Made], facts: Mapping[bytes, Identity | None], asked: Asked) -> Plan:
    """Plan. facts: what lies in the folder at the paths of interest; None: nothing.

    A path that is not in the facts cannot be looked at: what is there is somebody
    else's.
    """
    planner = _Planner(survey, record, facts, asked)
    for path in sorted(removed(survey, record, asked), reverse=True):
        planner.remove_own(path)
    for path in sorted(survey.entries):
        if _is_wanted(path, survey.entries[path], asked):
            planner.look(path, survey.entries[path])
    order = {Remove: 0, MakeDirectory: 1, Write: 2}
    planner.plan.actions.sort(key=lambda action: order[type(action)])  # stable: the deepest removed first, parents made first
    return planner.plan


class _Planner:
    def __init__(self, survey: Survey, record: Mapping[bytes, Made], facts: Mapping[bytes, Identity | None], asked: Asked) -> None:
        self.plan = Plan()
        self._entries = survey.entries
        self._record = record
        self._facts = facts
        self._asked = asked
        self._blocked: set[bytes] = set()  # directories that do not come to be: nor does what lies in them
        self._left = [asked.bounds.count, asked.bounds.size_bytes]

    def remove_own(self, path: bytes) -> None:
        """What the notebook has made, and removed now."""
        there, made = self._facts.get(path), self._record[path]
        if there is not None and made.identity.is_same(there) and not self._asked.is_inside:
            self.plan.actions.append(Remove(path=path, expected=there))
        else:
            self.plan.forgotten.append(path)

    def look(self, path: bytes, entry: Entry) -> None:
        """One entry of the upper directory."""
        if self._is_blocked(path):
            return
        rule = names.find_rule_of_path(path)
        if entry.kind is Kind.REMOVED:
            self._look_at_removed(path, entry, rule)
        elif rule is not None:
            self._stay(path, entry, Why.NAME, rule.reader, is_quiet=rule.is_quiet)
        elif entry.kind is Kind.OTHER:
            self._stay(path, entry, Why.KIND, entry.what)
        elif self._asked.is_inside:
            if entry.kind is Kind.FILE and not self._is_copy(path, entry):
                self._stay(path, entry, Why.INSIDE)
        elif (why := self._refusal(path, entry)) is not None:
            self._stay(path, entry, Why.HOST, why)
        elif path not in self._facts:
            self._stay(path, entry, Why.FOREIGN)
        elif entry.kind is Kind.DIRECTORY:
            self._look_at_directory(path, entry, self._facts[path])
        else:
            self._look_at_file(path, entry, self._facts[path])

    def _refusal(self, path: bytes, entry: Entry) -> str | None:
        if any(path == covered or path.startswith(covered + b"/") for covered in self._asked.hidden):
            return "it is covered"
        return "it cannot be looked into" if entry.is_closed else None

    def _look_at_removed(self, path: bytes, entry: Entry, rule: names.Rule | None) -> None:
        there, made = self._facts.get(path), self._record.get(path)
        self._settle(path, entry)
        if there is None or (rule is not None and rule.is_quiet) or (made is not None and made.identity.is_same(there)):
            return  # the last is removed as what the record has
        if self._asked.kept(path) and rule is None and not there.is_directory and not self._asked.is_inside:
            self.plan.actions.append(Remove(path=path, expected=there))
        else:
            self._stay(path, entry, Why.FOREIGN_REMOVED, "a directory" if there.is_directory else "")

    def _look_at_directory(self, path: bytes, entry: Entry, there: Identity | None) -> None:
        made = self._record.get(path)
        if there is not None and not there.is_directory:
            if made is None or not made.identity.is_same(there):
                self._stay(path, entry, Why.FOREIGN)
                return
            self.plan.actions.append(Remove(path=path, expected=there))
            there = None
        if there is None:
            if self._take(0):
                self.plan.actions.append(MakeDirectory(path=path))
            else:
                self._stay(path, entry, Why.BOUND, self._bound(0))
                return
        elif entry.is_opaque and made is None:
            self.plan.stays.append(Stay(path=path, why=Why.FOREIGN))  # what lies in it goes out beside what is there
        self._settle(path, entry)

    def _look_at_file(self, path: bytes, entry: Entry, there: Identity | None) -> None:
        made, is_kept = self._record.get(path), self._asked.kept(path)
        is_own = made is not None and made.identity.is_same(there)
        if made is not None and there is not None and not is_own:
            self.plan.forgotten.append(path)
        if there is not None and there.is_directory:
            if not is_own:
                self._stay(path, entry, Why.FOREIGN)
                return
            self.plan.actions.append(Remove(path=path, expected=there))
            there = None
        if there is not None and not is_own and not is_kept:
            if self._is_copy(path, entry):
                self._settle(path, entry)
            else:
                self._stay(path, entry, Why.FOREIGN)
            return
        if is_own and self._asked.is_again and self._is_copy(path, entry):
            self._settle(path, entry)
            return
        if not is_kept and not self._take(entry.signature.size):
            self._stay(path, entry, Why.BOUND, self._bound(entry.signature.size))
            return
        self.plan.actions.append(Write(path=path, signature=entry.signature, expected=there, is_ours=there is None or is_own))

    def _is_copy(self, path: bytes, entry: Entry) -> bool:
        """Whether a file was copied up and its content not changed.

        Opened for writing, or given another mode.
        """
        there = self._facts.get(path)
        return there is not None and (there.size, there.mtime_ns) == (entry.signature.size, entry.signature.mtime_ns)

    def _take(self, size: int) -> bool:
        if self._left[0] < 1 or self._left[1] < size:
            return False
        self._left[0] -= 1
        self._left[1] -= size
        return True

    def _bound(self, size: int) -> str:
        bounds = self._asked.bounds
        return "bytes" if size > self._left[1] and size <= bounds.size_bytes else "size" if size > bounds.size_bytes else "count"

    def _is_blocked(self, path: bytes) -> bool:
        parent = path.rpartition(b"/")[0]
        while parent:
            if parent in self._blocked:
                return True
            parent = parent.rpartition(b"/")[0]
        return False

    def _stay(self, path: bytes, entry: Entry, why: Why, more: str = "", *, is_quiet: bool = False) -> None:
        self.plan.stays.append(Stay(path=path, why=why, more=more, is_quiet=is_quiet))
        self._settle(path, entry)
        if entry.kind is Kind.DIRECTORY:
            self._blocked.add(path)

    def _settle(self, path: bytes, entry: Entry) -> None:
        self.plan.settled[path] = key(entry)


def _is_wanted(path: bytes, entry: Entry, asked: Asked) -> bool:
    return asked.kept(path) or asked.is_new(path, key(entry))


def key(entry: Entry) -> Signature:
    """Return what tells that an entry is another one.

    A directory's times change with what is in it.
    """
    return entry.signature if entry.kind is not Kind.DIRECTORY else Signature(entry.signature.inode, 0, 0, 0)


def _is_hidden(path: bytes, made: Made, entries: Mapping[bytes, Entry], origin: str) -> bool:
    """Whether the container sees nothing at a path.

    It, or a directory that it lies in, was removed or replaced.
    """
    parts = path.split(b"/")
    is_opaque = False
    for number in range(1, len(parts) + 1):
        entry = entries.get(b"/".join(parts[:number]))
        if entry is None:
            return is_opaque or made.origin == origin  # it was in this upper directory, and is not any more
        if entry.kind is Kind.DIRECTORY and entry.is_closed:
            return False
        if number < len(parts) and entry.kind is not Kind.DIRECTORY:
            return True
        is_opaque = is_opaque or entry.is_opaque
    entry = entries[path]
    return entry.kind is Kind.REMOVED or (entry.kind is not Kind.OTHER and (entry.kind is Kind.DIRECTORY) != made.identity.is_directory)
