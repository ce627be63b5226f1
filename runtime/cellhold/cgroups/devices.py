"""Which device nodes a container may open: Docker's rule.

Any node may be made, and only the harmless ones opened.

v1 has a controller that takes this as text (limits_v1.py). v2 has none: there it is a
BPF program on the container's group (BPF_PROG_TYPE_CGROUP_DEVICE), which the kernel
runs at each open and each mknod of a device; 0 denies (EPERM). Programs of the groups
above run as well. The program is written here, instruction by instruction; no compiler
is needed.

If no program can be loaded (an ordinary user may not load one) the container's user
namespace, which cannot make nodes, and its nodev mounts hold; `cellhold doctor` says
so.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from struct import pack
from typing import NamedTuple, Self

from cellhold.errors import InvalidSpec
from cellhold.linux import bpf
from cellhold.linux.hostpath import HostPath


class Device(NamedTuple):
    """A device that may be used.

    minor None: all of that major number. kind: c (character) or b (block); access: of r
    and w.
    """

    major: int
    minor: int | None
    name: str
    kind: str = "c"
    access: str = "rw"

    @classmethod
    def node(cls, node: str | HostPath, access: str) -> Self:
        """Return the device of a node on the host. Raises InvalidSpec for other files."""
        path = node.name if isinstance(node, HostPath) else node
        try:
            found = os.stat(node)
        except OSError as error:
            raise InvalidSpec(f"cannot use device={path}: {error.strerror}") from error
        if not stat.S_ISCHR(found.st_mode) and not stat.S_ISBLK(found.st_mode):
            raise InvalidSpec(f"cannot use device={path}: it is not a device node", hint="-v shows files and directories of the host")
        kind = "c" if stat.S_ISCHR(found.st_mode) else "b"
        return cls(os.major(found.st_rdev), os.minor(found.st_rdev), path, kind, "".join(sorted({*access} & {*"rw"})))


ALLOWED = (
    Device(1, 3, "null"),
    Device(1, 5, "zero"),
    Device(1, 7, "full"),
    Device(1, 8, "random"),
    Device(1, 9, "urandom"),
    Device(5, 0, "tty"),
    Device(5, 2, "ptmx"),
    Device(136, None, "pts"),
)
NAMES = " ".join(device.name for device in ALLOWED)

# linux/bpf.h: struct bpf_cgroup_dev_ctx {u32 access_type, major, minor}; access_type is
# access << 16 | kind.
_KINDS, _MAKE, _READ, _WRITE = {"b": 1, "c": 2}, 1, 2, 4
_USE = _READ | _WRITE
_AT_ACCESS, _AT_MAJOR, _AT_MINOR = 0, 4, 8
# Operation codes (Documentation/bpf/standardization/instruction-set.rst); K: the
# operand is in the instruction.
_LOAD_WORD, _MOVE_K, _MOVE, _AND_K, _SHIFT_RIGHT_K, _EXIT = 0x61, 0xB7, 0xBF, 0x57, 0x77, 0x95
_JUMP_NOT_EQUAL_K = 0x55
_RESULT, _CONTEXT, _ACCESS, _KIND, _MAJOR, _MINOR, _MORE = 0, 1, 2, 3, 4, 5, 6  # registers; the kernel fixes the first two
_ALLOW = ((_MOVE_K, _RESULT, 0, 0, 1), (_EXIT, 0, 0, 0, 0))
_DENY = ((_MOVE_K, _RESULT, 0, 0, 0), (_EXIT, 0, 0, 0, 0))


def program(allowed: tuple[Device, ...] = ALLOWED) -> bytes:
    """Return the filter as an array of struct bpf_insn.

    {u8 code; u8 destination:4, source:4; s16 offset; s32 operand}
    """
    instructions = [
        (_LOAD_WORD, _ACCESS, _CONTEXT, _AT_ACCESS, 0),
        (_LOAD_WORD, _MAJOR, _CONTEXT, _AT_MAJOR, 0),
        (_LOAD_WORD, _MINOR, _CONTEXT, _AT_MINOR, 0),
        (_MOVE, _KIND, _ACCESS, 0, 0),
        (_AND_K, _KIND, 0, 0, 0xFFFF),
        (_SHIFT_RIGHT_K, _ACCESS, 0, 0, 16),
        (_AND_K, _ACCESS, 0, 0, _USE),
        (_JUMP_NOT_EQUAL_K, _ACCESS, 0, 2, 0),  # only to make a node: any
        *_ALLOW,
    ]
    for device in allowed:
        tests = [(_KIND, _KINDS[device.kind]), (_MAJOR, device.major), *([] if device.minor is None else [(_MINOR, device.minor)])]
        refused = (0 if "r" in device.access else _READ) | (0 if "w" in device.access else _WRITE)
        if refused:
            instructions += [(_MOVE, _MORE, _ACCESS, 0, 0), (_AND_K, _MORE, 0, 0, refused)]
            tests.append((_MORE, 0))
        for number, (register, value) in enumerate(tests):
            left = len(tests) - number - 1 + len(_ALLOW)
            instructions.append((_JUMP_NOT_EQUAL_K, register, 0, left, value))
        instructions += _ALLOW
    instructions += _DENY
    return b"".join(pack("<BBhi", code, source << 4 | target, offset, operand) for code, target, source, offset, operand in instructions)


def load(allowed: tuple[Device, ...] = ALLOWED) -> int:
    """Load the program and return its descriptor.

    Raises OSError: EPERM without CAP_BPF and CAP_NET_ADMIN, EINVAL or ENOSYS without
    CONFIG_CGROUP_BPF.
    """
    return bpf.load(bpf.BPF_PROG_TYPE_CGROUP_DEVICE, program(allowed), name="cellhold_dev")


def confine(directory: str, more: tuple[Device, ...] = ()) -> str:
    """Attach the filter to a cgroup v2 group; return the outcome for `--trace`.

    more: further devices that may be used.
    """
    try:
        _attach(directory, (*ALLOWED, *more))
    except OSError as error:
        return f"any that the user namespace and nodev mounts leave (no BPF program: {error.strerror})"
    return f"{' '.join([NAMES, *(device.name for device in more)])} (BPF program)"


def _attach(directory: str, allowed: tuple[Device, ...]) -> None:
    with ExitStack() as opened:
        filtering = load(allowed)
        opened.callback(os.close, filtering)
        group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, group)
        bpf.attach(filtering, group, bpf.BPF_CGROUP_DEVICE, flags=bpf.BPF_F_ALLOW_MULTI)
