"""The system calls behind the steps of a plan, as strace(1) would print them: for who wants to see what a container is made of.

Read off the plan that the launcher and PID 1 perform (init/), in the order in which they do it; descriptors are shown as what they are of.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from cellhold.init.prepare import SHARED, WIRED
from cellhold.init.steps import is_kernels, may_mount
from cellhold.linux import mount, process
from cellhold.linux.capabilities import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.init.plan import Covers, FileSystem, Overlay, Plan, Tree

_ATTRIBUTES = {name: getattr(mount, name) for name in vars(mount) if name.startswith("MOUNT_ATTR_")}
_CLONE = {name: getattr(process, name) for name in vars(process) if name.startswith("CLONE_NEW")}
_MOST = 40  # lines of one step


def calls(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Step name -> its calls."""
    told = {
        "launch.clone": [f"clone3({{flags={_names(plan['namespaces'], _CLONE)}|CLONE_PIDFD, exit_signal=SIGCHLD}}) = PID 1{_owner(plan)}"],
        "launch.map-ids": [
            f'write("/proc/PID/{table}", "{" ".join(map(str, row))}")' for table in ("uid_map", "gid_map") for row in plan["id_rows"]
        ],
        "launch.trees": [line for tree in plan["trees"] for line in _tree(tree, as_root=plan["writable"] is None)],
        "cgroup.join": ['write("tasks", "0")  in each v1 hierarchy; on v2 clone3 has put it into its group'],
        "user.root": ["setresgid(0, 0, 0)", "setresuid(0, 0, 0)", *(["setgroups(0, [])"] if plan["id_count"] > 1 else [])],
        "cgroup.namespace": ["unshare(CLONE_NEWCGROUP)"],
        "uts.hostname": [f'sethostname("{plan["hostname"]}")'],
        "rootfs.stage": ['fsmount(tmpfs) -> move_mount("/tmp")', *(f'move_mount(tree {n} -> "/tmp/{n}")' for n in _staged(plan))],
        "rootfs.overlay": [_overlay(plan, number, overlay) for number, overlay in enumerate(plan["overlays"])],
        "rootfs.filesystems": [line for wanted in plan["filesystems"] if is_kernels(wanted["target"]) for line in _filesystem(wanted)],
        "rootfs.cgroup": [
            f'fsmount({view["fstype"]}) -> move_mount("/sys/fs/cgroup/{view["directory"]}", read-only)' for view in plan["views"]
        ],
        "rootfs.files": [
            *(f'mkdirat(root, "{path}")' for path in plan["directories"]),
            *(f'write(new file, {len(text)} bytes) -> move_mount("{path}")' for path, text in plan["files"].items()),
        ],
        "rootfs.volumes": [
            *(f'openat2(root, "{bind["target"]}", RESOLVE_IN_ROOT) -> move_mount(tree {bind["tree"]})' for bind in plan["binds"]),
            *(line for target, covers in plan["covers"].items() for line in _covers(target, covers)),
            *(line for wanted in plan["filesystems"] if not is_kernels(wanted["target"]) for line in _filesystem(wanted)),
        ],
        "rootfs.pivot": ["fchdir(new root)", 'pivot_root(".", ".")', 'umount2(".", MNT_DETACH)', 'chdir("/")'],
        "user.shares": [f'write("/proc/sys/user/{name}", "{value}")' for name, value in plan["maxima"].items()],
        "rootfs.lock": ["unshare(CLONE_NEWUSER|CLONE_NEWNS) in a child", "setns(its /proc/self/ns/mnt, CLONE_NEWNS)"]
        if may_mount(plan)
        else [],
        "rootfs.hide": [
            *(f'openat2("{path}", RESOLVE_NO_SYMLINKS) -> move_mount(/dev/null or an empty tmpfs)' for path in plan["masked"]),
            *(f'mount_setattr("{path}", AT_RECURSIVE, MOUNT_ATTR_RDONLY)' for path in plan["read_only_paths"]),
        ],
        "network.offer": ['sendmsg(gate, SCM_RIGHTS: "/proc/self/ns/net", "/proc/self/ns/user")'] if plan["network"] == WIRED else [],
        "network.await": ["read(gate, 1)"] if plan["network"] == WIRED else [],
        "network.loopback": []
        if plan["network"] == SHARED
        else [
            'ioctl(SIOCSIFFLAGS, {ifr_name="lo", ifr_flags=IFF_UP})',
            'write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")',
        ],
        "security.capabilities": [
            "keyctl(KEYCTL_JOIN_SESSION_KEYRING)",
            "prctl(PR_SET_NO_NEW_PRIVS, 1)",
            *(f"prctl(PR_CAPBSET_DROP, {name})" for name, number in NUMBERS.items() if not plan["bounding"] >> number & 1),
            "capset(permitted = those that are left)",
        ],
        "security.seccomp": [f"seccomp(SECCOMP_SET_MODE_FILTER, {{len={len(plan['seccomp']) // 8}}})"],
        "program.exec": [f"setrlimit({number}, {soft}, {hard})" for number, soft, hard in plan["rlimits"]]
        + [f'chdir("{plan["cwd"]}")', f"execve({shlex.join(plan['args'])}, {len(plan['env'])} variables)"],
    }
    return {name: tuple(_shortened(lines)) for name, lines in told.items()}


def _owner(plan: Plan) -> str:
    """As whom it is called (init/cloning.py): whoever makes a user namespace owns it."""
    if plan["id_base"]:
        return f", with the effective user {plan['id_base']}"
    return ", with a subordinate id as the effective user" if plan["id_count"] > 1 else ""


def _shortened(lines: list[str]) -> Iterator[str]:
    yield from lines[:_MOST]
    if len(lines) > _MOST:
        yield f"... and {len(lines) - _MOST} more"


def _names(bits: int, table: dict[str, int]) -> str:
    return "|".join(name for name, flag in table.items() if bits & flag) or "0"


def _staged(plan: Plan) -> list[int]:
    return sorted({lower for overlay in plan["overlays"] for lower in overlay["lowers"]})


def _tree(tree: Tree, *, as_root: bool) -> Iterator[str]:
    recursive = "|AT_RECURSIVE" if tree["recursive"] else ""
    name = f'AT_FDCWD, "{tree["path"]}", ' if tree["held"] < 0 else f'fd of "{tree["path"]}", "", AT_EMPTY_PATH|'
    yield f"open_tree({name}OPEN_TREE_CLONE{recursive})"
    shifted = "|MOUNT_ATTR_IDMAP, userns of PID 1" if tree["idmap"] and as_root else ""
    yield f"mount_setattr({_names(tree['attributes'], _ATTRIBUTES)}{shifted})"


def _covers(target: str, covers: Covers) -> Iterator[str]:
    for fixed in covers["fixed"]:
        words = "compare st_dev and st_ino; open_tree, move_mount: a mount point of its own"
        yield f'openat2(mount at "{target}", "{fixed["path"]}", RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS) -> {words}'
    for path in covers["hidden"]:
        yield f'openat2(mount at "{target}", "{path}", RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS) -> move_mount(an empty file or tmpfs)'


def _overlay(plan: Plan, number: int, overlay: Overlay) -> str:
    lowers = ":".join(map(str, overlay["lowers"]))
    options = f"lowerdir={lowers},upperdir=writable/{number}/upper,workdir=writable/{number}/work"
    more = ",volatile" if plan["volatile"] else ""
    if plan["overlay_program"]:
        return f'{plan["overlay_program"]} -o {options}{more} -> move_mount("{overlay["target"]}")'
    return f'mount("overlay", "{overlay["target"]}", "overlay", 0, "{options},userxattr{more}")'


def _filesystem(wanted: FileSystem) -> Iterator[str]:
    if wanted["fstype"] == "dev":
        yield f'move_mount(a tmpfs with null, zero, full, random, urandom, tty -> "{wanted["target"]}")'
        return
    options = ",".join(name if value is None else f"{name}={value}" for name, value in wanted["options"].items())
    yield f'fsopen("{wanted["fstype"]}"); fsconfig({options}); fsmount({_names(wanted["attributes"], _ATTRIBUTES)})'
    way = "RESOLVE_NO_SYMLINKS" if is_kernels(wanted["target"]) else "RESOLVE_IN_ROOT"
    yield f'openat2(root, "{wanted["target"]}", {way}) -> move_mount'
