"""Does on the host what a plan says: directories, files, what goes.

Of the container, regular files alone are opened.

A new file is complete before it has a name (O_TMPFILE, linkat(2)): nobody ever sees
half of one, also when this process is killed. Data goes by reflink where both ends lie
on one file system that can, else by copy_file_range(2) or sendfile(2); holes stay
holes.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cellhold.linux import files, mount
from cellhold_kernel.files.folder import Refused, Taken, aside
from cellhold_kernel.files.plan import Made, Remove, Stay, Why, Write
from cellhold_kernel.files.survey import BENEATH, Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cellhold_kernel.files.folder import HostFolder
    from cellhold_kernel.files.plan import Action, Identity, MakeDirectory
    from cellhold_kernel.files.record import Record

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK = 64 << 20  # between two looks at whether to go on
_AT_ONCE = 64  # files that are written before the record says so
_OTHER_WAY = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)


class Stopped(Exception):
    """The host kernel ends, and what is not out yet has to wait for the next one."""


class _Changed(Exception):
    """The file inside is another one than was planned for."""


@dataclass(kw_only=True)
class Done:
    """What came of a plan. written, removed: paths.

    stays: what the folder did not take. unsettled: what changed meanwhile.
    """

    written: list[bytes] = field(default_factory=list)
    removed: list[bytes] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)
    unsettled: list[bytes] = field(default_factory=list)


class Performer:
    """The way from one container's upper directory to the folder.

    upper: a descriptor of it. origin: the container's name in the record. goes_on:
    asked between two files, and within large ones; False ends the work with Stopped.
    """

    def __init__(self, upper: int, folder: HostFolder, record: Record, *, origin: str, goes_on: Callable[[], bool] = lambda: True) -> None:
        """The record is held by the caller while something is done."""
        self._upper = upper
        self._folder = folder
        self._record = record
        self._origin = origin
        self._goes_on = goes_on
        self._done = Done()

    def perform(self, actions: Sequence[Action]) -> Done:
        """Do it all, in this order. Raises Stopped."""
        self._done = Done()
        writes: list[Write] = []
        for action in actions:
            self._check()
            if isinstance(action, Write):
                writes.append(action)
            elif isinstance(action, Remove):
                self._guarded(action.path, lambda action=action: self._remove(action))  # type: ignore[misc]
            else:
                self._guarded(action.path, lambda action=action: self._make_directory(action))  # type: ignore[misc]
        for start in range(0, len(writes), _AT_ONCE):
            self._write_all(writes[start : start + _AT_ONCE])
        return self._done

    def _check(self) -> None:
        if not self._goes_on():
            raise Stopped

    def _guarded(self, path: bytes, do: Callable[[], None]) -> bool:
        """Do one thing; what cannot be done stays inside, with the reason."""
        try:
            do()
        except Taken:
            self._done.stays.append(Stay(path=path, why=Why.FOREIGN))
        except Refused as error:
            self._done.stays.append(Stay(path=path, why=Why.HOST, more=str(error)))
        except _Changed:
            self._done.unsettled.append(path)
        except OSError as error:
            self._done.stays.append(Stay(path=path, why=Why.HOST, more=error.strerror or str(error)))
        else:
            return True
        return False

    def _make_directory(self, action: MakeDirectory) -> None:
        identity, is_new = self._folder.make_directory(action.path)
        if is_new:
            self._record.add([(action.path, Made(identity, self._origin))])
            self._done.written.append(action.path)

    def _remove(self, action: Remove) -> None:
        parent, _, name = action.path.rpartition(b"/")
        with self._folder.directory(parent) as directory:
            put_aside = aside()
            if not action.expected.is_directory:
                self._record.put_aside(action.path, put_aside)
            try:
                self._folder.remove(directory, name, put_aside, action.expected)
            except OSError as error:
                if error.errno == errno.ENOTEMPTY:  # somebody has put something there
                    self._record.remove([action.path])
                    return
                raise
            finally:
                if not action.expected.is_directory:
                    self._record.put_back(action.path)
        self._record.remove([action.path])
        self._done.removed.append(action.path)

    # ---------------------------------------------------------------------------- files

    def _write_all(self, writes: Iterable[Write]) -> None:
        """Fill files that have no name yet; note them; name them; note what they are then."""
        with ExitStack() as closing:
            filled: list[_Filled] = []
            for action in writes:
                self._check()
                self._guarded(action.path, lambda action=action: filled.append(self._fill(action, closing)))  # type: ignore[misc]
            before = {one.action.path: self._record.made.get(one.action.path) for one in filled}
            self._record.add(
                (one.action.path, Made(one.identity(self._folder, is_final=False), self._origin)) for one in filled if one.is_ours
            )
            lost = [one.action.path for one in filled if not self._guarded(one.action.path, lambda one=one: self._publish(one))]  # type: ignore[misc]
            named = [one for one in filled if one.action.path not in lost]
            self._record.add(
                (one.action.path, Made(one.identity(self._folder, is_final=True), self._origin)) for one in named if one.is_ours
            )
            taken = {stay.path for stay in self._done.stays if stay.why is Why.FOREIGN}
            still = [(path, made) for path in lost if path not in taken and (made := before[path]) is not None]
            self._record.remove(set(lost).difference(path for path, _made in still))
            self._record.add(still)
            self._done.written += [one.action.path for one in named]

    def _fill(self, action: Write, closing: ExitStack) -> _Filled:
        parent = action.path.rpartition(b"/")[0]
        with ExitStack() as keep:
            directory = keep.enter_context(self._folder.directory(parent))
            with _opened(self._upper, action) as source:
                target, made = self._folder.new_file(directory)
                keep.callback(os.close, target)
                keep.callback(_unlink, directory, made)
                _copy(source, target, action.size, self._check)
                os.utime(target, ns=(time.time_ns(), action.signature.mtime_ns))
                if Signature.of(os.fstat(source)) != action.signature:
                    self._done.unsettled.append(action.path)  # it goes out as it is, and once more when it has changed
            closing.push(keep.pop_all())
        return _Filled(action, directory, target, made)

    def _publish(self, one: _Filled) -> None:
        action, name = one.action, one.action.path.rpartition(b"/")[2]
        if action.expected is None:
            try:
                self._folder.link(one.directory, one.fd, one.made, name)
            except FileExistsError as error:
                raise Taken from error
            return
        made = one.made or aside()
        self._record.put_aside(action.path, made)
        try:
            if not one.made:
                self._folder.link(one.directory, one.fd, b"", made)
            self._folder.exchange(one.directory, made, name, action.expected)
        except (Taken, OSError):
            _unlink(one.directory, made)
            raise
        finally:
            self._record.put_back(action.path)


@dataclass(frozen=True)
class _Filled:
    """A file that is complete and has no name.

    made: the name that it has where there are no files without.
    """

    action: Write
    directory: int
    fd: int
    made: bytes

    @property
    def is_ours(self) -> bool:
        return self.action.is_ours

    def identity(self, folder: HostFolder, *, is_final: bool) -> Identity:
        found = folder.identity(os.fstat(self.fd))
        return found if is_final else found._replace(ctime_ns=None)


class _opened:  # noqa: N801  # a context manager that is used as a function
    """A regular file below the upper directory, for reading."""

    def __init__(self, upper: int, action: Write) -> None:
        self._fd = -1
        try:
            way = mount.openat2(upper, os.fsdecode(action.path), os.O_PATH | os.O_NOFOLLOW, resolve=BENEATH)
        except FileNotFoundError as error:
            raise _Changed from error
        try:
            status = os.fstat(way)
            if not stat.S_ISREG(status.st_mode) or status.st_ino != action.signature.inode:
                raise _Changed
            self._fd = os.open(f"/proc/self/fd/{way}", _READ)
        finally:
            os.close(way)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)


def _copy(source: int, target: int, size: int, check: Callable[[], None]) -> None:
    """Copy at most `size` bytes; a file that shrinks meanwhile gives fewer.

    check: raises where to stop.
    """
    if size and files.clone(source, target):
        if os.fstat(target).st_size > size:
            os.ftruncate(target, size)
        return
    offset = 0
    while offset < size:
        try:
            begin = os.lseek(source, offset, os.SEEK_DATA)
            end = min(os.lseek(source, begin, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # only a hole is left
        while begin < end:
            check()
            count = _copy_range(source, target, min(end - begin, _CHUNK), begin)
            if count == 0:
                end = begin
                break
            begin += count
        if begin >= size or begin <= offset:
            break
        offset = begin
    os.ftruncate(target, min(size, os.fstat(source).st_size))


def _copy_range(source: int, target: int, count: int, offset: int) -> int:
    try:
        return os.copy_file_range(source, target, count, offset, offset)
    except OSError as error:
        if error.errno not in _OTHER_WAY:
            raise
    os.lseek(target, offset, os.SEEK_SET)
    return os.sendfile(target, source, offset, count)


def _unlink(directory: int, name: bytes) -> None:
    if name:
        with suppress(OSError):
            os.unlink(name, dir_fd=directory)
