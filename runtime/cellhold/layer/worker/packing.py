"""Pack a tree that a container has written, or a stack of layers.

It becomes a tar or a list of changes. This is a program of the inner half. The tree is
hostile: names of any bytes, links to anywhere, FIFOs, files that change while they are
read. Directories are opened one name at a time and links are never followed; whatever
happens to a file, the tar has as many bytes of it as its header says.
"""

from __future__ import annotations

import os
import stat

from cellhold.errors import ImageRefused
from cellhold.layer.worker import confinement, merged, writer
from cellhold.layer.worker.attributes import is_kept
from cellhold.layer.worker.changes import Disk, changes
from cellhold.layer.worker.directory_tree import DIRECTORY, is_whiteout
from cellhold.layer.worker.names import quote
from cellhold.layer.worker.output import CHUNK_BYTES, Output

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from cellhold.layer.worker.job import Job
    from cellhold.layer.worker.merged import Merged
    from cellhold.layer.worker.output import Sink
    from cellhold.layer.worker.report import Report

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_FILE, _LINK, _SYMLINK, _DIRECTORY, _FIFO = b"0", b"1", b"2", b"5", b"6"


def run(job: Job, trees: list[int], report: Report) -> None:
    """Do it and say "done"; raises ImageRefused, OSError."""
    options = job["options"]
    layers = [os.open(".", DIRECTORY, dir_fd=fd) for fd in trees]
    output = Output(0, str(options["compression"]))
    confinement.no_more_processes()
    if options["says"] == "changes":
        disk, listed, most = Disk(), 0, int(options["most"])
        for kind, path, size, facts in changes(layers[0], layers[1:], depth=job["bounds"]["depth"], disk=disk):
            listed += 1
            if listed <= most:
                output.write(b"%s%d %d %d %s\0" % (kind, size, *((0, 0) if facts is None else described(facts)), path))
        output.close()
        report.say("done", str(disk.total), str(max(listed - most, 0)))
        return
    packing = Packing(output, depth=job["bounds"]["depth"], whole=options["says"] == "whole", newest=int(options["mtime_limit_seconds"]))
    with merged.open_stack(layers if options["says"] == "whole" else layers[:1]) as root:
        packing.add_tree(root)
    for target, fd in zip(str(options["below"]).split("\0"), layers[1:], strict=True) if options["below"] else ():
        with merged.open_stack([fd]) as root:
            packing.add_tree(root, os.fsencode(target) + b"/")
    output.write(writer.END)
    output.close()
    report.say("done", output.hash.hexdigest(), str(output.count), str(packing.entries), str(packing.left_out))


def described(facts: os.stat_result) -> tuple[int, int]:
    """Return its last change, in nanoseconds, and whether it is a directory."""
    return facts.st_ctime_ns, stat.S_ISDIR(facts.st_mode)


class Packing:
    """A tree on its way into a tar.

    whole: the tar is of what a stack shows, so nothing is marked as deleted.
    newest: no time is later (-1: any).
    """

    def __init__(self, output: Sink, *, depth: int, whole: bool, newest: int) -> None:
        """Write to `output`."""
        self.entries = 0
        self.left_out = 0
        self._output = output
        self._depth = depth
        self._whole = whole
        self._newest = newest
        self._first: dict[tuple[int, int], bytes] = {}  # files with several names: the first of them

    def add_tree(self, root: Merged, at: bytes = b"") -> None:
        """Add the whole tree: each directory before what is in it.

        Names are in the order of their bytes. at: the path that it has in the tar. A
        tree that is shown below the root, and is empty, is left out.
        """
        names = root.all_names()
        if at and not names:
            return
        self._add_directory(at or b"./", root)
        levels = [(root, at, names[::-1])]
        while levels:
            here, path, names = levels[-1]
            if not names:
                levels.pop()
                if here is not root:
                    here.close()
                continue
            name = names.pop()
            below = self._add(here, path + name, name)
            if below is not None:
                if len(levels) >= self._depth:
                    raise ImageRefused(f"{quote(path + name)} lies more than {self._depth} directories deep")
                self._add_directory(path + name + b"/", below)
                levels.append((below, path + name + b"/", below.all_names()[::-1]))

    def _add(self, here: Merged, path: bytes, name: bytes) -> Merged | None:
        """Write an entry; a directory is only opened."""
        facts, directory = here.topmost(name)
        if facts is None:
            return None  # gone since the names were read
        if is_whiteout(facts):
            if not self._whole:
                self._mark(path[: len(path) - len(name)] + _WHITEOUT + name)
        elif name.startswith(_WHITEOUT):
            self.left_out += 1  # a tar of a layer has no way to say it
        elif stat.S_ISDIR(facts.st_mode):
            return here.enter(name)
        elif stat.S_ISREG(facts.st_mode):
            self._add_file(path, name, directory, facts)
        elif stat.S_ISLNK(facts.st_mode):
            if not self._is_known(path, facts):
                self._write(path, _SYMLINK, facts, target=os.readlink(name, dir_fd=directory))
        elif stat.S_ISFIFO(facts.st_mode):
            self._write(path, _FIFO, facts)
        else:
            self.left_out += 1  # sockets mean nothing without a listener; devices come from whoever runs a container
        return None

    def _add_directory(self, path: bytes, here: Merged) -> None:
        self._write(path, _DIRECTORY, os.fstat(here.fds[0]), xattrs=xattrs_of(here.fds[0]))
        if not self._whole and merged.is_opaque(here.fds[0]):
            self._mark(path.removeprefix(b"./") + _OPAQUE)

    def _mark(self, path: bytes) -> None:
        """Add an empty file whose name is a mark.

        It does not say when the mark was made on disk.
        """
        self._output.write(writer.entry(path, _FILE))
        self.entries += 1

    def _add_file(self, path: bytes, name: bytes, directory: int, facts: os.stat_result) -> None:
        if self._is_known(path, facts):
            return
        fd = os.open(name, _READ, dir_fd=directory)
        try:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                return  # it was another one a moment ago
            self._write(path, _FILE, facts, size=facts.st_size, xattrs=xattrs_of(fd))
            self._copy(fd, facts.st_size)
        finally:
            os.close(fd)

    def _copy(self, fd: int, size: int) -> None:
        """Copy exactly `size` bytes of a file, zeros where it has become shorter."""
        left = size
        while left:
            data = os.read(fd, min(left, CHUNK_BYTES)) or bytes(min(left, CHUNK_BYTES))
            self._content(data)
            left -= len(data)
        if size % writer.BLOCK:
            self._content(writer.padding(size))

    def _content(self, data: bytes) -> None:
        self._output.write(data)

    def _is_known(self, path: bytes, facts: os.stat_result) -> bool:
        """Write a hard link if the file has been written under another name."""
        if facts.st_nlink == 1:
            return False
        key = (facts.st_dev, facts.st_ino)
        first = self._first.setdefault(key, path)
        if first is not path:
            self._write(path, _LINK, facts, target=first)
        return first is not path

    def _write(  # noqa: PLR0913  # the fields of a header
        self,
        path: bytes,
        kind: bytes,
        facts: os.stat_result,
        *,
        size: int = 0,
        target: bytes = b"",
        xattrs: dict[bytes, bytes] | None = None,
    ) -> None:
        seconds = facts.st_mtime_ns // 10**9
        self.entries += 1
        self._output.write(
            writer.entry(
                path,
                kind,
                mode=stat.S_IMODE(facts.st_mode),
                uid=facts.st_uid,
                gid=facts.st_gid,
                size=size,
                mtime=seconds if self._newest < 0 else min(seconds, self._newest),
                target=target,
                xattrs=xattrs,
            )
        )


def xattrs_of(fd: int) -> dict[bytes, bytes]:
    """Return the extended attributes of an opened file that belong to an image."""
    found = {}
    for text in os.listxattr(fd):
        name = os.fsencode(text)
        if is_kept(name):
            try:
                found[name] = os.getxattr(fd, name)
            except OSError:
                continue  # gone, or of a foreign namespace
    return found
