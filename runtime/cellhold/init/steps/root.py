"""Steps of PID 1: the layers become its root. Also what all of its steps work on.

The image is hostile: every path of it is opened beneath the new root with openat2(2),
and mounts are moved onto what was opened, never onto a path.
"""

from __future__ import annotations

import os
import stat

from cellhold.init.steps.step import Step
from cellhold.linux import mount

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.init.plan import Plan

_NO_LINKS = mount.RESOLVE_BENEATH | mount.RESOLVE_NO_SYMLINKS
_IN_ROOT = mount.RESOLVE_IN_ROOT | mount.RESOLVE_NO_MAGICLINKS
_STAGED = "1k"  # a directory for each layer, of which an overlay takes 500; a file for each of the plan's
_STAGING = "/tmp"  # noqa: S108  # only a mount point, seen by this process alone: the staging tmpfs covers it
_ROOT = "root"
_WRITABLE = "writable"
_TREE_FLAGS = os.O_PATH | os.O_NOFOLLOW


class ContainerSetup:
    """The container as far as it has come."""

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
        """Take over the descriptors.

        tasks: files of v1 groups. storage, overlays, trees, dev, sysfs: detached
        mounts; sysfs is -1 where PID 1 mounts /sys itself, as it may in a network
        namespace of its own. gate: the socket that its network comes through; -1: it is
        not connected.
        """
        self.plan = plan
        self.tasks = tasks
        self.storage = storage
        self.overlays = overlays
        self.trees = trees
        self.dev = dev
        self.sysfs = sysfs
        self.gate = gate
        self.root = -1  # of the container; before the overlays are mounted there is none
        self.handed: list[int] = []  # directories that our caller gets

    def open_mount_point(self, path: str) -> int:
        """Open one of our own mount points beneath the new root.

        A symbolic link anywhere in it is an attack (CVE-2019-16884). Raises OSError.
        """
        return mount.openat2(self.root, path.strip("/"), os.O_PATH, resolve=_NO_LINKS)

    def open_existing(self, path: str) -> int:
        """Open a mount point beneath the new root; return -1 if it does not exist."""
        try:
            return self.open_mount_point(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return -1

    def open_or_create(self, path: str, *, directory: bool) -> int:
        """Open a path as the container would see it; make what is missing of it.

        Links resolve inside the root. directory: what the last part becomes where it is
        missing; otherwise an empty file. Raises OSError.
        """
        parts = [part for part in path.split("/") if part]
        here = os.dup(self.root)
        for number, part in enumerate(parts):
            try:
                following = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            except FileNotFoundError:
                if directory or number + 1 < len(parts):
                    os.mkdir(part, 0o755, dir_fd=here)
                else:
                    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=here))
                following = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            if stat.S_ISLNK(os.fstat(following).st_mode):  # resolved from the root; names that are not links cost one call each
                os.close(following)
                following = mount.openat2(self.root, "/".join(parts[: number + 1]), os.O_PATH, resolve=_IN_ROOT)
            os.close(here)
            here = following
        return here


def attach(mount_fd: int, target_fd: int) -> None:
    """Attach a detached mount to what was opened, and close both descriptors."""
    mount.move_mount(mount_fd, target_fd)
    os.close(mount_fd)
    os.close(target_fd)


def _list_lowers(plan: Plan) -> list[int]:
    """The numbers of the trees that are layers of an overlay."""
    return sorted({lower for overlay in plan["overlays"] for lower in overlay["lowers"]})


def _stage(setup: ContainerSetup) -> None:
    """Attach layers and storage to a tmpfs of this mount namespace.

    Nobody else sees it, and it goes away with the old root.
    """
    options: dict[str, str | None] = {"mode": "700", "size": "1m", "nr_inodes": _STAGED}
    staging = mount.new_filesystem("tmpfs", options, attributes=mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV)
    attach(staging, os.open(_STAGING, _TREE_FLAGS))
    os.chdir(_STAGING)
    for number in _list_lowers(setup.plan):
        os.mkdir(str(number))
        attach(setup.trees[number], os.open(str(number), _TREE_FLAGS))
    os.mkdir(_WRITABLE)
    attach(setup.storage, os.open(_WRITABLE, _TREE_FLAGS))
    os.mkdir(_ROOT)


STAGE = Step(
    "rootfs.stage",
    _stage,
    lambda _plan: "a tmpfs that only PID 1 sees, to put the layers side by side",
    lambda plan: ['fsmount(tmpfs) -> move_mount("/tmp")', *(f'move_mount(tree {n} -> "/tmp/{n}")' for n in _list_lowers(plan))],
)


def _mount_overlays(setup: ContainerSetup) -> None:
    """Mount the layers with a writable one on top.

    `userxattr`: whiteouts and opaque marks that work in a user namespace. `volatile`:
    never sync a layer that is thrown away; with it a program's own fsync(2) does
    nothing, so it is not for a container that is kept.
    """
    if setup.overlays:
        _attach_overlays(setup)
        return
    options = "userxattr,volatile" if setup.plan["volatile"] else "userxattr"
    for number, overlay in enumerate(setup.plan["overlays"]):
        lowers = ":".join(str(lower) for lower in overlay["lowers"])
        directories = f"lowerdir={lowers},upperdir={_WRITABLE}/{number}/upper,workdir={_WRITABLE}/{number}/work"
        if overlay["target"] == "/":
            mount.mount("overlay", _ROOT, "overlay", 0, f"{directories},{options}")
            setup.root = os.open(_ROOT, os.O_PATH | os.O_DIRECTORY)
            continue
        name = f"o{number}"
        os.mkdir(name)
        mount.mount("overlay", name, "overlay", 0, f"{directories},{options}")
        clone = mount.open_tree(mount.AT_FDCWD, name)
        mount.umount2(name)
        attach(clone, setup.open_or_create(overlay["target"], directory=True))


def _attach_overlays(setup: ContainerSetup) -> None:
    """Attach overlays that a program serves as the kernel refuses its own.

    See fuse.py.
    """
    for overlay, served in zip(setup.plan["overlays"], setup.overlays, strict=True):
        if overlay["target"] == "/":
            attach(served, os.open(_ROOT, _TREE_FLAGS))
            setup.root = os.open(_ROOT, os.O_PATH | os.O_DIRECTORY)
        else:
            attach(served, setup.open_or_create(overlay["target"], directory=True))


def _describe_overlays(plan: Plan) -> str:
    way = plan["overlay_program"] or "mount overlay"
    stacks = ", ".join(f"{overlay['target']} of {len(overlay['lowers'])}" for overlay in plan["overlays"])
    return f"{way} (layers): {stacks}; one writable layer on top{', volatile' if plan['volatile'] else ''}"


def _overlay_syscalls(plan: Plan) -> Iterator[str]:
    more = ",volatile" if plan["volatile"] else ""
    for number, overlay in enumerate(plan["overlays"]):
        lowers = ":".join(map(str, overlay["lowers"]))
        options = f"lowerdir={lowers},upperdir={_WRITABLE}/{number}/upper,workdir={_WRITABLE}/{number}/work"
        if plan["overlay_program"]:
            yield f'{plan["overlay_program"]} -o {options}{more} -> move_mount("{overlay["target"]}")'
        else:
            yield f'mount("overlay", "{overlay["target"]}", "overlay", 0, "{options},userxattr{more}")'


MOUNT_OVERLAYS = Step("rootfs.overlay", _mount_overlays, _describe_overlays, _overlay_syscalls)


def _pivot(setup: ContainerSetup) -> None:
    """Make the new root the root and detach the old one with all its mounts.

    No descriptor of the old root stays open.
    """
    os.fchdir(setup.root)
    mount.pivot_root(".", ".")  # the old root now lies over the new one, at the same place (pivot_root(2), NOTES)
    mount.umount2(".")
    os.chdir("/")
    os.close(setup.root)
    setup.root = os.open("/", os.O_PATH | os.O_DIRECTORY)


PIVOT = Step(
    "rootfs.pivot",
    _pivot,
    lambda _plan: "pivot_root: the layers are / now; the machine's own root is unmounted",
    lambda _plan: ["fchdir(new root)", 'pivot_root(".", ".")', 'umount2(".", MNT_DETACH)', 'chdir("/")'],
)
