"""Which limits this host can enforce; a limit that it cannot is refused.

It is refused when asked for, never dropped.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

from cellhold import cgroups, storage
from cellhold.cgroups import devices, hierarchies
from cellhold.doctor import roots
from cellhold.doctor.feature import Feature, MissingError
from cellhold.doctor.trial import trial
from cellhold.errors import CellholdError
from cellhold.spec.limits import Limits
from cellhold.store.subids import is_rootless

_BOOT = "boot with cgroup_no_v1=all (cgroup v2), or with that controller not disabled; delegate it to the group that Cellhold runs in"
CONTROLLERS = {  # feature -> (controller, what for)
    "cgroup-memory": ("memory", "limit memory (memory=)"),
    "cgroup-cpu": ("cpu", "limit processor time (cpus=)"),
    "cgroup-cpuset": ("cpuset", "choose the processors (cpuset=)"),
    "cgroup-pids": ("pids", "limit the number of processes (pids=)"),
    "cgroup-io": ("io", "limit what is read from and written to disks per second (io=)"),
    "cgroup-freezer": ("freezer", "pause a container"),
}
_LAYOUTS = {"hybrid": "hybrid: controllers in v1 trees, and a v2 tree", "v1": "cgroup v1", "v2": "cgroup v2", "": "none"}
_SWAP_V1 = "memory/memory.memsw.limit_in_bytes"
_TRIED = 16 << 20
_PROBE = f"doctor-{os.getpid()}"


def _groups() -> str:
    try:
        cgroups.create(_PROBE, Limits()).remove()
    except CellholdError as error:
        raise MissingError(str(error).rpartition(": ")[2]) from error
    return _LAYOUTS[hierarchies.detect(hierarchies.ROOT, hierarchies.MOUNTINFO).layout]


def _controller(name: str) -> str:
    version = cgroups.available().get(name)
    if version is None:
        raise MissingError(f"no cgroup controller {name!r} here")
    if is_rootless():
        _groups()  # it is there, but perhaps not for everybody
    return f"cgroup {version}"


def _devices() -> str:
    if cgroups.available().get("devices") == "v1":
        return "cgroup v1's devices controller"
    try:
        os.close(devices.load())
    except OSError as error:
        raise MissingError(f"no BPF program can be loaded ({error.strerror}); its user namespace and nodev mounts hold") from error
    return "a BPF program on its group"


def _swap() -> str:
    version = cgroups.available().get("memory")
    if version is None:
        raise MissingError("no cgroup controller 'memory' here")
    if version == "v1" and not Path("/sys/fs/cgroup", _SWAP_V1).exists():
        raise MissingError("this kernel does not count swap by cgroup")
    swap = Path("/proc/swaps").read_text(encoding="utf-8").splitlines()[1:]
    return "" if swap else "the host has no swap at present"


def _disk() -> str:
    try:
        with tempfile.TemporaryDirectory(dir=roots.store()) as place:
            layer = storage.create(Path(place, "layer"), overlays=1, owner=0, limit_bytes=_TRIED, kind="disk", templates=Path(place))
            os.close(layer.open())
            return f"by {layer.describe()}, for example"
    except CellholdError as error:
        raise MissingError(str(error).rpartition(": ")[2]) from error


def _project_quota() -> str:
    raise MissingError("this version holds disk= by a file-system image instead, which works on any file system")


def _mkfs() -> str:
    program = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise MissingError("mkfs.ext4 is not installed")
    return program


FEATURES: tuple[Feature, ...] = (
    Feature(
        name="cgroups",
        can="make control groups",
        attempt=_groups,
        needed=not is_rootless(),  # without root and without a group only what asks for no limit of one runs
        remedy="run as root where /sys/fs/cgroup is mounted and writable; in a container that takes docker run --privileged"
        if not is_rootless()
        else "run as root, or in a cgroup v2 group delegated to you; until then processes are not limited to pids=2048 either",
    ),
    *(Feature(name=name, can=can, attempt=partial(_controller, of), remedy=_BOOT) for name, (of, can) in CONTROLLERS.items()),
    Feature(
        name="device-filter",
        can="keep a container from device nodes even where it gets at one",
        attempt=_devices,
        remedy="run as root, on a kernel with CONFIG_CGROUP_BPF",
    ),
    Feature(name="swap-accounting", can="limit swap (memory-swap=)", attempt=_swap, remedy="boot with swapaccount=1, or with cgroup v2"),
    Feature(
        name="loop-devices",
        can="mount a file as a disk",
        attempt=trial("loop"),
        remedy="run as root, with /dev/loop-control (modprobe loop)",
    ),
    Feature(name="mkfs", can="format a file as a disk", attempt=_mkfs, remedy="apt install e2fsprogs"),
    Feature(
        name="disk-limit",
        can="limit the space of a container's own layer (disk=)",
        attempt=_disk,
        remedy="it takes root, loop devices and mkfs.ext4; or use storage=tmpfs, which the memory limit bounds",
    ),
    Feature(name="project-quota", can="limit it by a quota of the host's own file system", attempt=_project_quota, remedy="none is needed"),
)
