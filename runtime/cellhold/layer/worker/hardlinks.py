"""What a layer needs of those below it, once all of its own is there.

These are linked files, and the attributes of directories that it only implies. An
overlay shows the topmost directory's owner, mode and times, and link(2) on an overlay
copies the file up first. A layer that was unpacked beside those below it, not on top of
them, gets the same here.
"""

from __future__ import annotations

import os
import stat

from cellhold.errors import ImageRefused
from cellhold.layer.worker import merged
from cellhold.layer.worker.attributes import is_kept, set_xattrs
from cellhold.layer.worker.directory_tree import is_whiteout
from cellhold.layer.worker.names import quote

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from cellhold.layer.worker.directory_tree import Node
    from cellhold.layer.worker.extractor import Extractor
    from cellhold.layer.worker.tar import Entry

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_BYTES = 8 << 20


def needs_lowers(extractor: Extractor) -> bool:
    """Return whether any lower layer has to be read."""
    return bool(extractor.late) or extractor.nodes.root.opaque or any(node.entry is None for node in extractor.nodes.all())


def finish(extractor: Extractor, lowers: list[int]) -> None:
    """Complete the layer from those below it.

    lowers: opened directories, topmost first; empty for the bottom layer. Raises
        ImageRefused, OSError.
    """
    for entry in extractor.late:
        link(extractor, lowers, entry)
    if extractor.nodes.root.opaque:
        hide_all(extractor, lowers)
    for node in extractor.nodes.all():
        if node.entry is None:
            inherit(extractor, lowers, node)
        extractor.finish_directory(node)


def link(extractor: Extractor, lowers: list[int], entry: Entry) -> None:
    """Make a hard link to a file of a lower layer.

    The file is copied up to its own name here, then linked.
    """
    directory, _slash, name = entry.path.rpartition(b"/")
    above = extractor.parent(directory)
    mine = extractor.facts(above, name)
    if mine is not None and not is_whiteout(mine):
        return  # a later entry of the same name
    stack = [extractor.nodes.fd(extractor.nodes.root), *lowers]
    directory, _slash, target = entry.target.rpartition(b"/")
    names = merged.resolved(stack, directory)
    here = None if names is None else merged.entered(stack, names)
    if here is None or names is None:
        raise missing(entry)
    with here:
        found = here.look(target)
        if found is None or stat.S_ISDIR(found[0].st_mode):
            raise missing(entry)
        beside = extractor.parent(b"/".join(names))
        if extractor.facts(beside, target) is None:
            copy_up(extractor, found, beside, target)
    extractor.link(beside, target, above, name)


def missing(entry: Entry) -> ImageRefused:
    """Return the error for a link without a target."""
    return ImageRefused(f"{quote(entry.path)} is a hard link to {quote(entry.target)}, which is not in it or in the layers below")


def copy_up(extractor: Extractor, found: tuple[os.stat_result, int], beside: Node, name: bytes) -> None:
    """Copy a file of a lower layer into this layer."""
    facts, directory = found
    extractor.nodes.count()
    if stat.S_ISLNK(facts.st_mode):
        into = extractor.nodes.fd(beside)
        os.symlink(os.readlink(name, dir_fd=directory), name, dir_fd=into)
        os.chown(name, facts.st_uid, facts.st_gid, dir_fd=into, follow_symlinks=False)
        os.utime(name, ns=(facts.st_mtime_ns, facts.st_mtime_ns), dir_fd=into, follow_symlinks=False)
    elif stat.S_ISREG(facts.st_mode):
        source = os.open(name, _READ, dir_fd=directory)
        into = os.open(name, _NEW_FILE, 0o600, dir_fd=extractor.nodes.fd(beside))
        copy(source, into)
        dress(extractor, source, into)
        os.close(source)
        os.close(into)
    else:
        raise ImageRefused(f"a hard link to {quote(name)} of a lower layer: it is neither a file nor a symbolic link")


def copy(source: int, into: int) -> None:
    """Copy all bytes; they are shared on disk if the file system can."""
    while os.copy_file_range(source, into, _COPY_BYTES):
        pass


def dress(extractor: Extractor, source: int, into: int) -> None:
    """Copy owner, mode, extended attributes and times of `source`."""
    facts = os.fstat(source)
    os.fchown(into, facts.st_uid, facts.st_gid)
    os.fchmod(into, stat.S_IMODE(facts.st_mode))
    names = [os.fsencode(name) for name in os.listxattr(source)]
    extractor.counts.xattrs += set_xattrs(into, {name: os.getxattr(source, name) for name in names if is_kept(name)})
    os.utime(into, ns=(facts.st_mtime_ns, facts.st_mtime_ns))


def inherit(extractor: Extractor, lowers: list[int], node: Node) -> None:
    """Give an implied directory the attributes that it has in the layers below.

    If they have none: root's, 0755, of time 0: the same each time.
    """
    fd = extractor.nodes.fd(node)
    here = None if hides(node) else merged.entered(lowers, node.names()) if lowers else None
    if here is None:
        os.utime(fd, ns=(0, 0))
        return
    with here:
        dress(extractor, here.fds[0], fd)


def hides(node: Node | None) -> bool:
    """Return whether the directory, or one above it, hides the lower layers' one.

    The root itself does not, there is always one.
    """
    while node is not None and node.above is not None:
        if node.opaque:
            return True
        node = node.above
    return False


def hide_all(extractor: Extractor, lowers: list[int]) -> None:
    """Make the root opaque by hiding each name of the lower layers.

    overlayfs has no mark for an opaque root.
    """
    root = extractor.nodes.root
    with merged.open_stack(lowers) as here:
        for name in here.names():
            below = root.below.get(name) if root.below else None
            if below is not None:
                extractor.nodes.hide(below)
            elif extractor.facts(root, name) is None:
                extractor.nodes.white_out(root, name)
