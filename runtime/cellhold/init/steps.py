"""What a clone does to itself to become a container. `STEPS` is the table of contents; each step is told by name when it fails.

Runs in the child of clone3, as root of the new user namespace and nothing on the host. The image is hostile: every path of it is
opened beneath the new root with openat2(2), and mounts are moved onto what was opened, never onto a path.
"""

from __future__ import annotations

import _socket
import os
import stat
from struct import unpack

from cellhold.init import shares
from cellhold.init.covers import cover_bind, cover_overlay
from cellhold.init.populate import populate
from cellhold.init.prepare import SHARED, send_descriptors
from cellhold.linux import mount, process
from cellhold.linux.netdevice import set_up

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.init.plan import Bind, FileSystem, Plan

_BOARD: dict[str, str | None] = {"size": "64k", "nr_inodes": "64", "mode": "755"}
_EMPTY: dict[str, str | None] = {"size": "4k", "nr_inodes": "2", "mode": "555"}  # 0 would mean no limit (tmpfs(5))
_STAGED = "1k"  # a directory for each layer, of which an overlay takes 500; a file for each of the plan's
_STAGING = "/tmp"  # noqa: S108  # only a mount point, seen by this process alone: the staging tmpfs covers it
_ROOT = "root"
_WRITABLE = "writable"
_TREE_FLAGS = os.O_PATH | os.O_NOFOLLOW
_NO_LINKS = mount.RESOLVE_BENEATH | mount.RESOLVE_NO_SYMLINKS
_IN_ROOT = mount.RESOLVE_IN_ROOT | mount.RESOLVE_NO_MAGICLINKS
# What PID 1 itself needs beyond the program's set: signals to it, and to give the program another user (capabilities(7)).
_EPERM, _ECONNABORTED = 1, 103
_FIRST_PORT = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
_CAP_KILL, _CAP_SETGID, _CAP_SETUID = 5, 6, 7
_CAP_SYS_ADMIN = 21


class Becoming:
    """The container as far as it has come: the plan, the descriptors handed over, and the new root once there is one."""

    def __init__(  # noqa: PLR0913  # what was handed over
        self,
        plan: Plan,
        *,
        tasks: list[int],
        storage: int,
        overlays: list[int],
        trees: list[int],
        dev: int,
        sysfs: int,
        gate: int,
    ) -> None:
        """Take the plan; the descriptors: v1 `tasks` files, detached mounts: storage, overlays, trees, /dev, /sys.

        sysfs: -1 where PID 1 mounts it, as it may in a network namespace of its own. gate: where the network comes from; -1 = nowhere.
        """
        self.plan = plan
        self.tasks = tasks
        self.storage = storage
        self.overlays = overlays
        self.trees = trees
        self.dev = dev
        self.sysfs = sysfs
        self.gate = gate
        self.root = -1
        self.handed: list[int] = []  # directories that our caller gets


def offer_network(now: Becoming) -> None:
    """Hand out our network namespace, and the user namespace that it belongs to, for our caller to connect it while we go on."""
    if now.gate < 0:
        return
    kinds = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("net", "user")]
    send_descriptors(_socket.socket(fileno=os.dup(now.gate)), kinds, b"network")
    for fd in kinds:
        os.close(fd)


def join_cgroups(now: Becoming) -> None:
    """Enter the v1 groups by ourselves: the write of "0" does not wait for an RCU grace period as a write of a pid does."""
    for fd in now.tasks:
        os.write(fd, b"0")
        os.close(fd)


def become_root(now: Becoming) -> None:
    """Be uid and gid 0 of the new user namespace; on the host that is the first id of the container's range."""
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    if now.plan["id_count"] > 1:  # a namespace of one id has no setgroups(2)
        os.setgroups([])


def unshare_cgroup(_now: Becoming) -> None:
    """A cgroup namespace whose root is the group we have just entered."""
    process.unshare(process.CLONE_NEWCGROUP)


def set_hostname(now: Becoming) -> None:
    """Name the UTS namespace."""
    process.sethostname(now.plan["hostname"])


def stage(now: Becoming) -> None:
    """Attach trees and storage somewhere nobody else sees: a tmpfs of this mount namespace, which goes away with the old root."""
    options: dict[str, str | None] = {"mode": "700", "size": "1m", "nr_inodes": _STAGED}
    staging = mount.new_filesystem("tmpfs", options, attributes=mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV)
    move(staging, os.open(_STAGING, _TREE_FLAGS))
    os.chdir(_STAGING)
    for number in {lower for overlay in now.plan["overlays"] for lower in overlay["lowers"]}:
        os.mkdir(str(number))
        move(now.trees[number], os.open(str(number), _TREE_FLAGS))
    os.mkdir(_WRITABLE)
    move(now.storage, os.open(_WRITABLE, _TREE_FLAGS))
    os.mkdir(_ROOT)


def mount_overlays(now: Becoming) -> None:
    """The layers, and the writable one on top.

    `userxattr`: whiteouts and opaque marks that work in a user namespace. `volatile`: never sync a layer that is thrown away; with it a
    program's own fsync(2) does nothing, so not for a container that is kept.
    """
    if now.overlays:
        attach_overlays(now)
        return
    options = "userxattr,volatile" if now.plan["volatile"] else "userxattr"
    for number, overlay in enumerate(now.plan["overlays"]):
        lowers = ":".join(str(lower) for lower in overlay["lowers"])
        directories = f"lowerdir={lowers},upperdir={_WRITABLE}/{number}/upper,workdir={_WRITABLE}/{number}/work"
        if overlay["target"] == "/":
            mount.mount("overlay", _ROOT, "overlay", 0, f"{directories},{options}")
            now.root = os.open(_ROOT, os.O_PATH | os.O_DIRECTORY)
            continue
        name = f"o{number}"
        os.mkdir(name)
        mount.mount("overlay", name, "overlay", 0, f"{directories},{options}")
        clone = mount.open_tree(mount.AT_FDCWD, name)
        mount.umount2(name)
        move(clone, target(now.root, overlay["target"], directory=True))


def attach_overlays(now: Becoming) -> None:
    """The same, where the launcher has had them made by a program: the kernel's are refused (fuse.py)."""
    for overlay, made in zip(now.plan["overlays"], now.overlays, strict=True):
        if overlay["target"] == "/":
            move(made, os.open(_ROOT, _TREE_FLAGS))
            now.root = os.open(_ROOT, os.O_PATH | os.O_DIRECTORY)
        else:
            move(made, target(now.root, overlay["target"], directory=True))


def mount_filesystems(now: Becoming) -> None:
    """/proc, /sys and the rest: new instances that belong to the new namespaces."""
    for record in now.plan["filesystems"]:
        if not is_kernels(record["target"]):
            continue
        if record["fstype"] == "dev":
            move(now.dev, open_plain(now.root, record["target"]))
        elif record["fstype"] == "sysfs" and now.sysfs >= 0:
            move(now.sysfs, open_plain(now.root, record["target"]))
        else:
            move(made_filesystem(now, record), open_plain(now.root, record["target"]))


def is_kernels(target: str) -> bool:
    """Whether a place is one of the kernel's, which every container has."""
    return target.split("/")[1] in ("proc", "sys", "dev")


def made_filesystem(now: Becoming, record: FileSystem) -> int:
    """A new file system, with the files that it is to have."""
    made = mount.new_filesystem(record["fstype"], record["options"], attributes=record["attributes"], source=record["fstype"])
    for name, text in record.get("files", {}).items():
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=made)
        os.write(fd, text.encode())
        os.close(fd)
    if record.get("handed"):
        now.handed.append(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=made))
        for name in record.get("pipes", []):
            os.mkfifo(name, 0o600, dir_fd=made)
            now.handed.append(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=made))
    return made


def mount_cgroups(now: Becoming) -> None:
    """The container's own limits, readable inside; the files belong to the host's root, the mounts are read-only."""
    attributes = mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV | mount.MOUNT_ATTR_NOEXEC | mount.MOUNT_ATTR_RDONLY
    views = now.plan["views"]
    if not views:
        return
    if views[0]["directory"]:
        board = mount.new_filesystem("tmpfs", _BOARD, attributes=attributes & ~mount.MOUNT_ATTR_RDONLY)
        for view in views:
            os.mkdir(view["directory"], 0o755, dir_fd=board)
        mount.move_mount(board, open_plain(now.root, "/sys/fs/cgroup"))
    for view in views:
        options: dict[str, str | None] = {view["option"]: None} if view["option"] else {}
        made = mount.new_filesystem(view["fstype"], options, attributes=attributes, source="cgroup")
        move(made, open_plain(now.root, f"/sys/fs/cgroup/{view['directory']}"))
    if views[0]["directory"]:
        mount.mount_setattr(board, attr_set=mount.MOUNT_ATTR_RDONLY)
        os.close(board)


def bind_files(now: Becoming) -> None:
    """Small files made for this container, such as /etc/hosts; writable inside, and gone with it. Before them, directories of the layer."""
    for path in now.plan["directories"]:
        os.close(target(now.root, path, directory=True))
    for number, (path, text) in enumerate(now.plan["files"].items()):
        name = f"f{number}"
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, text.encode())
        os.close(fd)
        move(mount.open_tree(mount.AT_FDCWD, name), target(now.root, path, directory=False))


def mount_volumes(now: Becoming) -> None:
    """What the user asked for, of the host and in memory, each with what is hidden in it, before the next one can lie over it.

    The shallow ones come first, so that none hides another.
    """
    covers = now.plan["covers"]
    for overlay in now.plan["overlays"]:
        if overlay["target"] in covers:
            shown = target(now.root, overlay["target"], directory=True)
            lower = os.open(str(overlay["lowers"][0]), os.O_PATH | os.O_DIRECTORY)
            cover_overlay(shown, lower, covers[overlay["target"]])
            os.close(shown)
            os.close(lower)
    kernels = {os.stat(name, dir_fd=now.root, follow_symlinks=False).st_dev for name in ("proc", "sys", "dev")}
    wanted: list[tuple[str, Bind | None, FileSystem | None]] = [(bind["target"], bind, None) for bind in now.plan["binds"]]
    wanted += [(record["target"], None, record) for record in now.plan["filesystems"] if not is_kernels(record["target"])]
    for path, bind, record in sorted(wanted, key=lambda each: each[0].strip("/").count("/")):
        place = target(now.root, path, directory=bind is None or bind["directory"])
        if not is_kernels(path) and os.fstat(place).st_dev in kernels:
            raise PermissionError(_EPERM, f"a link of the image leads {path} to the kernel's own files")
        if record is not None:
            move(made_filesystem(now, record), place)
        elif bind is not None:
            mount_bind(now, bind, place)


def mount_bind(now: Becoming, bind: Bind, place: int) -> None:
    """One of the host's; closes the descriptors."""
    tree = now.trees[bind["tree"]]
    if bind["populate"]:
        populate(place, tree)
    mount.move_mount(tree, place)
    if bind["target"] in now.plan["covers"]:
        # without root no other user in here is anybody on the host: they are the caller's own subordinate ids
        cover_bind(tree, now.plan["covers"][bind["target"]], has_other_users=now.plan["writable"] is None)
    os.close(tree)
    os.close(place)


def pivot(now: Becoming) -> None:
    """Make the new root the root, and let the old one go with all its mounts; no descriptor of it stays."""
    os.fchdir(now.root)
    mount.pivot_root(".", ".")  # the old root now lies over the new one, at the same place (pivot_root(2), NOTES)
    mount.umount2(".")
    os.chdir("/")
    os.close(now.root)
    now.root = os.open("/", os.O_PATH | os.O_DIRECTORY)


def hide_paths(now: Becoming) -> None:
    """Docker's masked paths (covered) and read-only paths of /proc and /sys; what this kernel lacks needs no cover."""
    null = os.open("/dev/null", os.O_PATH)
    for path in now.plan["masked"]:
        fd = open_existing(now.root, path)
        if fd < 0:
            continue
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            move(mount.new_filesystem("tmpfs", _EMPTY, attributes=mount.MOUNT_ATTR_RDONLY), fd)
        else:
            move(mount.open_tree(null, ""), fd)
    os.close(null)
    for path in now.plan["read_only_paths"]:
        fd = open_existing(now.root, path)
        if fd < 0:
            continue
        clone = mount.open_tree(fd, "", mount.OPEN_TREE_CLONE | mount.OPEN_TREE_CLOEXEC | mount.AT_RECURSIVE)
        mount.mount_setattr(clone, attr_set=mount.MOUNT_ATTR_RDONLY, recursive=True)
        move(clone, fd)
    for overlay in now.plan["overlays"]:
        if overlay["read_only"]:
            fd = target(now.root, overlay["target"], directory=True)
            mount.mount_setattr(fd, attr_set=mount.MOUNT_ATTR_RDONLY)
            os.close(fd)
    os.close(now.root)


def may_mount(plan: Plan) -> bool:
    """Whether the program may mount and unmount."""
    return bool(plan["bounding"] >> _CAP_SYS_ADMIN & 1)


def lock_mounts(now: Becoming) -> None:
    """Where the program may unmount: enter a copy of our mount namespace, in which what covers /proc and /sys cannot be taken away.

    What a lesser mount namespace has got from another is locked together there: nothing of it can be unmounted, remounted with less, or
    looked under, and no new proc or sysfs shows more (mount_namespaces(7)). The copy belongs to a user namespace below ours, made
    for it, which nobody is in. No process stays in the one that is not locked.
    """
    if not may_mount(now.plan):
        return
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
    pid = os.fork()
    if pid == 0:
        try:
            process.unshare(process.CLONE_NEWUSER | process.CLONE_NEWNS)
            send_descriptors(theirs, [os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)])
        except OSError as error:
            theirs.send(str(error.errno).encode())
        finally:
            os._exit(0)
    theirs.close()
    words, ancillary, _flags, _address = ours.recvmsg(16, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
    os.waitpid(pid, 0)
    ours.close()
    if not ancillary:
        raise OSError(int(words or b"5"), "CAP_SYS_ADMIN needs a further user namespace, which locks the mounts")
    (fd,) = unpack("i", ancillary[0][2])
    process.setns(fd, process.CLONE_NEWNS)
    os.close(fd)


def take_shares(now: Becoming) -> None:
    """Without root: be content with a share of what the kernel counts for the user (shares.py)."""
    shares.hold(now.plan["maxima"])
    shares.lower(now.plan["rlimits"])


def loopback(now: Becoming) -> None:
    """Bring lo up: the debugger of a kernel and many tests talk to 127.0.0.1. Without a network there is no other device.

    Any port may be bound by anybody inside, as docker has it: those below 1024 are no secret of a host's here.
    """
    if now.plan["network"] == SHARED:
        return
    set_up("lo")
    try:
        fd = os.open(_FIRST_PORT, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # before Linux 4.11
        return
    os.write(fd, b"0")
    os.close(fd)


def await_network(now: Becoming) -> None:
    """Wait until our caller has connected us; then the gate stays open as long as we live, for whom that tells our end."""
    if now.gate >= 0 and not os.read(now.gate, 1):
        raise ConnectionAbortedError(_ECONNABORTED, "the container was not connected")


def drop_privileges(now: Becoming) -> None:
    """A session keyring of our own, no new privileges, the capabilities of the spec (and PID 1's three)."""
    process.join_session_keyring()
    process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
    bounding = now.plan["bounding"]
    process.set_capabilities(bounding=bounding, permitted=bounding | 1 << _CAP_KILL | 1 << _CAP_SETGID | 1 << _CAP_SETUID)


def filter_syscalls(now: Becoming) -> None:
    """The seccomp filter; from here on PID 1 can do no more than the program, but for signals and users."""
    process.seccomp(now.plan["seccomp"])


STEPS: tuple[tuple[str, Callable[[Becoming], None]], ...] = (
    ("network.offer", offer_network),
    ("cgroup.join", join_cgroups),
    ("user.root", become_root),
    ("cgroup.namespace", unshare_cgroup),
    ("uts.hostname", set_hostname),
    ("rootfs.stage", stage),
    ("rootfs.overlay", mount_overlays),
    ("rootfs.filesystems", mount_filesystems),
    ("rootfs.cgroup", mount_cgroups),
    ("rootfs.files", bind_files),
    ("rootfs.volumes", mount_volumes),
    ("rootfs.pivot", pivot),
    ("user.shares", take_shares),
    ("network.loopback", loopback),
    ("rootfs.hide", hide_paths),
    ("rootfs.lock", lock_mounts),
    ("network.await", await_network),
    ("security.capabilities", drop_privileges),
    ("security.seccomp", filter_syscalls),
)


def move(mount_fd: int, target_fd: int) -> None:
    """Attach a detached mount and close both descriptors."""
    mount.move_mount(mount_fd, target_fd)
    os.close(mount_fd)
    os.close(target_fd)


def open_plain(root: int, path: str) -> int:
    """Open one of our own mount points beneath the new root; a symbolic link anywhere in it is an attack (CVE-2019-16884)."""
    return mount.openat2(root, path.strip("/"), os.O_PATH, resolve=_NO_LINKS)


def open_existing(root: int, path: str) -> int:
    """open_plain(), but -1 for a path that is not there."""
    try:
        return open_plain(root, path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return -1


def target(root: int, path: str, *, directory: bool) -> int:
    """Open `path` as the container would see it (links resolve inside the root); make what is missing of it."""
    parts = [part for part in path.split("/") if part]
    here = os.dup(root)
    for number, part in enumerate(parts):
        try:
            following = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
        except FileNotFoundError:
            if directory or number + 1 < len(parts):
                os.mkdir(part, 0o755, dir_fd=here)
            else:
                os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=here))
            following = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
        if stat.S_ISLNK(os.fstat(following).st_mode):  # resolved from the root; names that are no links cost one step each
            os.close(following)
            following = mount.openat2(root, "/".join(parts[: number + 1]), os.O_PATH, resolve=_IN_ROOT)
        os.close(here)
        here = following
    return here
