"""What the launcher prepares on the host for a clone: its ids, its stdio, its trees, its /dev."""

from __future__ import annotations

import _socket
import os
import stat
from ctypes import memmove
from struct import pack

from cellhold.linux import mount

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from cellhold.init.plan import Tree

_EINVAL = 22
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"}


def map_ids(pid: int, base: int, count: int) -> None:
    """Write the clone's uid_map and gid_map (user_namespaces(7))."""
    for name in ("uid_map", "gid_map"):
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, f"0 {base} {count}".encode())
        finally:
            os.close(fd)


def own_stdio(stdio: list[int], owner: int) -> None:
    """Give pipes to the container's root, so that /dev/stdout can be opened again inside (as docker does)."""
    for fd in stdio:
        if os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:"):  # a named one belongs to the host
            os.fchown(fd, owner, owner)


def tree(wanted: Tree, pid: int) -> int:
    """A detached mount of a tree of the host; with ids shifted where its file system can do that."""
    flags = mount.OPEN_TREE_CLONE | mount.OPEN_TREE_CLOEXEC | (mount.AT_RECURSIVE if wanted["recursive"] else 0)
    fd = mount.open_tree(mount.AT_FDCWD, wanted["path"], flags)
    try:
        mount.mount_setattr(fd, attr_set=wanted["attributes"], propagation=mount.MS_PRIVATE, recursive=wanted["recursive"])
        return shifted(fd, pid, recursive=wanted["recursive"]) if wanted["idmap"] else fd
    except OSError:
        os.close(fd)
        raise


def shifted(fd: int, pid: int, *, recursive: bool) -> int:
    """The same mount with the ids of the clone's user namespace: 0 on disk is its root (mount_setattr(2) MOUNT_ATTR_IDMAP).

    A file system that cannot do it (9p, older network file systems) is shown as it is: readable where everybody may read.
    """
    userns = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        mount.mount_setattr(fd, attr_set=mount.MOUNT_ATTR_IDMAP, userns_fd=userns, recursive=recursive)
    except OSError as error:
        if error.errno != _EINVAL:
            raise
    finally:
        os.close(userns)
    return fd


def send_descriptors(to: _socket.socket, fds: list[int]) -> None:
    """Send all in one message: it is the clone's go as well."""
    to.sendmsg([b"go"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack(f"{len(fds)}i", *fds))])


def make_dev() -> int:
    """A read-only tmpfs with docker's device nodes, made once by the host's root and shown in every container as /dev."""
    fd = mount.new_filesystem("tmpfs", {"mode": "755", "size": "64k"}, attributes=mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NOEXEC)
    for name, (major, minor) in _DEVICES.items():
        os.mknod(name, 0o666 | stat.S_IFCHR, os.makedev(major, minor), dir_fd=fd)
        os.chmod(name, 0o666, dir_fd=fd)  # noqa: S103  # as everywhere: /dev/null is for all
    for name, points_to in _LINKS.items():
        os.symlink(points_to, name, dir_fd=fd)
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(name, dir_fd=fd)
    mount.mount_setattr(fd, attr_set=mount.MOUNT_ATTR_RDONLY)
    return fd


def another_dev(dev: int) -> int:
    """A mount of its own of the tmpfs of make_dev(); another tmpfs before Linux 6.15, which clones no detached mount (EINVAL)."""
    try:
        return mount.open_tree(dev, "")
    except OSError as error:
        if error.errno != _EINVAL:
            raise
    return make_dev()


def set_title(title: bytes) -> None:
    """Write over our command line (proc(5), field arg_start of stat): it would show a path of the host in every container's ps."""
    with open("/proc/self/cmdline", "rb") as file:
        room = len(file.read())
    with open("/proc/self/stat", "rb") as file:
        start = int(file.read().rpartition(b")")[2].split()[45])
    with open("/proc/self/comm", "wb") as file:
        file.write(title)
    memmove(start, title[: room - 1].ljust(room, b"\0"), room)
