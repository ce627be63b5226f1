"""The program that tries features: one trial per process.

`python -I -S trials.py NAME ARGUMENT...`

Exit status 0: it works. 1: it does not, and the reason is printed. Nothing outlives the
process: whatever it mounts is mounted in a mount namespace of its own, by a child, so
that directories can be removed when that namespace is gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))  # -I: neither the environment nor the working directory says where we are

from cellhold.errors import CellholdError
from cellhold.init import fuse
from cellhold.linux import mount, process
from cellhold.network import nft
from cellhold.store import subids

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = {
    "user": process.CLONE_NEWUSER,
    "pid": process.CLONE_NEWPID,
    "mount": process.CLONE_NEWNS,
    "net": process.CLONE_NEWNET,
    "uts": process.CLONE_NEWUTS,
    "ipc": process.CLONE_NEWIPC,
    "cgroup": process.CLONE_NEWCGROUP,
    "time": process.CLONE_NEWTIME,
}
_RULES = """
table inet trial {
  set refused { type ipv4_addr . inet_proto . inet_service; flags dynamic; counter; }
  chain out { type filter hook output priority filter; oifname "ch-*" reject with icmpx admin-prohibited; }
  chain in { type nat hook prerouting priority dstnat; fib daddr type local tcp dport 80 dnat ip to 10.87.0.2:80; }
  chain nat { type nat hook postrouting priority srcnat; masquerade; }
}
table bridge trial {
  set members { type ifname . ether_addr . ipv4_addr; }
  chain in { type filter hook prerouting priority dstnat; iifname . ether saddr . ip saddr @members accept; }
}
"""
_FIRST_ID, _IDS = 1 << 20, 1 << 16
_NOBODY = 65534
_LOOP_CTL_GET_FREE = 0x4C82  # linux/loop.h


def main(name: str, *arguments: str) -> None:
    """Run the trial; exit as the module's docstring says."""
    try:
        TRIALS[name](*arguments)
    except OSError as error:
        sys.exit(_say(_reason(error)))


def namespace(kind: str) -> None:
    """Make a namespace of `kind`.

    Without root inside a new user namespace, which grants the right to the others.
    """
    process.unshare(KINDS[kind] | _as_anybody())


def mount_api() -> None:
    """Make a file system by descriptor, attach it, and pivot into it.

    The old root is detached.
    """
    with tempfile.TemporaryDirectory() as place:
        _in_child(lambda: _new_root(place))


def _new_root(place: str) -> None:
    _own_mounts()
    root = mount.new_filesystem("tmpfs", {"mode": "0755"}, attributes=mount.MOUNT_ATTR_NOSUID)
    mount.mount_setattr(root, attr_set=mount.MOUNT_ATTR_NODEV)
    mount.move_mount(root, os.open(place, os.O_PATH))
    os.chdir(place)
    mount.pivot_root(".", ".")
    mount.umount2(".")


def proc() -> None:
    """Mount /proc of a new PID namespace.

    It is refused in containers whose own /proc has masked parts (user_namespaces(7)).
    """
    process.unshare(process.CLONE_NEWUSER | process.CLONE_NEWPID | process.CLONE_NEWNS)
    _in_child(lambda: os.close(mount.new_filesystem("proc", {})))


def overlay(directory: str) -> None:
    """Overlay a writable layer in `directory` over a read-only one.

    With the options that containers use.
    """
    with tempfile.TemporaryDirectory(dir=directory) as place:
        names = [f"{place}/{name}" for name in ("lower", "upper", "work")]
        for name in names:
            Path(name).mkdir()
        _in_child(lambda: _overlay(*names))


def _overlay(lower: str, upper: str, work: str) -> None:
    _own_mounts()
    layers: dict[str, str | None] = {"lowerdir": lower, "upperdir": upper, "workdir": work}
    os.close(mount.new_filesystem("overlay", layers | {"userxattr": None, "volatile": None}))


def fuse_overlay(program: str, directory: str) -> None:
    """Overlay the same by fuse-overlayfs."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        lower, upper, work = (f"{place}/{name}" for name in ("lower", "upper", "work"))
        for name in (lower, upper, work):
            Path(name).mkdir()
        Path(lower, "file").touch()
        _in_child(lambda: _fuse_overlay(program, lower, upper, work))


def _fuse_overlay(program: str, lower: str, upper: str, work: str) -> None:
    _own_mounts()
    made = fuse.overlay(program, lowers=[lower], upper=upper, work=work, volatile=True)
    try:
        os.unlink("file", dir_fd=made.mount)
    finally:
        made.close()
        made.reap()


def idmap(directory: str) -> None:
    """Show `directory` with other owners: an idmapped mount of a new user namespace."""
    tree = mount.open_tree(mount.AT_FDCWD, directory)
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go[1])
        _finish(lambda: _stay_in_user_namespace(ready[1], go[0]))
    try:
        os.close(ready[1])
        if os.read(ready[0], 1):
            _map_ids(child)
            users = os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            mount.mount_setattr(tree, attr_set=mount.MOUNT_ATTR_IDMAP, userns_fd=users)
    finally:
        os.close(go[1])
        _await(child)


def _stay_in_user_namespace(ready: int, go: int) -> None:
    process.unshare(process.CLONE_NEWUSER)
    os.write(ready, b"1")
    os.read(go, 1)


def _map_ids(child: int) -> None:
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{child}/{name}").write_text(f"0 {_FIRST_ID} {_IDS}", encoding="ascii")


def loop() -> None:
    """Ask for a free loop device, and open it."""
    with Path("/dev/loop-control").open("rb") as control:
        number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
    with Path(f"/dev/loop{number}").open("rb"):
        pass


def network() -> None:
    """Fill a network namespace's packet filter with one rule of each kind. Takes root.

    The kinds are those that networks are made of.
    """
    if os.geteuid():
        raise PermissionError(errno.EPERM, "root is required")
    process.unshare(process.CLONE_NEWNET)
    try:
        nft.apply(_RULES)
    except CellholdError as error:
        raise OSError(errno.ENOTSUP, str(error)) from error


def _as_anybody() -> int:
    return process.CLONE_NEWUSER if subids.is_rootless() else 0


def rootless() -> None:
    """Make a user namespace with its own mounts as a user who is not root.

    Root becomes nobody for it.
    """
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        process.prctl(process.PR_SET_DUMPABLE, 1)  # or /proc/self would go on belonging to root
    _own_mounts()


def _own_mounts() -> None:
    uid, gid, anybody = os.geteuid(), os.getegid(), _as_anybody()
    process.unshare(process.CLONE_NEWNS | anybody)
    if anybody:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path(f"/proc/self/{name}").write_bytes(text.encode())  # write_text may import, and nobody may not read this Python
    mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)


def _in_child(work: Callable[[], None]) -> None:
    child = os.fork()
    if child == 0:
        _finish(work)
    _await(child)


def _finish(work: Callable[[], None]) -> None:
    try:
        work()
    except OSError as error:
        os._exit(_say(_reason(error)))
    os._exit(0)


def _await(child: int) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        sys.exit(1)  # the child has said why


def _say(reason: str) -> int:
    os.write(1, reason.encode())
    return 1


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the kernel's limit on namespaces is used up (sysctl user.max_*_namespaces)"
    if error.errno in (errno.ENOSYS, errno.ENODEV):
        return "this kernel does not have it"
    place = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror}{place}"


TRIALS: dict[str, Callable[..., None]] = {
    "namespace": namespace,
    "mount_api": mount_api,
    "proc": proc,
    "overlay": overlay,
    "fuse_overlay": fuse_overlay,
    "idmap": idmap,
    "loop": loop,
    "rootless": rootless,
    "network": network,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
