"""Cover what is hidden in a mount of the user's, and pin what is fixed there.

See cellhold.spec. It is done when the mount is made, before anything runs.

Whoever shares the directory may rename entries meanwhile. So nothing here goes by a
path from the root: a fixed directory is opened beneath the mount, compared with the one
that was examined when the covers were determined, and what is hidden in it is opened
beneath that descriptor. A cover is mounted on a directory entry, not on a name.
"""

from __future__ import annotations

import os
import stat

from cellhold.linux import mount

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from cellhold.init.plan import Covers

_EACCES, _ESTALE = 13, 116
_BELOW = mount.RESOLVE_BENEATH | mount.RESOLVE_NO_SYMLINKS
_EMPTY = "covered"  # a file of the staging tmpfs


class OpenedMount:
    """Descriptors of a mount and of the fixed directories in it, by path."""

    def __init__(self, root: int) -> None:
        """Use the mount's descriptor `root`, which stays the caller's."""
        self.opened = {"": root}

    def open(self, path: str) -> int:
        """Open a path beneath the nearest fixed directory above it.

        A link is opened itself. Raises OSError.
        """
        above, name = path, ""
        while above not in self.opened:
            above, _, part = above.rpartition("/")
            name = f"{part}/{name}" if name else part
        return mount.openat2(self.opened[above], name, os.O_PATH | os.O_NOFOLLOW, resolve=_BELOW)

    def keep(self, path: str, fd: int) -> None:
        """Use `fd` from now on to open what is below `path`."""
        self.opened[path] = fd

    def close(self) -> None:
        """Close the fixed directories."""
        for path, fd in self.opened.items():
            if path:
                os.close(fd)


def cover_bind(root: int, wanted: Covers, *, has_other_users: bool) -> None:
    """Make each fixed directory a mount point, and cover what is hidden.

    Raises OSError if a fixed directory has been replaced.

    has_other_users: another user in the container may have access where its root has
    none: to a directory of a user without an id in it, whose group, or an entry of
    whose list (acl(5)), has one. What cannot be covered then is refused.
    """
    opened = OpenedMount(root)
    try:
        for fixed in wanted["fixed"]:
            fd = open_fixed(opened, fixed["path"])
            if fd < 0:
                refuse(fixed["path"], has_other_users=has_other_users)
                continue
            try:
                check(fd, fixed["identity"], fixed["path"])
                opened.keep(fixed["path"], pin(fd, read_only=fixed["read_only"]))
            finally:
                os.close(fd)
        hide(opened, wanted["hidden"], has_other_users=has_other_users)
    finally:
        opened.close()


def cover_overlay(root: int, lower: int, wanted: Covers) -> None:
    """Cover what is hidden in an overlay over the directory `lower`.

    Raises OSError if a fixed directory has been replaced. An overlay shows a directory
    by an inode number of its own: so the lower one is checked before and after.
    """
    check_all(lower, wanted)
    opened = OpenedMount(root)
    try:
        for fixed in wanted["fixed"]:
            if (fd := open_fixed(opened, fixed["path"])) >= 0:
                opened.keep(fixed["path"], fd)
        hide(opened, wanted["hidden"], has_other_users=False)  # an overlay accesses its lower layer as we do, whoever asks
    finally:
        opened.close()
    check_all(lower, wanted)


def check_all(root: int, wanted: Covers) -> None:
    """Raise OSError unless each fixed directory below `root` is the expected one."""
    opened = OpenedMount(root)
    try:
        for fixed in wanted["fixed"]:
            if (fd := open_fixed(opened, fixed["path"])) >= 0:
                opened.keep(fixed["path"], fd)
                check(fd, fixed["identity"], fixed["path"])
    finally:
        opened.close()


def open_fixed(opened: OpenedMount, path: str) -> int:
    """Open a fixed directory; return -1 if nobody in here may. Raises OSError."""
    try:
        return opened.open(path)
    except PermissionError:
        return -1
    except OSError as error:
        raise OSError(_ESTALE, f"{path} is not there any more: {error.strerror}") from error


def refuse(path: str, *, has_other_users: bool) -> None:
    """Raise OSError for what we cannot cover and others may see."""
    if has_other_users:
        raise OSError(_EACCES, f"{path} cannot be covered: the container's root may not look there, and other users of it perhaps may")


def check(fd: int, identity: tuple[int, int], path: str) -> None:
    """Raise OSError unless `fd` is the expected directory."""
    status = os.fstat(fd)
    if (status.st_dev, status.st_ino) != tuple(identity):
        raise OSError(_ESTALE, f"{path} is another directory than it was a moment ago")


def pin(fd: int, *, read_only: bool) -> int:
    """Mount a directory on itself, with all mounts in it; return its descriptor."""
    clone = mount.open_tree(fd, "", mount.OPEN_TREE_CLONE | mount.OPEN_TREE_CLOEXEC | mount.AT_RECURSIVE)
    try:
        if read_only:
            mount.mount_setattr(clone, attr_set=mount.MOUNT_ATTR_RDONLY, recursive=True)
        mount.move_mount(clone, fd)
    except OSError:
        os.close(clone)
        raise
    return clone


def hide(opened: OpenedMount, paths: list[str], *, has_other_users: bool) -> None:
    """Cover each path.

    What does not exist, or is out of reach, needs no cover, and a link leads nowhere in
    here.
    """
    for path in paths:
        try:
            fd = opened.open(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            refuse(path, has_other_users=has_other_users)
            continue
        kind = os.fstat(fd).st_mode
        if not stat.S_ISLNK(kind):
            made = empty_directory() if stat.S_ISDIR(kind) else empty_file()
            mount.move_mount(made, fd)
            os.close(made)
        os.close(fd)


def empty_directory() -> int:
    """Return an empty read-only directory as a detached mount."""
    return mount.new_filesystem("tmpfs", {"size": "0", "mode": "555"}, attributes=mount.MOUNT_ATTR_RDONLY)


def empty_file() -> int:
    """Return an empty read-only file as a detached mount.

    The working directory is the staging tmpfs (steps/root.py).
    """
    os.close(os.open(_EMPTY, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
    made = mount.open_tree(mount.AT_FDCWD, _EMPTY)
    mount.mount_setattr(made, attr_set=mount.MOUNT_ATTR_RDONLY)
    return made
