"""Mounts by file descriptor.

open_tree(2), fsopen(2), fsconfig(2), fsmount(2), mount_setattr(2), move_mount(2),
pivot_root(2).

A detached mount is a descriptor; it is attached only by move_mount, onto a descriptor
that was opened and checked, so that no mount ever follows a path of an image.
"""

from __future__ import annotations

import os
from ctypes import c_char_p, c_int, c_size_t, c_uint, c_ulong
from struct import pack

from cellhold.linux.libc import function, syscall

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOUNT_ATTR_RDONLY = 1
MOUNT_ATTR_NOSUID = 2
MOUNT_ATTR_NODEV = 4
MOUNT_ATTR_NOEXEC = 8
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_NOSYMFOLLOW = 0x200000
MOUNT_ATTR_IDMAP = 0x100000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_SET_FLAG, _SET_STRING, _CMD_CREATE = 0, 1, 6
_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_MOVE_EMPTY_PATHS = 0x04 | 0x40  # MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
_OPENAT2_HOW_SIZE = 24

_mount = function("mount", c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
_umount2 = function("umount2", c_char_p, c_int)
_pivot_root = syscall("pivot_root", c_char_p, c_char_p)
_open_tree = syscall("open_tree", c_int, c_char_p, c_uint)
_move_mount = syscall("move_mount", c_int, c_char_p, c_int, c_char_p, c_uint)
_fsopen = syscall("fsopen", c_char_p, c_uint)
_fsconfig = syscall("fsconfig", c_int, c_uint, c_char_p, c_char_p, c_int)
_fsmount = syscall("fsmount", c_int, c_uint, c_uint)
_mount_setattr = syscall("mount_setattr", c_int, c_char_p, c_uint, c_char_p, c_size_t)
_openat2 = syscall("openat2", c_int, c_char_p, c_char_p, c_size_t)


def mount(source: str | None, target: str, fstype: str | None, flags: int = 0, data: str | None = None) -> None:
    """mount(2), for what has no newer call.

    Making a tree private, and overlay with more layers than fsconfig's 256 bytes hold.
    """
    encoded = (None if text is None else os.fsencode(text) for text in (source, target, fstype))
    _mount(*encoded, flags, None if data is None else os.fsencode(data))


def umount2(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2)."""
    _umount2(os.fsencode(target), flags)


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    _pivot_root(os.fsencode(new), os.fsencode(old))


def open_tree(dirfd: int, path: str, flags: int = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC) -> int:
    """open_tree(2): with OPEN_TREE_CLONE a detached bind mount of `path`."""
    return _open_tree(dirfd, os.fsencode(path), flags | (0 if path else AT_EMPTY_PATH))


def move_mount(mount_fd: int, target_fd: int) -> None:
    """move_mount(2) of a detached mount onto an opened directory or file."""
    _move_mount(mount_fd, b"", target_fd, b"", _MOVE_EMPTY_PATHS)


def mount_setattr(
    fd: int, *, attr_set: int = 0, attr_clr: int = 0, propagation: int = 0, userns_fd: int = 0, recursive: bool = False
) -> None:
    """mount_setattr(2) on a mount's descriptor.

    MOUNT_ATTR_IDMAP takes the ids of the user namespace `userns_fd`.
    """
    attributes = pack("QQQQ", attr_set, attr_clr, propagation, userns_fd)
    _mount_setattr(fd, b"", AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0), attributes, len(attributes))


def fsopen(fstype: str) -> int:
    """fsopen(2): a file system to be configured."""
    return _fsopen(os.fsencode(fstype), _FSOPEN_CLOEXEC)


def fsconfig_string(fd: int, key: str, value: str) -> None:
    """fsconfig(2) FSCONFIG_SET_STRING; at most 255 bytes."""
    _fsconfig(fd, _SET_STRING, os.fsencode(key), os.fsencode(value), 0)


def fsconfig_flag(fd: int, key: str) -> None:
    """fsconfig(2) FSCONFIG_SET_FLAG."""
    _fsconfig(fd, _SET_FLAG, os.fsencode(key), None, 0)


def fsconfig_create(fd: int) -> None:
    """fsconfig(2) FSCONFIG_CMD_CREATE."""
    _fsconfig(fd, _CMD_CREATE, None, None, 0)


def fsmount(fd: int, attributes: int = 0) -> int:
    """fsmount(2): the configured file system as a detached mount."""
    return _fsmount(fd, _FSMOUNT_CLOEXEC, attributes)


def new_filesystem(fstype: str, options: dict[str, str | None], *, attributes: int = 0, source: str | None = None) -> int:
    """Make a new file system as a detached mount.

    fsopen, one fsconfig per option (None = a flag), fsmount.
    """
    context = fsopen(fstype)
    try:
        if source is not None:
            fsconfig_string(context, "source", source)
        for key, value in options.items():
            if value is None:
                fsconfig_flag(context, key)
            else:
                fsconfig_string(context, key, value)
        fsconfig_create(context)
        return fsmount(context, attributes)
    finally:
        os.close(context)


def openat2(dirfd: int, path: str, flags: int, *, resolve: int, mode: int = 0) -> int:
    """openat2(2), close-on-exec; `resolve` holds RESOLVE_* flags."""
    how = pack("QQQ", flags | os.O_CLOEXEC, mode, resolve)
    return _openat2(dirfd, os.fsencode(path), how, _OPENAT2_HOW_SIZE)
