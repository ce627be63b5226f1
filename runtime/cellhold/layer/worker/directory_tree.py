"""The directories of the layer that is being written.

They are found by name without following a link, opened once, never by a path. A path of
the tar is walked name by name. Where a name is a symbolic link of the layer, the link's
text is walked instead, beginning at the layer's root if it is absolute: as docker and
podman do, which unpack chrooted. The kernel follows none.
"""

from __future__ import annotations

import os
import stat

from cellhold.errors import ImageRefused, NotSupported
from cellhold.layer.worker.names import quote

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.layer.worker.tar import Entry

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40  # in one path, as in the kernel
_MOST_OPEN = 200
_MOST_KNOWN = 8192


class Node:
    """A directory of this layer.

    entry: what the tar says of it; None if it is only implied.
    opaque: it hides the lower layers' directory.
    """

    __slots__ = ("above", "below", "entry", "fd", "name", "opaque")

    def __init__(self, above: Node | None, name: bytes) -> None:
        """Not opened yet."""
        self.above = above
        self.name = name
        self.below: dict[bytes, Node] | None = None
        self.entry: Entry | None = None
        self.fd = -1
        self.opaque = False

    def names(self) -> list[bytes]:
        """Return the names from the root down."""
        names: list[bytes] = []
        node = self
        while node.above is not None:
            names.append(node.name)
            node = node.above
        return names[::-1]


class Nodes:
    """All directories of the layer.

    made: how many were made on disk, at most `most`.
    """

    def __init__(self, root: int, most: int) -> None:
        """Begin with an empty directory that is open already."""
        self.root = Node(None, b"")
        self.root.fd = root
        self.made = 0
        self.most = most
        self._open: dict[Node, None] = {}
        self._known: dict[bytes, Node] = {b"": self.root}

    def count(self) -> None:
        """Count one more entry on disk. Raises ImageRefused if there are too many."""
        self.made += 1
        if self.made > self.most:
            raise ImageRefused(f"it has more than {self.most} entries")

    def fd(self, node: Node) -> int:
        """Return its descriptor; it and those above it are opened if need be."""
        if node.fd < 0:
            closed = []
            while node.fd < 0 and node.above is not None:
                closed.append(node)
                node = node.above
            for below in reversed(closed):
                self._opened(below, os.open(below.name, DIRECTORY, dir_fd=node.fd))
                node = below
        return node.fd

    def _opened(self, node: Node, fd: int) -> None:
        node.fd = fd
        self._open[node] = None
        if len(self._open) > _MOST_OPEN:
            oldest = next(old for old in self._open if old is not node and old is not node.above)
            self._close(oldest)

    def _close(self, node: Node) -> None:
        del self._open[node]
        os.close(node.fd)
        node.fd = -1

    def directory(self, path: bytes, *, make: bool = True) -> Node | None:
        """Return the directory of this path; None if it does not exist.

        It is made if `make` says so. Raises ImageRefused for links in a circle.
        """
        known = self._known.get(path)
        if known is not None:
            return known
        node: Node | None = self.root
        above, _slash, name = path.rpartition(b"/")
        nearest = self._known.get(above)
        todo = [name] if nearest is not None else path.split(b"/")[::-1]
        node, links = nearest or self.root, 0
        while todo:
            name = todo.pop()
            below = self._below(node, name)
            if below is None and (target := self._link(node, name)) is not None:
                links += 1
                if links > _MOST_LINKS:
                    raise ImageRefused(f"{quote(path)} lies below symbolic links that lead to one another")
                node = self.root if target.startswith(b"/") else node
                todo += target.split(b"/")[::-1]
                continue
            if below is None and not make:
                return None
            node = below or self.imply(node, name)
        if len(self._known) > _MOST_KNOWN:
            self.forget()
        self._known[path] = node
        return node

    def _below(self, node: Node, name: bytes) -> Node | None:
        if name in {b"", b"."}:
            return node
        if name == b"..":
            return node.above or node
        return node.below.get(name) if node.below else None

    def _link(self, node: Node, name: bytes) -> bytes | None:
        """Return the text of a symbolic link; None if there is no link of that name."""
        try:
            return os.readlink(name, dir_fd=self.fd(node))
        except OSError:
            return None

    def forget(self) -> None:
        """Forget what paths lead to, after something was removed."""
        self._known = {b"": self.root}

    def imply(self, above: Node, name: bytes) -> Node:
        """Make a directory that the tar has not named (yet)."""
        return self.make(above, name, 0o755)

    def make(self, above: Node, name: bytes, mode: int) -> Node:
        """Make a directory.

        Anything of that name is replaced; the directory then hides what the lower
        layers have there, as the replaced entry did.
        """
        self.count()
        fd = self.fd(above)
        opaque = False
        try:
            os.mkdir(name, mode, dir_fd=fd)
        except FileExistsError:
            os.unlink(name, dir_fd=fd)
            self.forget()
            opaque = True
            os.mkdir(name, mode, dir_fd=fd)
        node = Node(above, name)
        if above.below is None:
            above.below = {}
        above.below[name] = node
        if opaque:
            self.hide(node)
        return node

    def hide(self, node: Node) -> None:
        """Let the directory hide what the lower layers have of the same name.

        The root's own mark means nothing to overlayfs: the root is handled later.
        """
        if not node.opaque:
            node.opaque = True
            if node is not self.root:
                os.setxattr(self.fd(node), OPAQUE, b"y")

    def white_out(self, above: Node, name: bytes) -> None:
        """Hide a name of the lower layers with overlayfs's mark.

        Raises FileExistsError, and NotSupported on a file system that does not take it.
        """
        try:
            os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=self.fd(above))
        except PermissionError:
            raise NotSupported(
                "it deletes a file, and the store's file system takes no mark of that (an overlay, most likely)",
                hint="set CELLHOLD_HOME to a directory on ext4, xfs, btrfs or tmpfs",
            ) from None
        self.count()

    def all(self) -> Iterator[Node]:
        """Yield every directory of the layer, the root first."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            yield node
            if node.below:
                waiting += node.below.values()

    def drop(self, above: Node, name: bytes) -> None:
        """Forget a directory that was removed."""
        if above.below is not None:
            above.below.pop(name, None)
        self.forget()


OPAQUE = b"user.overlay.opaque"  # the name that overlayfs has for it in a user namespace (mount option userxattr)


def is_whiteout(facts: os.stat_result) -> bool:
    """Return whether it is overlayfs's mark of a deleted name.

    The mark is a character device 0:0.
    """
    return stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0
