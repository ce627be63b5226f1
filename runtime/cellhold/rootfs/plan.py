"""From a spec to the plan of a container's file system and confinement.

A pure function; the host is not touched. The same plan is performed by init/steps/,
printed by `--trace` (trace.py) and compared by the tests.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec, NotSupported
from cellhold.init.prepare import DEVICES, OWN, SHARED
from cellhold.linux import mount, process
from cellhold.linux.capabilities import DEFAULT, mask
from cellhold.linux.hostpath import HostPath
from cellhold.rootfs import tmpfs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.cgroups.base import View
    from cellhold.image.model import Image, Layer
    from cellhold.init.plan import Bind, Confinement, Covers, FileSystem, Node, Overlay, Plan, Program, Tree, Writable
    from cellhold.spec.spec import Device, Exchange, Mount, Spec
    from cellhold.store.subids import Ids

# Docker's lists (moby, oci/defaults.go), as documented: what of /proc and /sys tells
# about the host, or changes it.
MASKED = (
    "/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi /proc/timer_list "
    "/proc/timer_stats /sys/devices/virtual/powercap /sys/firmware"
).split()
READ_ONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split()

_NOSUID, _NODEV, _NOEXEC, _RDONLY = mount.MOUNT_ATTR_NOSUID, mount.MOUNT_ATTR_NODEV, mount.MOUNT_ATTR_NOEXEC, mount.MOUNT_ATTR_RDONLY
_ALL = _NOSUID | _NODEV | _NOEXEC
_TTY_GROUP = "5"  # Debian's, as docker mounts devpts
_TERMINALS = 256  # pseudo-terminals: all containers of a machine have some 3000 together (kernel.pty.max)
TERMINAL = (24, 80)  # rows and columns of a new one; whoever looks at it sets its own
_NO_RESOLVER = "# network none: there is no name server\n"
_OOM_SCORE = 100  # the program goes before PID 1 when memory runs out, so that somebody is left to tell


def plan(  # noqa: PLR0913  # one value per source of the plan
    spec: Spec,
    image: Image,
    *,
    hostname: str,
    init_layer: Path,
    ids: Ids,
    views: tuple[View, ...],
    seccomp: bytes,
    namespaces: tuple[str, ...] = tuple(process.NAMESPACES),
    rlimits: tuple[tuple[int, int, int], ...] = (),
    maxima: Mapping[str, int] = MappingProxyType({}),
    writable: Writable | None = None,
    mounted: tuple[str, ...] = (),
    volatile: bool = True,
    overlay_program: str | None = None,
    network: str = OWN,
    resolver: str | None = None,
    known_hosts: str = "",
) -> Plan:
    """Return the plan. Raises NotSupported for an image with a mount inside.

    hostname: also in its /etc/hosts. init_layer: a directory of empty mount points.
    views: the cgroup file systems to show. seccomp: a compiled filter. namespaces:
    those of this kernel. rlimits: (resource number, soft, hard). maxima, network: of
    init/plan.py. writable: a layer that the launcher opens, without device nodes.
    mounted: the host's mount points, if they cannot be looked under. volatile: the
    layer is thrown away. overlay_program: fuse-overlayfs, if the kernel refuses.
    resolver: the text of /etc/resolv.conf. known_hosts: the host's lines in /etc/hosts.
    """
    trees, overlays, binds = layers(image, init_layer, mounted, read_only=spec.read_only)
    overlays += [throw_away(entry, trees, mounted) for entry in ordered(spec) if entry.kind == "overlay"]
    if writable is not None:
        binds += [device(Path(f"/dev/{name}"), f"/dev/{name}", trees) for name in DEVICES]
        binds += [device(source(one), one.target, trees) for one in spec.devices]
    binds += [bind(entry, trees) for entry in ordered(spec) if entry.kind in ("bind", "volume")]
    return {
        "hostname": hostname,
        "namespaces": sum(process.NAMESPACES[name] for name in namespaces if name != "net" or network != SHARED),
        "id_base": ids.base,
        "id_count": ids.count,
        "id_rows": list(ids.rows),
        "writable": writable,
        "trees": trees,
        "overlays": overlays,
        "volatile": volatile,
        "overlay_program": overlay_program,
        "filesystems": filesystems(spec, has_terminal_group=ids.count > int(_TTY_GROUP)),
        "binds": binds,
        "covers": {entry.target: covers(entry) for entry in spec.mounts if entry.hidden or entry.fixed},
        "devices": [node(one) for one in spec.devices],
        "network": network,
        "directories": list(spec.directories),
        "files": files(hostname, spec.hosts, resolver, known_hosts),
        "views": [{"fstype": view.fstype, "option": view.option, "directory": view.directory} for view in views],
        "rlimits": list(rlimits),
        "maxima": dict(maxima),
        **confinement(spec, seccomp),
        **program(spec, image, hostname),
    }


def confinement(spec: Spec, seccomp: bytes) -> Confinement:
    """Return the part of the plan that takes rights away. seccomp: a compiled filter."""
    return {
        "masked": list(MASKED),
        "read_only_paths": list(READ_ONLY),
        "bounding": mask(DEFAULT if spec.capabilities is None else spec.capabilities),
        "seccomp": seccomp,
    }


def program(spec: Spec, image: Image, hostname: str) -> Program:
    """Return the part of the plan about the program.

    As whom, where and with what it runs, and for how long.
    """
    return {
        "user": "0:0" if spec.user is None else spec.user,
        "groups": list(spec.groups),
        "terminal": TERMINAL if spec.terminal else None,
        "cwd": spec.cwd or "/",
        "args": list(spec.args),
        "env": {**image.env, "HOSTNAME": hostname, **({"TERM": "xterm"} if spec.terminal else {}), **spec.env},
        "oom_score_adj": _OOM_SCORE,
        "seconds": spec.limits.seconds,
    }


def layers(image: Image, init_layer: Path, mounted: tuple[str, ...], *, read_only: bool) -> tuple[list[Tree], list[Overlay], list[Bind]]:
    """Return every layer as a read-only tree with shifted ids, and the overlays.

    The root's top layer is the init layer. A layer with one of the `mounted` below it
    cannot be a layer of an overlay; over the root it is bound, read-only, with all of
    it.
    """
    trees: list[Tree] = []
    overlays: list[Overlay] = []
    binds: list[Bind] = []
    for stack in image.stacks:
        if inside := [point for layer in stack.layers for point in below(layer, mounted)]:
            if stack.target == "/":
                raise NotSupported(
                    f"cannot use image={image.name} without root: {inside[0]} is mounted inside it",
                    hint="unmount that, copy the image without it, or run as root",
                )
            trees.append(tree(stack.layers[0], attributes=_RDONLY | _NODEV, recursive=True))
            binds.append({"target": stack.target, "tree": len(trees) - 1, "directory": True, "populate": False})
            continue
        directories = (init_layer, *stack.layers) if stack.target == "/" else stack.layers
        first = len(trees)
        trees += [tree(layer, attributes=_RDONLY | _NODEV) for layer in directories]
        overlays.append({"target": stack.target, "lowers": list(range(first, len(trees))), "read_only": read_only})
    return trees, overlays, binds


def tree(of: Layer, *, attributes: int, idmap: bool = True, recursive: bool = False) -> Tree:
    """Return a tree of the host: by its descriptor, or by the path if it is our own."""
    held = of.fileno() if isinstance(of, HostPath) else -1
    name = of.name if isinstance(of, HostPath) else str(of)
    return {"path": name, "held": held, "idmap": idmap, "attributes": attributes, "recursive": recursive}


def source(entry: Mount | Device) -> HostPath:
    """Return the descriptor that sources.py has opened.

    Nothing is looked up by its name any more.
    """
    if entry.opened is None:
        raise InvalidSpec(f"cannot mount {entry.source} on {entry.target}: it was not opened")
    return entry.opened


def covers(entry: Mount) -> Covers:
    """Return what is fixed and hidden in a mount, parents before children."""
    fixed = sorted(entry.fixed, key=lambda one: one.path.count("/"))
    return {
        "fixed": [{"path": one.path, "identity": one.identity, "read_only": one.read_only} for one in fixed],
        "hidden": list(entry.hidden),
    }


def below(layer: Layer, mounted: tuple[str, ...]) -> list[str]:
    """Return those of the mount points that lie inside a directory."""
    place = Path(layer.current_path()) if isinstance(layer, HostPath) and mounted else Path(layer)
    return [point for point in mounted if Path(point).is_relative_to(place) and Path(point) != place]


def throw_away(entry: Mount, trees: list[Tree], mounted: tuple[str, ...]) -> Overlay:
    """Return an overlay with a directory of the host as its one layer.

    Its tree is appended to `trees`. Raises NotSupported as plan() does.
    """
    opened = source(entry)
    if inside := below(opened, mounted):
        raise NotSupported(
            f"cannot use {entry.source} as the lower directory of an overlay without root: {inside[0]} is mounted inside it",
            hint="bind it instead (:ro or :rw; for a notebook's folder mount=rw or mount=none), or run as root",
        )
    trees.append(tree(opened, idmap=entry.as_root, attributes=_RDONLY | _NOSUID | _NODEV))
    return {"target": entry.target, "lowers": [len(trees) - 1], "read_only": entry.read_only}


def filesystems(spec: Spec, *, has_terminal_group: bool = True) -> list[FileSystem]:
    """Return the kernel's new file systems, then the user's tmpfs.

    A parent comes before what lies in it.
    """
    sizes = tmpfs.sizes(spec)
    terminals: dict[str, str | None] = {"newinstance": None, "ptmxmode": "0666", "mode": "0620", "max": str(_TERMINALS)}
    if has_terminal_group:
        terminals["gid"] = _TTY_GROUP
    fixed: list[FileSystem] = [
        {"target": "/proc", "fstype": "proc", "options": {}, "attributes": _ALL},
        {"target": "/sys", "fstype": "sysfs", "options": {}, "attributes": _ALL | _RDONLY},
        {"target": "/dev", "fstype": "dev", "options": {}, "attributes": 0},
        {"target": "/dev/pts", "fstype": "devpts", "options": terminals, "attributes": _NOSUID | _NOEXEC},
        *([] if any(tmpfs.is_shm(entry.target) for entry in spec.mounts) else [shm(sizes.shm)]),
        {"target": "/dev/mqueue", "fstype": "mqueue", "options": {}, "attributes": _ALL},
    ]
    wanted: list[FileSystem] = [
        {
            "target": entry.target,
            "fstype": "tmpfs",
            "options": {
                "mode": f"{0o1777 if entry.mode is None else entry.mode:o}",
                **tmpfs.options(entry.size_bytes or sizes.tmpfs, files=entry.inodes),
            },
            "attributes": _NOSUID | _NODEV | (_RDONLY if entry.read_only else 0) | (_NOEXEC if entry.no_exec else 0),
        }
        for entry in ordered(spec)
        if entry.kind == "tmpfs"
    ]
    return fixed + wanted + ([] if spec.exchange is None else [exchanged(spec.exchange)])


def shm(size_bytes: int) -> FileSystem:
    """Return the shared memory that every container has."""
    return {"target": tmpfs.SHM, "fstype": "tmpfs", "options": {"mode": "1777", **tmpfs.options(size_bytes)}, "attributes": _ALL}


def exchanged(exchange: Exchange) -> FileSystem:
    """Return the directory that whoever starts the container has as well.

    Nothing runs from it.
    """
    options = {"mode": "700", **tmpfs.options(exchange.size_bytes, files=exchange.inodes)}
    return {
        "target": exchange.target,
        "fstype": "tmpfs",
        "options": options,
        "attributes": _ALL,
        "files": dict(exchange.files),
        "pipes": list(exchange.pipes),
        "handed": True,
    }


def ordered(spec: Spec) -> list[Mount]:
    """Return the user's mounts, the shallow ones first, so that none hides another."""
    return sorted(spec.mounts, key=lambda entry: (entry.target.rstrip("/").count("/"), entry.target))


def bind(entry: Mount, trees: list[Tree]) -> Bind:
    """Return a bind; its tree is appended to `trees`.

    Never with set-user-id or device files of the host.
    """
    opened = source(entry)
    trees.append(tree(opened, idmap=entry.as_root, attributes=_NOSUID | _NODEV | (_RDONLY if entry.read_only else 0)))
    return {
        "target": entry.target,
        "tree": len(trees) - 1,
        "directory": opened.is_directory,
        "populate": entry.kind == "volume" and not entry.read_only,
    }


def device(of: Layer, target: str, trees: list[Tree]) -> Bind:
    """Return a bind of a device node of the host; its tree is appended to `trees`."""
    trees.append(tree(of, idmap=False, attributes=_NOSUID | _NOEXEC))
    return {"target": target, "tree": len(trees) - 1, "directory": False, "populate": False}


def node(entry: Device) -> Node:
    """Return a device node as mknod(2) makes it, for root's own /dev."""
    status = source(entry).status
    return {"path": entry.target.removeprefix("/dev/"), "mode": status.st_mode, "device": status.st_rdev}


def files(hostname: str, more: tuple[tuple[str, str], ...] = (), resolver: str | None = None, known: str = "") -> dict[str, str]:
    """Return the files that Docker makes for every container too.

    more: names and their addresses. resolver: the text of resolv.conf, if any.
    """
    hosts = known or f"127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    hosts += "".join(f"{address}\t{name}\n" for name, address in more)
    return {"/etc/hosts": hosts, "/etc/hostname": f"{hostname}\n", "/etc/resolv.conf": resolver or _NO_RESOLVER}
