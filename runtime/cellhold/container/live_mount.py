"""Mount a directory of the store, read-only, in a container that runs.

For root only.

The tree is cloned here, with the container's ids, and attached by a process that enters
the container's user and mount namespaces: there it is the container's root and nobody
on the host. No link inside is followed on the way to the target, and what it needs it
has loaded before: nothing of the container's is run. Of the container nobody sees it:
it is not in its PID namespace.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from errno import EINVAL
from typing import TYPE_CHECKING

from cellhold import helper
from cellhold.errors import NotSupported, SetupFailed
from cellhold.linux import mount, process
from cellhold.store import subids

if TYPE_CHECKING:
    from pathlib import Path

_BOUNDS = helper.Bounds(memory_bytes=1 << 30, seconds=60)
_ATTRIBUTES = mount.MOUNT_ATTR_RDONLY | mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV
_BELOW = mount.RESOLVE_BENEATH | mount.RESOLVE_NO_SYMLINKS | mount.RESOLVE_NO_MAGICLINKS
_STEP = "packages.mount"


def check() -> None:
    """Raise NotSupported where only a fresh container can have another mount."""
    if subids.is_rootless():
        raise NotSupported("cannot mount anything in a container that runs, without root")


def namespaces(pid: int) -> tuple[int, int]:
    """Open the user and mount namespaces of a container's PID 1.

    The caller's own. Raises OSError.

    The caller sees to it that the container has not ended: then it is that process's.
    """
    user = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return user, os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        os.close(user)
        raise


def attach(source: Path, target: str, user: int, mounts: int) -> None:
    """Mount `source` at `target`, over what is mounted there.

    user, mounts: of namespaces(). Raises SetupFailed.
    """
    words = helper.python(__name__, str(source), target, str(user), str(mounts), bounds=_BOUNDS)
    ran = helper.run(words, pass_fds=(user, mounts))
    if ran.returncode:
        lines = (ran.stdout or ran.stderr).decode(errors="replace").strip().splitlines()
        raise SetupFailed(f"cannot mount on {target} of the container: {lines[-1] if lines else 'the work was ended'}", step=_STEP)


def main() -> int:
    """Run the process; an error is printed. Arguments: those of attach()."""
    source, target, user, mounts = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    try:
        tree = mount.open_tree(mount.AT_FDCWD, source)
        mount.mount_setattr(tree, attr_set=_ATTRIBUTES, propagation=mount.MS_PRIVATE)
        _shift_ids(tree, user)
        process.setns(user, process.CLONE_NEWUSER)
        process.setns(mounts, process.CLONE_NEWNS)
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        mount.move_mount(tree, _open_or_make(target))
    except OSError as error:
        sys.stdout.write(error.strerror or str(error.errno))
        return 1
    return 0


def _shift_ids(tree: int, user: int) -> None:
    try:
        mount.mount_setattr(tree, attr_set=mount.MOUNT_ATTR_IDMAP, userns_fd=user)
    except OSError as error:  # a file system that cannot: readable where everybody may read, as in init/prepare.py
        if error.errno != EINVAL:
            raise


def _open_or_make(target: str) -> int:
    """Open a directory as it is inside, without following a link.

    Make what is missing of it.
    """
    here = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in target.strip("/").split("/"):
        with suppress(FileExistsError):
            os.mkdir(part, 0o755, dir_fd=here)
        below = mount.openat2(here, part, os.O_PATH | os.O_DIRECTORY, resolve=_BELOW)
        os.close(here)
        here = below
    return here
