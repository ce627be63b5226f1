"""The notebook's folder on the host, as what is handed out finds it.

By descriptors, a name at a time.

Nothing here follows a link, leaves the folder, or enters a directory that the host's
own programs live in (`protected`). Whatever lies in the folder may be swapped at any
moment: what was opened is what is checked, and what is written.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cellhold.linux import files, mount
from cellhold_kernel.files.plan import Identity
from cellhold_kernel.files.survey import BENEATH

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from cellhold.linux import hostpath

_WAY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_SUCH = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EISDIR)  # what a file system says that cannot do it
ASIDE = b".cellhold-"
FILE_MODE, DIRECTORY_MODE = 0o644, 0o755  # less the host kernel's umask; nothing that comes out can be executed


class Refused(Exception):
    """Why the folder does not take something, in words."""


class Taken(Exception):
    """Something of somebody else's lies there."""


class HostFolder:
    """A directory by its descriptor.

    protected: directories of the host's own programs, which nothing goes into.
    """

    def __init__(self, opened: hostpath.HostPath, *, protected: Collection[hostpath.Identity] = ()) -> None:
        """opened: stays the caller's, open as long as this is used."""
        self._opened = opened
        self._protected = frozenset(protected)
        self._device = opened.status.st_dev

    @contextmanager
    def directory(self, path: bytes) -> Iterator[int]:
        """Open a directory below it (O_PATH), step by step. Raises Refused, OSError."""
        fd = os.open(".", _WAY, dir_fd=self._opened.fileno())
        try:
            self._check(fd)
            for name in path.split(b"/") if path else ():
                step = mount.openat2(fd, os.fsdecode(name), _WAY, resolve=BENEATH)
                os.close(fd)
                fd = step
                self._check(fd)
            yield fd
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise Refused("another file system is mounted there") from error
            raise
        finally:
            os.close(fd)

    def _check(self, fd: int) -> None:
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) in self._protected:
            raise Refused("programs of the host live there")

    def identity(self, status: os.stat_result) -> Identity:
        """Return what tells a file of the folder from any other."""
        device = 0 if status.st_dev == self._device else status.st_dev
        is_directory = stat.S_ISDIR(status.st_mode)
        return Identity(device, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, is_directory)

    def look(self, paths: Iterable[bytes]) -> dict[bytes, Identity | None]:
        """Return what lies at each path, None where nothing does.

        A path that cannot be looked at is left out.

        A link, a device and their like are somebody's, and count as files.
        """
        facts: dict[bytes, Identity | None] = {}
        missing: set[bytes] = set()
        for path in sorted(paths):
            parent, _, name = path.rpartition(b"/")
            if parent in missing:
                facts[path] = None
                missing.add(path)
                continue
            try:
                with self.directory(parent) as fd:
                    facts[path] = self.identity(os.stat(name, dir_fd=fd, follow_symlinks=False))
            except FileNotFoundError:
                facts[path] = None
                missing.add(path)
            except (OSError, Refused):
                continue
        return facts

    def make_directory(self, path: bytes) -> tuple[Identity, bool]:
        """Make a directory; return it, and whether it is new.

        Raises Taken, Refused, OSError.
        """
        parent, _, name = path.rpartition(b"/")
        with self.directory(parent) as fd:
            try:
                os.mkdir(name, DIRECTORY_MODE, dir_fd=fd)
                is_new = True
            except FileExistsError:
                is_new = False
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                raise Taken
            return self.identity(status), is_new

    # ---------------------------------------------------------------- a file that comes

    def new_file(self, directory: int) -> tuple[int, bytes]:
        """Make an empty file in an opened directory.

        Its descriptor, and its name, empty where it needs none yet.
        """
        with suppress(OSError):
            return os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, FILE_MODE, dir_fd=directory), b""
        name = aside()
        return os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE, dir_fd=directory), name

    def link(self, directory: int, fd: int, made: bytes, name: bytes) -> None:
        """Give a new file a name that nothing has. made: as new_file() said.

        Raises FileExistsError, OSError.
        """
        try:
            if made:
                os.link(made, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
                os.unlink(made, dir_fd=directory)
            else:
                os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=directory, follow_symlinks=True)
        except FileExistsError:
            raise
        except OSError as error:
            if not made or error.errno not in _NO_SUCH:
                raise
            files.rename_noreplace(directory, made, directory, name)

    def exchange(self, directory: int, made: bytes, name: bytes, expected: Identity) -> None:
        """Put the new file `made` in the place of `name`, if that is what is expected.

        That goes.

        Raises Taken, and nothing has changed then; OSError.
        """
        self._compare(directory, name, expected)
        try:
            files.rename_exchange(directory, made, directory, name)
        except OSError as error:
            if error.errno not in _NO_SUCH:
                raise
            self._compare(directory, name, expected)
            os.rename(made, name, src_dir_fd=directory, dst_dir_fd=directory)  # there it is not to be had any safer
            return
        if not self._is(directory, made, expected):
            files.rename_exchange(directory, made, directory, name)
            raise Taken
        os.unlink(made, dir_fd=directory)

    # ----------------------------------------------------------------- a file that goes

    def remove(self, directory: int, name: bytes, put_aside: bytes, expected: Identity) -> None:
        """Remove a file, or an empty directory, if it is what is expected.

        Raises Taken, OSError (ENOTEMPTY).
        """
        self._compare(directory, name, expected)
        if expected.is_directory:
            os.rmdir(name, dir_fd=directory)
            return
        os.rename(name, put_aside, src_dir_fd=directory, dst_dir_fd=directory)
        if not self._is(directory, put_aside, expected):
            self._give_back(directory, put_aside, name)
            raise Taken
        os.unlink(put_aside, dir_fd=directory)

    def recover(self, path: bytes, put_aside: bytes, made: Identity | None) -> None:
        """Deal with a name that a host kernel has left which was killed.

        made: what the record has at the path.

        It is the file that was about to come, or the one that was about to go: of the
        notebook's, that goes, and anything else gets its name back if that is free.
        """
        parent, _, name = path.rpartition(b"/")
        with suppress(OSError, Refused), self.directory(parent) as fd:
            there = self.identity(os.stat(put_aside, dir_fd=fd, follow_symlinks=False))
            is_replaced = made is not None and made.is_same(self._find(fd, name))
            if is_replaced or (made is not None and made._replace(ctime_ns=None).is_same(there)):
                os.unlink(put_aside, dir_fd=fd)
            else:
                self._give_back(fd, put_aside, name)

    @staticmethod
    def _give_back(directory: int, put_aside: bytes, name: bytes) -> None:
        with suppress(OSError):  # somebody has made another one since: both stay
            files.rename_noreplace(directory, put_aside, directory, name)

    def _find(self, directory: int, name: bytes) -> Identity | None:
        try:
            return self.identity(os.stat(name, dir_fd=directory, follow_symlinks=False))
        except FileNotFoundError:
            return None

    def _compare(self, directory: int, name: bytes, expected: Identity) -> None:
        if not expected.is_same(self._find(directory, name)):
            raise Taken

    def _is(self, directory: int, name: bytes, expected: Identity) -> bool:
        """Whether it is, after a rename, which has changed its ctime."""
        return expected._replace(ctime_ns=None).is_same(self._find(directory, name))


def aside() -> bytes:
    """Return a name for something that has none yet, or none any more."""
    return ASIDE + secrets.token_hex(6).encode()
