"""Extended attributes (xattr(7)) that belong to an image, and setting them."""

from __future__ import annotations

import os
from errno import E2BIG, EINVAL, ENOSPC, ENOTSUP, EPERM, ERANGE

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ACL = b"system.posix_acl_default"
# What an image may have. Not: marks of overlayfs and fuse-overlayfs (user.overlay.*,
# trusted.*), labels and signatures of the host's own security modules
# (security.selinux, security.ima ...).
_KEPT = (b"user.", b"security.capability", b"system.posix_acl_access", DEFAULT_ACL)
_NEVER = (b"user.overlay.", b"user.fuseoverlayfs.")
_REFUSED_XATTR = {ENOTSUP, EPERM, EINVAL, E2BIG, ERANGE, ENOSPC}  # ENOSPC: ext4 has one block for all of a file


def is_kept(name: bytes) -> bool:
    """Return whether an extended attribute belongs to an image."""
    return name.startswith(_KEPT) and not name.startswith(_NEVER)


def set_xattrs(fd: int, xattrs: Mapping[bytes, bytes]) -> int:
    """Set the attributes that an image may have; return how many were left out.

    They are left out for that reason, or because the file system does not take them.
    """
    return sum(not is_kept(name) or not _is_set(fd, name, value) for name, value in xattrs.items())


def _is_set(fd: int, name: bytes, value: bytes) -> bool:
    try:
        os.setxattr(fd, name, value)
    except ValueError:  # a NUL in its name
        return False
    except OSError as error:
        if error.errno not in _REFUSED_XATTR:
            raise
        return False
    return True
