"""What a layer needs of those below it, once all of its own is there: linked files, and the looks of directories that it only implies.

An overlay shows the topmost directory's owner, mode and times, and link(2) on an overlay copies the file up first. A layer that
was unpacked beside those below it, not on top of them, gets the same here.
"""

from __future__ import annotations

import os
import stat

from cellhold.errors import ImageRefused
from cellhold.layer.worker import merged
from cellhold.layer.worker.attributes import is_kept, set_xattrs
from cellhold.layer.worker.directory_tree import is_whiteout
from cellhold.layer.worker.names import shown

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from cellhold.layer.worker.directory_tree import Node
    from cellhold.layer.worker.extractor import Place
    from cellhold.layer.worker.tar import Entry

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_BYTES = 8 << 20


def needs_lowers(place: Place) -> bool:
    """Whether anything below has to be looked at."""
    return bool(place.late) or place.nodes.root.opaque or any(node.entry is None for node in place.nodes.all())


def finish(place: Place, lowers: list[int]) -> None:
    """Do it. `lowers`: opened directories, topmost first; none for the bottom layer. Raises ImageRefused, OSError."""
    for entry in place.late:
        link(place, lowers, entry)
    if place.nodes.root.opaque:
        hide_all(place, lowers)
    for node in place.nodes.all():
        if node.entry is None:
            inherit(place, lowers, node)
        place.finish_directory(node)


def link(place: Place, lowers: list[int], entry: Entry) -> None:
    """A hard link to a file of a lower layer: copied up to its own name here, then linked."""
    directory, _slash, name = entry.path.rpartition(b"/")
    above = place.parent(directory)
    mine = place.facts(above, name)
    if mine is not None and not is_whiteout(mine):
        return  # a later entry of the same name
    stack = [place.nodes.fd(place.nodes.root), *lowers]
    directory, _slash, target = entry.target.rpartition(b"/")
    names = merged.resolved(stack, directory)
    here = None if names is None else merged.entered(stack, names)
    if here is None or names is None:
        raise missing(entry)
    with here:
        found = here.look(target)
        if found is None or stat.S_ISDIR(found[0].st_mode):
            raise missing(entry)
        beside = place.parent(b"/".join(names))
        if place.facts(beside, target) is None:
            copy_up(place, found, beside, target)
    place.link(beside, target, above, name)


def missing(entry: Entry) -> ImageRefused:
    """There is nothing to link to."""
    return ImageRefused(f"{shown(entry.path)} is a hard link to {shown(entry.target)}, which is no file of it or of the layers below it")


def copy_up(place: Place, found: tuple[os.stat_result, int], beside: Node, name: bytes) -> None:
    """The same file in this layer."""
    facts, directory = found
    place.nodes.count()
    if stat.S_ISLNK(facts.st_mode):
        into = place.nodes.fd(beside)
        os.symlink(os.readlink(name, dir_fd=directory), name, dir_fd=into)
        os.chown(name, facts.st_uid, facts.st_gid, dir_fd=into, follow_symlinks=False)
        os.utime(name, ns=(facts.st_mtime_ns, facts.st_mtime_ns), dir_fd=into, follow_symlinks=False)
    elif stat.S_ISREG(facts.st_mode):
        source = os.open(name, _READ, dir_fd=directory)
        into = os.open(name, _NEW_FILE, 0o600, dir_fd=place.nodes.fd(beside))
        copy(source, into)
        dress(place, source, into)
        os.close(source)
        os.close(into)
    else:
        raise ImageRefused(f"a hard link to {shown(name)} of a lower layer: it is neither a file nor a symbolic link")


def copy(source: int, into: int) -> None:
    """All the bytes; shared on disk where the file system can."""
    while os.copy_file_range(source, into, _COPY_BYTES):
        pass


def dress(place: Place, source: int, into: int) -> None:
    """Owner, mode, extended attributes and times of `source`."""
    facts = os.fstat(source)
    os.fchown(into, facts.st_uid, facts.st_gid)
    os.fchmod(into, stat.S_IMODE(facts.st_mode))
    names = [os.fsencode(name) for name in os.listxattr(source)]
    place.counts.xattrs += set_xattrs(into, {name: os.getxattr(source, name) for name in names if is_kept(name)})
    os.utime(into, ns=(facts.st_mtime_ns, facts.st_mtime_ns))


def inherit(place: Place, lowers: list[int], node: Node) -> None:
    """Let an implied directory look as it does in the layers below; where they have none, root's, 0755, of time 0: the same each time."""
    fd = place.nodes.fd(node)
    here = None if hides(node) else merged.entered(lowers, node.names()) if lowers else None
    if here is None:
        os.utime(fd, ns=(0, 0))
        return
    with here:
        dress(place, here.fds[0], fd)


def hides(node: Node | None) -> bool:
    """Whether it, or one above it, hides the lower layers' directory; the root itself does not, there is always one."""
    while node is not None and node.above is not None:
        if node.opaque:
            return True
        node = node.above
    return False


def hide_all(place: Place, lowers: list[int]) -> None:
    """An opaque root: overlayfs knows no such mark, so each name of the lower layers is hidden by itself."""
    root = place.nodes.root
    with merged.of(lowers) as here:
        for name in here.names():
            below = root.below.get(name) if root.below else None
            if below is not None:
                place.nodes.hide(below)
            elif place.facts(root, name) is None:
                place.nodes.white_out(root, name)
