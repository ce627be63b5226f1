"""What one container has written to the notebook's folder, and the hand-out of it.

The relay calls begin() at the end of each cell, before its end is told, and settle()
while one runs; run() when the container has ended. One of them works at a time: little
is done on the host kernel's thread, anything else in a thread of its own, whose end
`fileno` shows. The last container's hand-out is finished before its writable layer is
removed.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from cellhold_kernel.files import plan, survey
from cellhold_kernel.files.perform import Performer, Stopped
from cellhold_kernel.files.plan import Asked, Bounds, Why, Write

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from cellhold_kernel.files.folder import HostFolder
    from cellhold_kernel.files.perform import Done
    from cellhold_kernel.files.plan import Made, Plan, Stay
    from cellhold_kernel.files.record import Record
    from cellhold_kernel.files.survey import Signature, Survey

SETTLED_SECONDS = 5.0  # that a file has stood still when it goes out while its cell runs
_INLINE_ENTRIES, _INLINE_ACTIONS, _INLINE_BYTES = 2000, 16, 4 << 20  # what takes some milliseconds
_MOST_ENTRIES = 200_000
_LOST_MOST = 100_000
BOUNDS = Bounds()


class Moment(Enum):
    """When something is handed out."""

    CELL = auto()  # at the end of one: everything
    RUNNING = auto()  # while one runs: what stands still
    END = auto()  # of the container: everything
    AGAIN = auto()  # what a container left whose host kernel was killed: what is not outside yet
    KEEP = auto()  # what a person has named


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of it. written, removed: names in the folder.

    stays: what stays inside and was not told yet.
    """

    written: Sequence[bytes] = ()
    removed: Sequence[bytes] = ()
    stays: Sequence[Stay] = ()
    is_cut: bool = False  # there is more than is looked at
    failure: str = ""  # why nothing could be done


@dataclass(kw_only=True)
class _Memory:
    """What was seen of the upper directory.

    Signatures of what need not be looked at again, and since when others are as they
    are.
    """

    settled: dict[bytes, Signature] = field(default_factory=dict)
    since: dict[bytes, tuple[Signature, float]] = field(default_factory=dict)
    stays: dict[bytes, Stay] = field(default_factory=dict)


class HandOut:
    """One run of one container's. is_inside: nothing goes out (mount=ro)."""

    def __init__(  # noqa: PLR0913  # both ends, and what lies between
        self,
        upper: int,
        folder: HostFolder,
        record: Record,
        *,
        origin: str,
        hidden: Collection[bytes] = (),
        is_inside: bool = False,
        is_resumed: bool = False,
        bounds: Bounds = BOUNDS,
    ) -> None:
        """upper: the upper directory, a descriptor that is this object's from now on.

        is_resumed: an earlier run has handed out of it.
        """
        self.is_inside = is_inside
        self._upper = upper
        self._folder = folder
        self._record = record
        self._origin = origin
        self._hidden = hidden
        self._bounds = bounds
        self._memory = _Memory()
        self._has_recovered = is_inside
        self._thread: threading.Thread | None = None
        self._result: Report | BaseException = Report()
        self._event = -1
        self._is_stopped = False
        self._is_resumed = is_resumed

    # ------------------------------------------------------------------------- the work

    def begin(self, moment: Moment, *, names: Collection[bytes] | None = None) -> Report | None:
        """Do it now if it is little and return what came of it.

        None: a thread does it, and then fileno() is readable.

        names: what to keep, with all that lies below; None with Moment.KEEP:
        everything. Raises OSError.
        """
        found = survey.read(self._upper, most=_INLINE_ENTRIES)
        if found.is_whole:
            try:
                return self._work(found, moment, names, is_inline=True)
            except _TooMuch:
                pass
        self._thread = threading.Thread(target=self._in_thread, args=(self.fileno(), moment, names), daemon=True, name="hand-out")
        self._thread.start()
        return None

    def run(self, moment: Moment) -> Report:
        """Do it, however long it takes. Raises OSError."""
        if self.is_busy:
            with suppress(OSError):
                self.finish()
        most = _INLINE_ENTRIES if self.is_inside else _MOST_ENTRIES
        return self._work(survey.read(self._upper, most=most), moment, None, is_inline=False)

    @property
    def is_busy(self) -> bool:
        """Whether a thread is at work, or has something to say."""
        return self._thread is not None

    def fileno(self) -> int:
        """Return a descriptor that is readable when the thread has ended.

        It stays this object's.
        """
        if self._event < 0:
            self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return self._event

    def finish(self) -> Report:
        """Return what came of the thread's work. Raises OSError."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
            os.eventfd_read(self.fileno())
        result, self._result = self._result, Report()
        if isinstance(result, BaseException):
            raise result
        return result

    def wait(self) -> None:
        """Wait for the thread; what it has to say stays for finish()."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """End the work, at once, and close what this object has. Twice is no error."""
        self._is_stopped = True
        self.wait()
        self._thread = None
        for fd in (self._upper, self._event):
            if fd >= 0:
                os.close(fd)
        self._upper = self._event = -1
        self._record.close()

    def _in_thread(self, event: int, moment: Moment, names: Collection[bytes] | None) -> None:
        try:
            self._result = self._work(survey.read(self._upper, most=_MOST_ENTRIES), moment, names, is_inline=False)
        except Exception as error:  # noqa: BLE001  # told where finish() is called
            self._result = error
        os.eventfd_write(event, 1)

    def _work(self, found: Survey, moment: Moment, names: Collection[bytes] | None, *, is_inline: bool) -> Report:
        """Raises _TooMuch where is_inline and it would take long."""
        asked = self._ask(found, moment, names)
        if self.is_inside:
            return self._look_inside(found, asked)
        if self._has_recovered and not _is_something(found, self._record.made, asked):
            return Report(is_cut=not found.is_whole)
        try:
            with self._record.held(wait=not is_inline):
                return self._hand_out(found, asked, moment, is_inline=is_inline)
        except BlockingIOError as error:  # another host kernel of the notebook is at it
            raise _TooMuch from error

    def _hand_out(self, found: Survey, asked: Asked, moment: Moment, *, is_inline: bool) -> Report:
        self._recover()
        facts = self._folder.look(plan.paths_of_interest(found, self._record.made, asked))
        planned = plan.make(found, self._record.made, facts, asked)
        if is_inline and (len(planned.actions) > _INLINE_ACTIONS or planned.size_bytes > _INLINE_BYTES):
            raise _TooMuch
        self._record.remove(planned.forgotten)
        performer = Performer(self._upper, self._folder, self._record, origin=self._origin, goes_on=lambda: not self._is_stopped)
        try:
            done = performer.perform(planned.actions)
        except Stopped:
            return Report()
        return self._remember(found, planned, done, moment)

    def _look_inside(self, found: Survey, asked: Asked) -> Report:
        """Nothing goes out: remember what differs."""
        facts = self._folder.look(plan.paths_of_interest(found, {}, asked))
        planned = plan.make(found, {}, facts, asked)
        self._memory.stays |= {stay.path: stay for stay in planned.stays}
        self._memory.settled |= planned.settled
        self._forget_gone(found)
        return Report(is_cut=not found.is_whole)

    def _remember(self, found: Survey, planned: Plan, done: Done, moment: Moment) -> Report:
        memory = self._memory
        self._is_resumed = False
        told = [*planned.stays, *done.stays]
        if moment is Moment.RUNNING:  # the cell's end looks at these again, and says so
            told = []
        else:
            memory.settled |= planned.settled
            memory.settled |= {stay.path: plan.key(found.entries[stay.path]) for stay in done.stays if stay.path in found.entries}
        written = set(done.written)
        for action in planned.actions:
            if isinstance(action, Write) and action.path in written and action.path not in done.unsettled:
                memory.settled[action.path] = action.signature
        for path in (*done.written, *done.removed):
            memory.stays.pop(path, None)
        memory.stays |= {stay.path: stay for stay in told}
        self._forget_gone(found)
        return Report(written=done.written, removed=done.removed, stays=told, is_cut=not found.is_whole)

    def _forget_gone(self, found: Survey) -> None:
        if found.is_whole:
            for memory in (self._memory.settled, self._memory.since, self._memory.stays):
                for path in memory.keys() - found.entries.keys():
                    del memory[path]

    def _recover(self) -> None:
        """Deal with what a host kernel that was killed has left, once."""
        if not self._has_recovered:
            for path, name in list(self._record.asides.items()):
                made = self._record.made.get(path)
                self._folder.recover(path, name, None if made is None else made.identity)
                self._record.put_back(path)
            self._has_recovered = True

    def _ask(self, found: Survey, moment: Moment, names: Collection[bytes] | None) -> Asked:
        settled = self._memory.settled
        is_new: Callable[[bytes, Signature], bool] = lambda path, signature: settled.get(path) != signature  # noqa: E731
        if moment is Moment.RUNNING:
            still = self._standing_still(found)
            is_new = lambda path, signature: path in still and settled.get(path) != signature  # noqa: E731
        kept: Callable[[bytes], bool] = lambda _path: False  # noqa: E731
        if moment is Moment.KEEP:
            kept = (lambda _path: True) if names is None else (lambda path: _lies_in(path, names))
            is_new = lambda path, _signature: names is not None and any(name.startswith(path + b"/") for name in names)  # noqa: E731
        return Asked(
            origin=self._origin,
            bounds=self._bounds,
            hidden=self._hidden,
            is_new=is_new,
            kept=kept,
            is_inside=self.is_inside,
            is_again=moment is Moment.AGAIN or self._is_resumed,
            is_removal_seen=moment in {Moment.CELL, Moment.END},
        )

    def _standing_still(self, found: Survey) -> set[bytes]:
        """Return the files that have not changed for some seconds, and their directories."""
        now = time.monotonic()
        before, since = self._memory.since, {}
        still: set[bytes] = set()
        for path, entry in found.entries.items():
            if entry.kind is not survey.Kind.FILE or self._memory.settled.get(path) == entry.signature:
                continue
            signature, when = before.get(path, (None, now))
            since[path] = (entry.signature, when if signature == entry.signature else now)
            if now - since[path][1] >= SETTLED_SECONDS:
                still.add(path)
                parent = path.rpartition(b"/")[0]
                while parent:
                    still.add(parent)
                    parent = parent.rpartition(b"/")[0]
        self._memory.since = since
        return still

    # ------------------------------------------------------------- what there is to see

    def differences(self) -> Report:
        """Return what differs from the folder now, without handing anything out.

        Everything that stays. Raises OSError.
        """
        self.wait()
        found = survey.read(self._upper, most=_MOST_ENTRIES)
        settled = self._memory.settled
        asked = self._ask(found, Moment.CELL, None)
        facts = self._folder.look(plan.paths_of_interest(found, self._record.made, asked))
        planned = plan.make(found, self._record.made, facts, asked)
        stays = {path: stay for path, stay in self._memory.stays.items() if path in found.entries}
        stays |= {stay.path: stay for stay in planned.stays}
        waiting = [action.path for action in planned.actions if isinstance(action, Write)]
        written = [] if self.is_inside else sorted(path for path in settled if path in self._record.made and path not in stays)
        return Report(written=written, removed=waiting, stays=[stays[path] for path in sorted(stays)], is_cut=not found.is_whole)

    def lost(self) -> list[Stay]:
        """Return what goes with the container.

        What stays inside, but for what nobody misses.
        """
        return [stay for _path, stay in sorted(self._memory.stays.items()) if not stay.is_quiet][:_LOST_MOST]


class _TooMuch(Exception):
    """It is no work for the host kernel's own thread."""


def _is_something(found: Survey, made: Mapping[bytes, Made], asked: Asked) -> bool:
    """Whether there is anything to look at."""
    return bool(plan.paths_of_interest(found, made, asked))


def _lies_in(path: bytes, names: Collection[bytes]) -> bool:
    return any(path == name or path.startswith(name + b"/") for name in names)


__all__ = ["Bounds", "HandOut", "Moment", "Report", "Why"]
