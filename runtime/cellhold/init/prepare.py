"""What the launcher prepares for a clone.

Its writable layer, its overlays, its ids, its stdio, its trees, its /dev.

`Privileged` does it as root of the host. `Rootless` (rootless.py) has the same methods;
which one it is was decided by who started the launcher, and nothing else of init/ asks.
"""

from __future__ import annotations

import _socket
import os
import stat
from ctypes import memmove
from struct import pack

from cellhold.init import cloning
from cellhold.linux import mount, process

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from cellhold.init.fuse import Served
    from cellhold.init.plan import Node, Plan, Tree

MOST_DESCRIPTORS = 253  # in one message (unix(7), SCM_MAX_FD)
_ENOENT, _EINVAL, _ESTALE = 2, 22, 116
# Plan["network"]. Its own, with nothing but loopback; its own, and the last of the
# descriptors is where its network comes from (steps/isolation.py); somebody else's,
# whose namespace is the last of the descriptors.
OWN, WIRED, SHARED = "own", "wired", "shared"
SYSFS_ATTRIBUTES = mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV | mount.MOUNT_ATTR_NOEXEC | mount.MOUNT_ATTR_RDONLY
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"}


class Privileged:
    """Prepare as root of the host.

    The ids that the plan names, idmapped mounts, one /dev with real device nodes for
    all containers.
    """

    def __init__(self) -> None:
        """Start with no /dev made."""
        self._dev = -1

    def writable(self, _plan: Plan, storage: int) -> int:
        """Return the writable layer as a detached mount: root has sent it as one."""
        if self._dev < 0:
            self._dev = make_dev()
        return storage

    def overlays(self, _plan: Plan) -> list[Served]:
        """Return no overlays: PID 1 mounts the kernel's."""
        return []

    def clone(self, plan: Plan, into: int) -> tuple[int, int]:
        """Clone PID 1 (cloning.clone).

        Its user namespace belongs to the first of the container's own ids.
        """
        return cloning.clone(plan["namespaces"], owner=plan["id_base"], into=into)

    def ids(self, plan: Plan, pid: int, stdio: list[int]) -> None:
        """Map the clone's ids; give its root the pipes that are its standard streams."""
        chown_stdio(stdio, plan["id_base"])
        row = f"0 {plan['id_base']} {plan['id_count']}"
        map_ids(pid, row, row)

    def tree(self, wanted: Tree, pid: int) -> int:
        """Return a tree of the host as a detached mount."""
        return tree(wanted, pid)

    def enter_network(self, namespace: int) -> int:
        """Enter a network namespace for a moment, so that the clone begins there.

        Returns the descriptor of the way back; -1: stay here.
        """
        if namespace < 0:
            return -1
        back = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        process.setns(namespace, process.CLONE_NEWNET)
        return back

    def leave_network(self, back: int) -> None:
        """Return to our network namespace."""
        if back >= 0:
            process.setns(back, process.CLONE_NEWNET)
            os.close(back)

    def sysfs(self, namespace: int) -> int:
        """Return the /sys of a clone without rights over its network namespace.

        It shows that namespace, and is made by us.
        """
        back = self.enter_network(namespace)
        try:
            return mount.new_filesystem("sysfs", {}, attributes=SYSFS_ATTRIBUTES)
        finally:
            self.leave_network(back)

    def dev(self, plan: Plan, pid: int) -> int:
        """Return the clone's /dev.

        The shared one, or one of its own if it has devices of the host.
        """
        return shift_ids(make_dev(plan["devices"]) if plan["devices"] else clone_dev(self._dev), pid, recursive=False)


def map_ids(pid: int, uids: str, gids: str) -> None:
    """Write the clone's uid_map and gid_map (user_namespaces(7))."""
    for name, text in (("uid_map", uids), ("gid_map", gids)):
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def chown_stdio(stdio: list[int], owner: int) -> None:
    """Give pipes to the container's root, so that /dev/stdout can be reopened inside.

    Docker does this too.
    """
    for fd in stdio:
        if os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:"):  # a named one belongs to the host
            os.fchown(fd, owner, owner)


def list_held(plan: Plan) -> list[int]:
    """Return the descriptors of its trees, each once, in the order they are sent."""
    return sorted({wanted["held"] for wanted in plan["trees"]} - {-1})


def adopt_held(plan: Plan, fds: list[int]) -> None:
    """Make a plan from another process name the descriptors that came with it."""
    ours = dict(zip(list_held(plan), fds, strict=True))
    for wanted in plan["trees"]:
        wanted["held"] = ours.get(wanted["held"], -1)


def tree(wanted: Tree, pid: int) -> int:
    """Return a detached mount of a tree of the host.

    With ids shifted if its file system supports that.
    """
    flags = mount.OPEN_TREE_CLONE | mount.OPEN_TREE_CLOEXEC | (mount.AT_RECURSIVE if wanted["recursive"] else 0)
    fd = clone(wanted["held"], flags) if wanted["held"] >= 0 else mount.open_tree(mount.AT_FDCWD, wanted["path"], flags)
    try:
        mount.mount_setattr(fd, attr_set=wanted["attributes"], propagation=mount.MS_PRIVATE, recursive=wanted["recursive"])
        return shift_ids(fd, pid, recursive=wanted["recursive"]) if wanted["idmap"] else fd
    except OSError:
        os.close(fd)
        raise


def clone(opened: int, flags: int) -> int:
    """Return what was opened as a detached mount. Raises OSError.

    It is that very file, whatever its name leads to now.
    """
    if not os.fstat(opened).st_nlink and os.readlink(f"/proc/self/fd/{opened}").endswith(" (deleted)"):  # see hostpath.py, is_gone
        raise FileNotFoundError(_ENOENT, os.strerror(_ENOENT))
    try:
        return mount.open_tree(opened, "", flags)
    except OSError as error:
        if error.errno != _EINVAL:
            raise
    here = reopen(opened)  # whoever opened it lives in another mount namespace (open_tree(2), EINVAL)
    try:
        return mount.open_tree(here, "", flags)
    finally:
        os.close(here)


def reopen(opened: int) -> int:
    """Open the same file by a descriptor of our own mount namespace.

    It is looked up where it is now (proc_pid_fd(5)), and the result is compared: as the
    descriptor that was compared is the one that is mounted, nothing can be put in its
    place in between. Raises OSError if it cannot be found.
    """
    path = os.readlink(f"/proc/self/fd/{opened}")
    try:
        here = mount.openat2(mount.AT_FDCWD, path, os.O_PATH, resolve=mount.RESOLVE_NO_SYMLINKS | mount.RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        raise OSError(_ESTALE, f"{path} is not to be found there any more: {error.strerror}") from error
    if os.path.sameopenfile(here, opened):  # st_dev and st_ino, which nobody else gets as long as it is open
        return here
    os.close(here)
    raise OSError(_ESTALE, f"{path} is another file now: it was moved, replaced or mounted over")


def shift_ids(fd: int, pid: int, *, recursive: bool) -> int:
    """Return the mount with the ids of the clone's user namespace.

    0 on disk is its root (mount_setattr(2) MOUNT_ATTR_IDMAP). A file system that does
    not support it (9p, older network file systems) is shown as it is: readable where
    everybody may read.
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


def send_descriptors(to: _socket.socket, fds: list[int], words: bytes = b"go", flags: int = 0) -> None:
    """Send all in one message, which also tells the clone to start."""
    to.sendmsg([words], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack(f"{len(fds)}i", *fds))] if fds else [], flags)


def make_dev(more: list[Node] | tuple[()] = ()) -> int:
    """Make a read-only tmpfs with Docker's device nodes.

    Made once by the host's root and shown in every container as /dev. more: further
    nodes of the host, with their modes; they belong to the container's root.
    """
    fd = mount.new_filesystem("tmpfs", {"mode": "755", "size": "64k"}, attributes=mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NOEXEC)
    for name, (major, minor) in DEVICES.items():
        os.mknod(name, 0o666 | stat.S_IFCHR, os.makedev(major, minor), dir_fd=fd)
        os.chmod(name, 0o666, dir_fd=fd)  # noqa: S103  # as everywhere: /dev/null is for all
    for node in more:
        make_parents(node["path"], fd)
        os.mknod(node["path"], node["mode"], node["device"], dir_fd=fd)
        os.chmod(node["path"], stat.S_IMODE(node["mode"]), dir_fd=fd)
    furnish_dev(fd)
    return fd


def make_parents(path: str, dev: int) -> None:
    """Make the parent directories of a path below /dev."""
    above = ""
    for part in path.split("/")[:-1]:
        above += f"{part}/"
        try:
            os.mkdir(above, 0o755, dir_fd=dev)
        except FileExistsError:
            continue


def furnish_dev(fd: int) -> None:
    """Add links and mount points to the tmpfs that becomes /dev; make it read-only."""
    for name, points_to in _LINKS.items():
        os.symlink(points_to, name, dir_fd=fd)
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(name, dir_fd=fd)
    mount.mount_setattr(fd, attr_set=mount.MOUNT_ATTR_RDONLY)


def clone_dev(dev: int) -> int:
    """Return another mount of make_dev()'s tmpfs.

    It is a new tmpfs before Linux 6.15, which clones no detached mount (EINVAL).
    """
    try:
        return mount.open_tree(dev, "")
    except OSError as error:
        if error.errno != _EINVAL:
            raise
    return make_dev()


def set_title(title: bytes) -> None:
    """Overwrite our command line, which every container's ps would show.

    It has a path of the host in it (proc(5), field arg_start of stat).
    """
    with open("/proc/self/cmdline", "rb") as file:
        room = len(file.read())
    with open("/proc/self/stat", "rb") as file:
        start = int(file.read().rpartition(b")")[2].split()[45])
    with open("/proc/self/comm", "wb") as file:
        file.write(title)
    memmove(start, title[: room - 1].ljust(room, b"\0"), room)
