"""The launcher of a caller who is not root: root of a user namespace of its own.

There it prepares what root prepares on the host.

    the host                     caller (uid 1000)
    user namespace, mounts       launcher: 0 is uid 1000, 1 to 65535 are its subordinate
                                 ids (or nothing)
    user namespace, mounts ...   PID 1 of each container: the same ids, one namespace
                                 further in

Two levels, so that newuidmap(1) runs once per caller and not once per container, that
the ids 1 to 65535 can be given to files and taken away again (`enter` is also how the
store removes them), and that a container's root has no power over the launcher's
mounts.
"""

from __future__ import annotations

import os

from cellhold.init import cloning, fuse, launcher, prepare, shares
from cellhold.linux import mount, process

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from typing import NoReturn

    from cellhold.init.fuse import Served
    from cellhold.init.plan import Plan, Tree

    Rows = tuple[tuple[int, int, int], ...]  # (first id inside, first id on the host, how many)

_EINVAL, _EPERM = 22, 1


class Rootless(prepare.Privileged):
    """Prepare as root of a user namespace, without privilege on the host.

    Nothing is shifted; devices are the host's own, bound.
    """

    def __init__(self, uids: Rows, gids: Rows, refused: OSError | None) -> None:
        """Use our own maps `uids` and `gids`.

        refused: why there is no user namespace; every container is refused with it.
        """
        super().__init__()
        self._maps = (same(uids), same(gids))
        self._refused = refused
        self._clones = 0

    def writable(self, plan: Plan, storage: int) -> int:
        """Open the writable layer that the plan names.

        The caller's descriptor is not a mount of ours.
        """
        if self._refused is not None:
            raise self._refused
        wanted = plan["writable"]
        if wanted is None:
            return storage
        attributes = mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV
        if wanted["path"] is not None:
            fd = mount.open_tree(mount.AT_FDCWD, wanted["path"])
            mount.mount_setattr(fd, attr_set=attributes)
        else:
            fd = mount.new_filesystem("tmpfs", wanted["options"], attributes=attributes)
            for number in range(wanted["pairs"]):
                for path in (f"{number}", f"{number}/upper", f"{number}/work"):
                    os.mkdir(path, 0o755, dir_fd=fd)
        os.close(storage)
        return fd

    def overlays(self, plan: Plan) -> list[Served]:
        """Mount the plan's overlays by the program that it names.

        If it names none, PID 1 mounts the kernel's.
        """
        program, writable = plan["overlay_program"], plan["writable"]
        if program is None or writable is None:
            return []
        made: list[Served] = []
        try:
            for number, wanted in enumerate(plan["overlays"]):
                pair = f"{writable['path']}/{number}"
                trees = [plan["trees"][lower] for lower in wanted["lowers"]]
                made.append(self._overlay(program, trees, upper=f"{pair}/upper", work=f"{pair}/work", volatile=plan["volatile"]))
        except OSError:
            for one in made:
                one.close()
                one.reap()
            raise
        return made

    def clone(self, plan: Plan, into: int) -> tuple[int, int]:
        """Clone PID 1.

        With subordinate ids each clone's user namespace has an owner, and so a share,
        of its own (shares.py).
        """
        if plan["id_count"] == 1:
            return cloning.clone(plan["namespaces"], owner=plan["id_base"], into=into)
        if not self._clones:
            shares.hold(plan["maxima"])
        shares.lower(plan["rlimits"])
        owner = 1 + self._clones % (plan["id_count"] - 1)
        self._clones += 1
        return cloning.clone(plan["namespaces"], owner=owner, into=into)

    @staticmethod
    def _overlay(program: str, trees: list[Tree], *, upper: str, work: str, volatile: bool) -> Served:
        lowers: list[str | int] = []
        try:
            for tree in trees:
                lowers.append(tree["path"] if tree["held"] < 0 else prepare.reopen(tree["held"]))  # noqa: PERF401  # as above
            return fuse.overlay(program, lowers=lowers, upper=upper, work=work, volatile=volatile)
        finally:
            for lower in lowers:
                if isinstance(lower, int):
                    os.close(lower)

    def ids(self, _plan: Plan, pid: int, _stdio: list[int]) -> None:
        """Map our ids to the clone; its root is the caller, who owns the pipes already."""
        prepare.map_ids(pid, *self._maps)

    def tree(self, wanted: Tree, pid: int) -> int:
        """Return a tree of the host with its own owners: only root can shift them.

        What is mounted below a directory is locked to it here (mount_namespaces(7)):
        both are shown, or nothing.
        """
        unshifted: Tree = {**wanted, "idmap": False}
        try:
            return prepare.tree(unshifted, pid)
        except OSError as error:
            if error.errno != _EINVAL:
                raise
        return prepare.tree({**unshifted, "recursive": True}, pid)

    def enter_network(self, _namespace: int) -> int:
        """Return -1: the namespace can only be this host's, where we are."""
        return -1

    def sysfs(self, _namespace: int) -> int:
        """Return the host's own /sys, with its mounts.

        Without rights over its network namespace we cannot mount another, or leave
        mounts out.
        """
        sys: Tree = {"path": "/sys", "held": -1, "idmap": False, "attributes": prepare.SYSFS_ATTRIBUTES, "recursive": True}
        return prepare.tree(sys, -1)

    def dev(self, plan: Plan, _pid: int) -> int:
        """Return a tmpfs with an empty file for each device.

        The plan binds the host's nodes over them, as only root can make nodes.
        """
        fd = mount.new_filesystem("tmpfs", {"mode": "755", "size": "64k"}, attributes=mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NOEXEC)
        for name in (*prepare.DEVICES, *(node["path"] for node in plan["devices"])):
            prepare.make_parents(name, fd)
            os.mknod(name, 0o666, dir_fd=fd)
        prepare.furnish_dev(fd)
        return fd


def main(uids: Rows, gids: Rows, helpers: tuple[str, str] | None) -> None:
    """Run the launcher; the arguments are enter()'s.

    Without a user namespace, every request is answered with the reason.
    """
    launcher.begin()
    refused = None
    try:
        enter(uids, gids, helpers)
    except OSError as error:
        refused = error
    launcher.serve(Rootless(uids, gids, refused))


def same(rows: Rows) -> str:
    """Format the map of a user namespace below one with these rows, ids unchanged.

    A row may not span two of the parent's.
    """
    return "\n".join(f"{inside} {inside} {count}" for inside, _outside, count in rows)


def enter(uids: Rows, gids: Rows, helpers: tuple[str, str] | None) -> None:
    """Become root of a new user namespace with these ids, and new mounts.

    helpers: newuidmap and newgidmap, set-user-id programs that write a map with
    subordinate ids; None if the only id is our own. The helpers run outside: in the new
    namespace set-user-id bits of the host's root have no effect. So a child is forked
    first. Raises OSError.
    """
    reading, writing = os.pipe()
    ready, go = os.pipe()
    child = os.fork() if helpers is not None else -1
    if child == 0:
        os.close(go)
        if not os.read(ready, 1):
            os._exit(1)
        _map_by_helpers(os.getppid(), helpers or ("", ""), (uids, gids), writing)
    os.close(writing)
    try:
        process.unshare(process.CLONE_NEWUSER | process.CLONE_NEWNS)
        os.write(go, b"1")
    finally:
        os.close(ready)
        os.close(go)
    if child > 0:
        words = b""
        while part := os.read(reading, 4096):
            words += part
        _pid, status = os.waitpid(child, 0)
        if status:
            raise OSError(_EPERM, words.decode(errors="replace").strip() or "newuidmap failed")
    else:
        _map_own(uids, gids)
    os.close(reading)


def _map_by_helpers(pid: int, helpers: tuple[str, str], rows: tuple[Rows, Rows], writing: int) -> NoReturn:
    os.dup2(writing, 2)
    for helper, table in zip(helpers, rows, strict=True):
        words = [str(number) for row in table for number in row]
        status = os.spawnve(os.P_WAIT, helper, [helper, str(pid), *words], {})
        if status:
            os._exit(1)
    os._exit(0)


def _map_own(uids: Rows, gids: Rows) -> None:
    """Map the one id that needs no permission.

    The price: setgroups(2) is denied (user_namespaces(7)).
    """
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", " ".join(map(str, uids[0]))),
        ("gid_map", " ".join(map(str, gids[0]))),
    ):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
