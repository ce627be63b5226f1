"""Who overlays a rootless container's layers: the kernel, or fuse-overlayfs(1).

The latter where the kernel refuses. The first container that is refused finds out, and
it is remembered: checking before each one would cost as much as half a start. The
kernel refuses an upper directory on an overlay (Cellhold inside a container) or on NFS,
and a kernel's owner may reserve it for root.
"""

from __future__ import annotations

import os
import shutil
from errno import EACCES, EINVAL, ENODEV, EOPNOTSUPP, EPERM
from typing import TYPE_CHECKING

from cellhold.errors import NotSupported
from cellhold.init.fuse import DEVICE, PROGRAM
from cellhold.init.steps.root import MOUNT_OVERLAYS

if TYPE_CHECKING:
    from cellhold.errors import SetupFailed
    from cellhold.init.plan import Writable

_FIXED_PATH = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin"  # never the caller's PATH
_REFUSALS = {EINVAL, EPERM, EACCES, ENODEV, EOPNOTSUPP}  # not on this directory, not for this user, not supported
_refused: set[int] = set()  # devices on which writable layers lie


def mount_program(writable: Writable | None) -> str | None:
    """Return the program that mounts the layers; None: the kernel does.

    writable: the layer that the launcher opens.
    """
    return find() if _device(writable) in _refused else None


def fallback(error: SetupFailed, writable: Writable | None) -> str:
    """Return the program to try after the kernel has refused.

    Raises `error` again if it was not that, NotSupported where no program is there.
    """
    device = _device(writable)
    if writable is None or device is None or (error.step, error.errno in _REFUSALS) != (MOUNT_OVERLAYS.name, True) or device in _refused:
        raise error
    found = find()
    if found is None:
        raise NotSupported(
            f"cannot overlay layers in {writable['path']}: the kernel refuses ({os.strerror(error.errno)})",
            hint=f"apt install {PROGRAM}, which mounts them if {DEVICE} may be opened; or set CELLHOLD_HOME to a directory on ext4",
        ) from error
    _refused.add(device)
    return found


def _device(writable: Writable | None) -> int | None:
    """Return the device of a directory; None for a tmpfs.

    That has no path, which the program needs, and no kernel is known to refuse one.
    """
    return None if writable is None or writable["path"] is None else os.stat(writable["path"]).st_dev


def find() -> str | None:
    """Return the program's path; None if it is not installed, or may not be used."""
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return None
    return shutil.which(PROGRAM, path=_FIXED_PATH)
