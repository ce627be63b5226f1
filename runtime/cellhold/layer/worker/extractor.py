"""Extract the entries of a tar as files below one directory.

Names come clean (names.py), directories are found by directory_tree.py.
"""

from __future__ import annotations

import os
import stat

from cellhold.errors import ImageRefused
from cellhold.layer.worker import tar
from cellhold.layer.worker.attributes import DEFAULT_ACL, set_xattrs
from cellhold.layer.worker.directory_tree import DIRECTORY, Nodes, is_whiteout
from cellhold.layer.worker.names import quote
from cellhold.store import tree

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.layer.worker.directory_tree import Node
    from cellhold.layer.worker.stream import Stream
    from cellhold.layer.worker.tar import Entry

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PERMISSIONS = 0o777
_SPECIAL = 0o7000
_MOST_IDS = 65536


class Counts:
    """What was done and what was left out."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self.entries = self.whiteouts = self.opaques = self.devices = self.owners = self.xattrs = 0


class Extractor:
    """The directory that a layer is written to.

    late: hard links to files that this layer does not have (path, target), for the end.
    """

    def __init__(self, root: int, stream: Stream, *, ids: int, most: int) -> None:
        """Write to the opened, empty `root`; ids: how many (1: all files belong to 0)."""
        self.nodes = Nodes(root, most)
        self.counts = Counts()
        self.late: list[Entry] = []
        self._stream = stream
        self._ids = ids
        self._ways: dict[bytes, Callable[[Entry, Node, bytes], None]] = {
            tar.FILE: self._file,
            tar.LINK: self._link,
            tar.SYMLINK: self._symlink,
            tar.DIRECTORY: self._directory,
            tar.FIFO: self._fifo,
        }
        os.fchmod(root, 0o755)
        try:
            os.removexattr(root, DEFAULT_ACL)  # inherited from where the store lies: every file here would have it
        except OSError:
            return

    def add(self, entry: Entry) -> None:
        """Write one entry. Raises ImageRefused, or OSError (a full disk)."""
        self.counts.entries += 1
        if self.counts.entries > self.nodes.most:
            raise ImageRefused(f"it has more than {self.nodes.most} entries")
        self._check_owner(entry)
        if not entry.path:
            self._take_root(entry)
            return
        above, _slash, name = entry.path.rpartition(b"/")
        if b".wh." in entry.path and self._is_mark(entry, above, name):
            return
        way = self._ways.get(entry.kind)
        if way is None:
            self.counts.devices += 1  # a container's devices come from whoever runs it
            return
        try:
            way(entry, self.parent(above), name)
        except FileNotFoundError as error:  # an empty target
            raise ImageRefused(f"{quote(entry.path)} cannot be made: {error.strerror}") from error

    def parent(self, path: bytes) -> Node:
        """Return the directory of this path, made if it is missing."""
        found = self.nodes.directory(path)
        assert found is not None  # noqa: S101  # it was made
        return found

    def _check_owner(self, entry: Entry) -> None:
        if not entry.uid and not entry.gid:
            return
        if self._ids == 1:
            entry.uid = entry.gid = 0
            self.counts.owners += 1
        elif entry.uid >= self._ids or entry.gid >= self._ids:
            raise ImageRefused(
                f"{quote(entry.path)} belongs to {entry.uid}:{entry.gid}, and containers have the ids 0 to {self._ids - 1} here",
                hint=None if self._ids == _MOST_IDS else "subordinate ids: /etc/subuid and /etc/subgid can give you 65536",
            )

    def _take_root(self, entry: Entry) -> None:
        """Set the root's attributes. Raises ImageRefused if it is not a directory."""
        if entry.kind != tar.DIRECTORY:
            raise ImageRefused(f"the layer's root is not a directory: an entry of kind {entry.kind.decode()} has its name")
        self._own(entry, self.nodes.root.fd)
        os.fchmod(self.nodes.root.fd, entry.mode & _PERMISSIONS)
        self.nodes.root.entry = entry

    # whiteouts

    def _is_mark(self, entry: Entry, above: bytes, name: bytes) -> bool:
        """Perform a whiteout or opaque mark (OCI image-spec, layer.md); skip aufs's."""
        if name == b".wh..wh..opq":
            node = self.parent(above)
            self.counts.opaques += not node.opaque
            self.nodes.hide(node)
            return True
        if any(part.startswith(b".wh..wh.") for part in entry.path.split(b"/")):
            return True
        if b"/.wh." in b"/" + above:
            raise ImageRefused(f"{quote(entry.path)} lies in a whiteout, which is not a directory")
        if not name.startswith(b".wh."):
            return False
        hidden = name[4:]
        if hidden in {b"", b".", b".."}:
            raise ImageRefused(f"{quote(entry.path)} is a whiteout of nothing that can be deleted")
        self._white_out(self.parent(above), hidden)
        return True

    def _white_out(self, above: Node, name: bytes) -> None:
        """Hide a name of the lower layers; this layer's, before or after it, stays."""
        self.counts.whiteouts += 1
        if above.below is not None and name in above.below:
            self.nodes.hide(above.below[name])
            return
        try:
            self.nodes.white_out(above, name)
        except FileExistsError:
            return

    # kinds

    def _file(self, entry: Entry, above: Node, name: bytes) -> None:
        self.nodes.count()
        directory = self.nodes.fd(above)
        try:
            fd = os.open(name, _NEW_FILE, entry.mode & _PERMISSIONS, dir_fd=directory)
        except FileExistsError:
            self.clear(above, name)
            fd = os.open(name, _NEW_FILE, entry.mode & _PERMISSIONS, dir_fd=directory)
        try:
            if entry.pieces is not None:
                self._fill_sparse(entry, fd)
            elif entry.size:
                for piece in self._stream.pieces(entry.size):
                    write(fd, piece)
            if entry.uid or entry.gid:
                os.fchown(fd, entry.uid, entry.gid)
            if entry.mode & _SPECIAL:
                os.fchmod(fd, entry.mode)
            if entry.xattrs:
                self.counts.xattrs += set_xattrs(fd, entry.xattrs)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _fill_sparse(self, entry: Entry, fd: int) -> None:
        os.ftruncate(fd, entry.real_size)
        for offset, size in entry.pieces or ():
            os.lseek(fd, offset, os.SEEK_SET)
            for piece in self._stream.pieces(size):
                write(fd, piece)

    def _directory(self, entry: Entry, above: Node, name: bytes) -> None:
        """Make a directory, or take the one that is there."""
        # times and set-id bits come at the end: they change, or change what is made
        # below
        node = above.below.get(name) if above.below else None
        if node is None:
            node = self.nodes.make(above, name, entry.mode & _PERMISSIONS)
            if entry.uid or entry.gid:
                os.chown(name, entry.uid, entry.gid, dir_fd=self.nodes.fd(above), follow_symlinks=False)
        else:
            self._own(entry, self.nodes.fd(node))
            os.fchmod(self.nodes.fd(node), entry.mode & _PERMISSIONS)
        node.entry = entry

    def _symlink(self, entry: Entry, above: Node, name: bytes) -> None:
        self.nodes.count()
        directory = self.nodes.fd(above)
        if len(entry.target) >= 4096 or b"\0" in entry.target:  # noqa: PLR2004  # PATH_MAX
            raise ImageRefused(f"{quote(entry.path)} is a link to what no path can be: {quote(entry.target)}")
        try:
            os.symlink(entry.target, name, dir_fd=directory)
        except FileExistsError:
            self.clear(above, name)
            os.symlink(entry.target, name, dir_fd=directory)
        self._finish_by_name(entry, directory, name)

    def _fifo(self, entry: Entry, above: Node, name: bytes) -> None:
        self.nodes.count()
        directory = self.nodes.fd(above)
        self.clear(above, name)
        os.mkfifo(name, entry.mode & _PERMISSIONS, dir_fd=directory)
        self._finish_by_name(entry, directory, name)
        if entry.mode & _SPECIAL:
            os.chmod(name, entry.mode, dir_fd=directory)

    def _finish_by_name(self, entry: Entry, directory: int, name: bytes) -> None:
        if entry.uid or entry.gid:
            os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
        if entry.xattrs:
            self.counts.xattrs += len(entry.xattrs)  # a link or a FIFO cannot have those that are kept (xattr(7))
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=directory, follow_symlinks=False)

    def _link(self, entry: Entry, above: Node, name: bytes) -> None:
        """Link to a file, symbolic link itself or FIFO; never to a directory or outside."""
        if entry.target == entry.path:
            raise ImageRefused(f"{quote(entry.path)} is a hard link to itself")
        self.nodes.count()
        directory, _slash, target = entry.target.rpartition(b"/")
        found = self.nodes.directory(directory, make=False)
        facts = self.facts(found, target) if found is not None else None
        if found is None or facts is None or is_whiteout(facts):
            self.clear(above, name)
            self.late.append(entry)
            return
        if stat.S_ISDIR(facts.st_mode):
            raise ImageRefused(f"{quote(entry.path)} is a hard link to a directory, {quote(entry.target)}")
        if found is above and target == name:
            raise ImageRefused(f"{quote(entry.path)} is a hard link to itself")
        self.link(found, target, above, name)

    def link(self, found: Node, target: bytes, above: Node, name: bytes) -> None:
        """Add a name to a file of this layer (link(2))."""
        self.clear(above, name)
        source = os.dup(self.nodes.fd(found))  # opening the other one may close it
        try:
            os.link(target, name, src_dir_fd=source, dst_dir_fd=self.nodes.fd(above), follow_symlinks=False)
        finally:
            os.close(source)

    def facts(self, node: Node, name: bytes) -> os.stat_result | None:
        """Return the status of a name; a link is not followed."""
        try:
            return os.stat(name, dir_fd=self.nodes.fd(node), follow_symlinks=False)
        except FileNotFoundError:
            return None

    def clear(self, above: Node, name: bytes) -> None:
        """Take away what has the name: the last entry of a name is the one that counts."""
        directory = self.nodes.fd(above)
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            fd = os.open(name, DIRECTORY, dir_fd=directory)
            try:
                tree.empty(fd)
            finally:
                os.close(fd)
            os.rmdir(name, dir_fd=directory)
        self.nodes.drop(above, name)

    # attributes

    def _own(self, entry: Entry, fd: int) -> None:
        os.fchown(fd, entry.uid, entry.gid)

    def finish_directory(self, node: Node) -> None:
        """Set what could not be set while something was made below the directory."""
        entry = node.entry
        if entry is None:
            return
        if not entry.mode & _SPECIAL and not entry.xattrs and node.above is not None:
            times = (entry.mtime_ns, entry.mtime_ns)
            os.utime(node.name, ns=times, dir_fd=self.nodes.fd(node.above), follow_symlinks=False)
            return
        fd = self.nodes.fd(node)
        if entry.mode & _SPECIAL:
            os.fchmod(fd, entry.mode)
        if entry.xattrs:
            self.counts.xattrs += set_xattrs(fd, entry.xattrs)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))


def write(fd: int, data: memoryview) -> None:
    """Write all of the data."""
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, data[done:])
