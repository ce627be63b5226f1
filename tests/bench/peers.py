"""The other runtimes: how they are called, and the OCI bundle that gives them the walls that our containers have.

Differences that stay, each in the peers' favour: no overlay (they run the root file system directly, read-only), no time
namespace for runc 1.1 (it has none) and for crun without a user namespace (1.8 breaks off), and the two refusals of our system
call filter that OCI's list cannot express (TIOCSTI, AF_ALG).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyseccomp

from cellhold.linux.capabilities import DEFAULT
from cellhold.rootfs.plan import MASKED, READ_ONLY
from cellhold.seccomp.plan import ALLOW, plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from cellhold.seccomp.plan import Rule

GROUP = "/cellhold-bench"
_UNKNOWN = -1  # to this libseccomp: the peers would complain of it at each start
_FIRST_ID, _IDS = 1 << 21, 1 << 16
_MACHINES = {"x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]}
_ALL = ["nosuid", "noexec", "nodev"]
_MOUNTS = (
    ("/proc", "proc", _ALL),
    ("/sys", "sysfs", [*_ALL, "ro"]),
    ("/dev", "tmpfs", ["nosuid", "mode=755", "size=64k"]),
    ("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
    ("/dev/shm", "tmpfs", [*_ALL, "mode=1777", "size=512m"]),
    ("/dev/mqueue", "mqueue", _ALL),
)


def make_root(directory: Path) -> Path:
    """A root file system of one static program; anybody may read it, since user namespaces make strangers of everybody."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise SystemExit("busybox is not installed: apt install busybox-static")
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (directory / name).mkdir(parents=True, mode=0o755)
    shutil.copy(busybox, directory / "bin/busybox")
    (directory / "bin/true").symlink_to("busybox")
    (directory / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n", encoding="ascii")
    return directory


def hide_unified(closing: ExitStack) -> None:
    """Let crun 1.8 work where cgroup v1 and v2 are mixed: it refuses as soon as the v2 root lists a controller.

    In the mount namespace of this process alone (the caller has made one), an empty v2 group covers the v2 root.
    """
    unified = Path("/sys/fs/cgroup/unified")
    if unified.is_dir():
        empty = unified / "cellhold-bench"
        empty.mkdir(exist_ok=True)
        subprocess.check_call(["mount", "--bind", empty, unified])
        closing.callback(remove_groups, Path("/sys/fs/cgroup/unified/cellhold-bench"))
        closing.callback(subprocess.check_call, ["umount", "--lazy", unified])


def remove_groups(top: Path) -> None:
    """Remove a group with all below it; no process may be left there."""
    for folder, _names, _files in os.walk(top, topdown=False):
        Path(folder).rmdir()


def make_bundle(directory: Path, root: Path, *, users: bool, time: bool, group: bool) -> Path:
    """Write config.json: `true` with our limits, namespaces, capabilities and filter; `users`: with a user namespace, as ours."""
    kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup", *(["user"] if users else []), *(["time"] if time else [])]
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in kinds],
        "maskedPaths": MASKED,
        "readonlyPaths": READ_ONLY,
        "seccomp": seccomp(),
    }
    if users:
        linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": _FIRST_ID, "size": _IDS}]
    if group:
        linux["resources"] = {"memory": {"limit": 512 << 20}, "pids": {"limit": 256}, "cpu": {"quota": 100_000, "period": 100_000}}
        linux["cgroupsPath"] = f"{GROUP}/{directory.name}"
    keep = sorted(DEFAULT)
    config = {
        "ociVersion": "1.0.2",
        "root": {"path": str(root), "readonly": True},
        "hostname": "bench",
        "process": {
            "args": ["/bin/true"],
            "cwd": "/",
            "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": True,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), keep),
        },
        "mounts": [{"destination": path, "type": kind, "source": kind, "options": options} for path, kind, options in _MOUNTS],
        "linux": linux,
    }
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config), encoding="ascii")
    return directory


def seccomp() -> dict[str, Any]:
    """Our filter as OCI has it (config-linux.md, Seccomp)."""
    machine = os.uname().machine
    rules = [_oci(rule) for rule in plan(DEFAULT, machine).allow]
    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": _MACHINES[machine], "syscalls": rules}


def _oci(rule: Rule) -> dict[str, Any]:
    names = [name for name in rule.names if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) != _UNKNOWN]
    oci: dict[str, Any] = {"names": names, "action": "SCMP_ACT_ALLOW" if rule.answer == ALLOW else "SCMP_ACT_ERRNO"}
    if rule.answer != ALLOW:
        oci["errnoRet"] = rule.answer
    if rule.conditions:
        oci["args"] = [
            {"index": one.position, "value": one.mask, "valueTwo": one.value, "op": "SCMP_CMP_MASKED_EQ"} for one in rule.conditions
        ]
    return oci


def runtime(program: str, bundle: Path, state: Path, *options: str) -> Callable[[], None]:
    """`PROGRAM run` of a bundle, to its end, with a new name each time."""

    def run() -> None:
        spawn([program, f"--root={state}", *options, "run", f"--bundle={bundle}", uuid.uuid4().hex])

    return run


def bubblewrap(program: str, root: Path) -> Callable[[], None]:
    """The sandbox: namespaces and capabilities, but no control groups, no overlay and no filter."""
    options = ["--unshare-all", "--cap-drop", "ALL", "--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev"]
    return lambda: spawn([program, *options, "/bin/true"])


def spawn(command: list[str]) -> None:
    """Run a program with nothing on its standard streams but what it complains about, and wait; raises if it fails."""
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0)
    actions = [null, (os.POSIX_SPAWN_DUP2, 0, 1)]
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
