"""Steps of PID 1: what is mounted in its new root beside the layers.

/proc, /sys and /dev, the cgroups, small files, and what the user asked for; and what of
all that is hidden.
"""

from __future__ import annotations

import _socket
import os
import stat
from struct import unpack

from cellhold.init.covers import cover_bind, cover_overlay
from cellhold.init.populate import populate
from cellhold.init.prepare import send_descriptors
from cellhold.init.steps.root import attach
from cellhold.init.steps.step import Step, format_flags
from cellhold.linux import mount, process

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.init.plan import Bind, FileSystem, Plan
    from cellhold.init.steps.root import ContainerSetup

_BOARD: dict[str, str | None] = {"size": "64k", "nr_inodes": "64", "mode": "755"}
_EMPTY: dict[str, str | None] = {"size": "4k", "nr_inodes": "2", "mode": "555"}  # 0 would mean no limit (tmpfs(5))
_EPERM = 1
_CAP_SYS_ADMIN = 21


def _is_kernels(target: str) -> bool:
    """Return whether a target is a kernel file system that every container has."""
    return target.split("/")[1] in ("proc", "sys", "dev")


def _select_filesystems(plan: Plan, *, kernels: bool) -> list[FileSystem]:
    """The plan's file systems that are the kernel's, or those that the user asked for."""
    return [record for record in plan["filesystems"] if _is_kernels(record["target"]) == kernels]


def _mount_filesystems(setup: ContainerSetup) -> None:
    """Mount /proc, /sys and the rest: new instances that belong to the new namespaces."""
    for record in _select_filesystems(setup.plan, kernels=True):
        if record["fstype"] == "dev":
            attach(setup.dev, setup.open_mount_point(record["target"]))
        elif record["fstype"] == "sysfs" and setup.sysfs >= 0:
            attach(setup.sysfs, setup.open_mount_point(record["target"]))
        else:
            attach(_make_filesystem(setup, record), setup.open_mount_point(record["target"]))


def _filesystem_syscalls(record: FileSystem) -> Iterator[str]:
    if record["fstype"] == "dev":
        yield f'move_mount(a tmpfs with null, zero, full, random, urandom, tty -> "{record["target"]}")'
        return
    options = ",".join(name if value is None else f"{name}={value}" for name, value in record["options"].items())
    yield f'fsopen("{record["fstype"]}"); fsconfig({options}); fsmount({format_flags(record["attributes"], mount, "MOUNT_ATTR_")})'
    way = "RESOLVE_NO_SYMLINKS" if _is_kernels(record["target"]) else "RESOLVE_IN_ROOT"
    yield f'openat2(root, "{record["target"]}", {way}) -> move_mount'


MOUNT_FILESYSTEMS = Step(
    "rootfs.filesystems",
    _mount_filesystems,
    lambda plan: "mount " + ", ".join(record["target"] for record in _select_filesystems(plan, kernels=True)),
    lambda plan: [line for record in _select_filesystems(plan, kernels=True) for line in _filesystem_syscalls(record)],
)


def _make_filesystem(setup: ContainerSetup, record: FileSystem) -> int:
    """Make a file system with the plan's files; return its descriptor."""
    made = mount.new_filesystem(record["fstype"], record["options"], attributes=record["attributes"], source=record["fstype"])
    for name, text in record.get("files", {}).items():
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=made)
        os.write(fd, text.encode())
        os.close(fd)
    if record.get("handed"):
        setup.handed.append(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=made))
        for name in record.get("pipes", []):
            os.mkfifo(name, 0o600, dir_fd=made)
            setup.handed.append(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=made))
    return made


def _mount_cgroups(setup: ContainerSetup) -> None:
    """Mount the container's own groups, so that its limits can be read inside.

    The files belong to the host's root, the mounts are read-only.
    """
    attributes = mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV | mount.MOUNT_ATTR_NOEXEC | mount.MOUNT_ATTR_RDONLY
    views = setup.plan["views"]
    if not views:
        return
    if views[0]["directory"]:
        board = mount.new_filesystem("tmpfs", _BOARD, attributes=attributes & ~mount.MOUNT_ATTR_RDONLY)
        for view in views:
            os.mkdir(view["directory"], 0o755, dir_fd=board)
        mount.move_mount(board, setup.open_mount_point("/sys/fs/cgroup"))
    for view in views:
        options: dict[str, str | None] = {view["option"]: None} if view["option"] else {}
        made = mount.new_filesystem(view["fstype"], options, attributes=attributes, source="cgroup")
        attach(made, setup.open_mount_point(f"/sys/fs/cgroup/{view['directory']}"))
    if views[0]["directory"]:
        mount.mount_setattr(board, attr_set=mount.MOUNT_ATTR_RDONLY)
        os.close(board)


def _describe_cgroups(plan: Plan) -> str:
    views = ", ".join(view["directory"] or view["fstype"] for view in plan["views"])
    return f"mount /sys/fs/cgroup, read-only: {views or 'nothing'}"


MOUNT_CGROUPS = Step(
    "rootfs.cgroup",
    _mount_cgroups,
    _describe_cgroups,
    lambda plan: [f'fsmount({view["fstype"]}) -> move_mount("/sys/fs/cgroup/{view["directory"]}", read-only)' for view in plan["views"]],
)


def _bind_files(setup: ContainerSetup) -> None:
    """Make directories of the writable layer, then bind files such as /etc/hosts.

    The files are made for this container: writable inside, and gone with it.
    """
    for path in setup.plan["directories"]:
        os.close(setup.open_or_create(path, directory=True))
    for number, (path, text) in enumerate(setup.plan["files"].items()):
        name = f"f{number}"
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, text.encode())
        os.close(fd)
        attach(mount.open_tree(mount.AT_FDCWD, name), setup.open_or_create(path, directory=False))


BIND_FILES = Step(
    "rootfs.files",
    _bind_files,
    lambda plan: "bind " + ", ".join(plan["files"]),
    lambda plan: [
        *(f'mkdirat(root, "{path}")' for path in plan["directories"]),
        *(f'write(new file, {len(text)} bytes) -> move_mount("{path}")' for path, text in plan["files"].items()),
    ],
)


def _mount_volumes(setup: ContainerSetup) -> None:
    """Mount what the user asked for, of the host and in memory.

    Each with what is hidden in it, before the next one can lie over it. The shallow
    ones come first, so that none hides another.
    """
    covers = setup.plan["covers"]
    for overlay in setup.plan["overlays"]:
        if overlay["target"] in covers:
            opened = setup.open_or_create(overlay["target"], directory=True)
            lower = os.open(str(overlay["lowers"][0]), os.O_PATH | os.O_DIRECTORY)
            cover_overlay(opened, lower, covers[overlay["target"]])
            os.close(opened)
            os.close(lower)
    kernels = {os.stat(name, dir_fd=setup.root, follow_symlinks=False).st_dev for name in ("proc", "sys", "dev")}
    wanted: list[tuple[str, Bind | None, FileSystem | None]] = [(bind["target"], bind, None) for bind in setup.plan["binds"]]
    wanted += [(record["target"], None, record) for record in _select_filesystems(setup.plan, kernels=False)]
    for path, bind, record in sorted(wanted, key=lambda each: each[0].strip("/").count("/")):
        opened = setup.open_or_create(path, directory=bind is None or bind["directory"])
        if not _is_kernels(path) and os.fstat(opened).st_dev in kernels:
            raise PermissionError(_EPERM, f"a link of the image leads {path} to the kernel's own files")
        if record is not None:
            attach(_make_filesystem(setup, record), opened)
        elif bind is not None:
            _mount_bind(setup, bind, opened)


def _mount_bind(setup: ContainerSetup, bind: Bind, target: int) -> None:
    """Mount a tree of the host on what was opened there, and close both descriptors."""
    tree = setup.trees[bind["tree"]]
    if bind["populate"]:
        populate(target, tree)
    mount.move_mount(tree, target)
    if bind["target"] in setup.plan["covers"]:
        # without root no other user in here is anybody on the host: they are the
        # caller's own subordinate ids
        cover_bind(tree, setup.plan["covers"][bind["target"]], has_other_users=setup.plan["writable"] is None)
    os.close(tree)
    os.close(target)


def _describe_volumes(plan: Plan) -> str:
    memory = ", ".join(record["target"] for record in _select_filesystems(plan, kernels=False))
    bound = ", ".join(bind["target"] for bind in plan["binds"])
    hidden = sum(len(covers["hidden"]) for covers in plan["covers"].values())
    covered = f"; {hidden} names in them covered" if hidden else ""
    return f"bind {bound or 'nothing'}{covered}{f'; a tmpfs on {memory}' if memory else ''}"


def _volume_syscalls(plan: Plan) -> Iterator[str]:
    for bind in plan["binds"]:
        yield f'openat2(root, "{bind["target"]}", RESOLVE_IN_ROOT) -> move_mount(tree {bind["tree"]})'
    for target, covers in plan["covers"].items():
        for fixed in covers["fixed"]:
            words = "compare st_dev and st_ino; open_tree, move_mount: a mount point of its own"
            yield f'openat2(mount at "{target}", "{fixed["path"]}", RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS) -> {words}'
        for path in covers["hidden"]:
            yield f'openat2(mount at "{target}", "{path}", RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS) -> move_mount(an empty file or tmpfs)'
    for record in _select_filesystems(plan, kernels=False):
        yield from _filesystem_syscalls(record)


MOUNT_VOLUMES = Step("rootfs.volumes", _mount_volumes, _describe_volumes, _volume_syscalls)


def _hide_paths(setup: ContainerSetup) -> None:
    """Cover Docker's masked paths; make its paths of /proc and /sys read-only.

    What this kernel lacks needs no cover.
    """
    null = os.open("/dev/null", os.O_PATH)
    for path in setup.plan["masked"]:
        fd = setup.open_existing(path)
        if fd < 0:
            continue
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            attach(mount.new_filesystem("tmpfs", _EMPTY, attributes=mount.MOUNT_ATTR_RDONLY), fd)
        else:
            attach(mount.open_tree(null, ""), fd)
    os.close(null)
    for path in setup.plan["read_only_paths"]:
        fd = setup.open_existing(path)
        if fd < 0:
            continue
        clone = mount.open_tree(fd, "", mount.OPEN_TREE_CLONE | mount.OPEN_TREE_CLOEXEC | mount.AT_RECURSIVE)
        mount.mount_setattr(clone, attr_set=mount.MOUNT_ATTR_RDONLY, recursive=True)
        attach(clone, fd)
    for overlay in setup.plan["overlays"]:
        if overlay["read_only"]:
            fd = setup.open_or_create(overlay["target"], directory=True)
            mount.mount_setattr(fd, attr_set=mount.MOUNT_ATTR_RDONLY)
            os.close(fd)
    os.close(setup.root)


HIDE_PATHS = Step(
    "rootfs.hide",
    _hide_paths,
    lambda plan: f"{len(plan['masked'])} paths of /proc and /sys covered, {len(plan['read_only_paths'])} read-only",
    lambda plan: [
        *(f'openat2("{path}", RESOLVE_NO_SYMLINKS) -> move_mount(/dev/null or an empty tmpfs)' for path in plan["masked"]),
        *(f'mount_setattr("{path}", AT_RECURSIVE, MOUNT_ATTR_RDONLY)' for path in plan["read_only_paths"]),
    ],
)


def _may_mount(plan: Plan) -> bool:
    """Return whether the program may mount and unmount."""
    return bool(plan["bounding"] >> _CAP_SYS_ADMIN & 1)


def _lock_mounts(setup: ContainerSetup) -> None:
    """If the program may unmount: enter a locked copy of our mount namespace.

    What covers /proc and /sys cannot be taken away there. What a lesser mount namespace
    has got from another is locked together in it: nothing of it can be unmounted,
    remounted with less, or looked under, and no new proc or sysfs shows more
    (mount_namespaces(7)). The copy belongs to a user namespace below ours, made for it,
    which nobody is in. No process stays in the one that is not locked.
    """
    if not _may_mount(setup.plan):
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


def _describe_lock(plan: Plan) -> str:
    return "setns: a copy of the mounts, in which no cover can be unmounted" if _may_mount(plan) else "it may not mount"


def _lock_syscalls(plan: Plan) -> list[str]:
    if not _may_mount(plan):
        return []
    return ["unshare(CLONE_NEWUSER|CLONE_NEWNS) in a child", "setns(its /proc/self/ns/mnt, CLONE_NEWNS)"]


LOCK_MOUNTS = Step("rootfs.lock", _lock_mounts, _describe_lock, _lock_syscalls)
