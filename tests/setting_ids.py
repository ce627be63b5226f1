"""`python -I -S setting_ids.py DIRECTORY`: try to make set-id files there.

Prints as JSON what came of each: "made" if the file has the bits, or capabilities;
"not" if the call went well and it has none; else the name of the errno. x86-64 alone:
the i386 and x32 entry points are ways, too.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import stat
import struct
import sys
from errno import errorcode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BITS = 0o6000
UPPER = 1 << 32  # what the kernel does not look at
AT_FDCWD = -100
O_TMPFILE = 0o20200000
X32 = 0x40000000
NUMBERS = {
    "open": 2, "chmod": 90, "fchmod": 91, "creat": 85, "mknod": 133, "openat": 257, "mknodat": 259, "fchmodat": 268, "openat2": 437,
    "fchmodat2": 452,
}  # fmt: skip
I386 = {"open": 5, "creat": 8, "mknod": 14, "chmod": 15, "fchmod": 94, "openat": 295, "mknodat": 297, "fchmodat": 306, "openat2": 437,
        "fchmodat2": 452}  # fmt: skip
# int nr, a1, a2, a3, a4, a5 -> the i386 entry point of a 64-bit kernel: ebx, ecx, edx,
# esi, edi
INT_80 = bytes.fromhex("53 89f8 89f3 4189ca 89d1 4489d2 4489c6 4489cf cd80 5b c3".replace(" ", ""))
MAP_32BIT = 0x40

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
low = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT)
code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(INT_80)
low_address = ctypes.addressof(ctypes.c_char.from_buffer(low))
int_80 = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint] * 6)(ctypes.addressof(ctypes.c_char.from_buffer(code)))


def text(words: str) -> int:
    """Return the address of a string that i386 can reach too."""
    low.seek(0)
    low.write(os.fsencode(words) + b"\0")
    return low_address


def how(flags: int, mode: int) -> int:
    """Return the address of a struct open_how (openat2(2))."""
    low.seek(2048)
    low.write(struct.pack("QQQ", flags, mode, 0))
    return low_address + 2048


def native(name: str, *arguments: int, extra: int = 0) -> int:
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(NUMBERS[name] | extra), *(ctypes.c_ulong(value & 0xFFFF_FFFF_FFFF_FFFF) for value in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return int(result)


def x32(name: str, *arguments: int) -> int:
    return native(name, *arguments, extra=X32)


def i386(name: str, *arguments: int) -> int:
    result: int = int_80(I386[name], *[*(value & 0xFFFF_FFFF for value in arguments), 0, 0, 0, 0, 0][:5])
    if result < 0:
        raise OSError(-result, name)
    return result


def there(path: str) -> int:
    """Return a file to change the mode of."""
    return os.open(path, os.O_CREAT | os.O_RDWR, 0o644)


def of_mode(call: Callable[..., int], mode: int) -> dict[str, Callable[[str], object]]:
    """Yield the ways of one entry point."""
    new = os.O_CREAT | os.O_WRONLY
    return {
        "chmod": lambda path: (there(path), call("chmod", text(path), mode)),
        "fchmod": lambda path: call("fchmod", there(path), mode),
        "fchmod of one that is only read": lambda path: (there(path), call("fchmod", os.open(path, os.O_RDONLY), mode)),
        "chmod by /proc": lambda path: call("chmod", text(f"/proc/self/fd/{there(path)}"), mode),
        "fchmodat": lambda path: (there(path), call("fchmodat", AT_FDCWD, text(path), mode)),
        "fchmodat2": lambda path: (there(path), call("fchmodat2", AT_FDCWD, text(path), mode, 0)),
        "open": lambda path: call("open", text(path), new, mode),
        "open of a file without a name": lambda path: named(call("open", text(os.path.dirname(path)), O_TMPFILE | os.O_RDWR, mode), path),
        "openat": lambda path: call("openat", AT_FDCWD, text(path), new, mode),
        "openat of a file without a name": lambda path: named(
            call("openat", AT_FDCWD, text(os.path.dirname(path)), O_TMPFILE | os.O_RDWR, mode), path
        ),
        "creat": lambda path: call("creat", text(path), mode),
        "openat2": lambda path: call("openat2", AT_FDCWD, text(path), how(new, mode & 0o7777), 24),
        "mknod": lambda path: call("mknod", text(path), stat.S_IFREG | mode, 0),
        "mknodat": lambda path: call("mknodat", AT_FDCWD, text(path), stat.S_IFREG | mode, 0),
    }


def named(fd: int, path: str) -> None:
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=os.open("/", os.O_PATH))  # linkat(2), which follows the link


def capable(version: int, rootid: bytes) -> Callable[[str], object]:
    """Return the xattr of a file with CAP_SETUID (struct vfs_ns_cap_data)."""
    value = struct.pack("<5I", version << 24 | 1, 1 << 7, 0, 0, 0) + rootid

    def go(path: str) -> None:
        there(path)
        os.setxattr(path, "security.capability", value)

    return go


def ways() -> dict[str, Callable[[str], object]]:
    found: dict[str, Callable[[str], object]] = {
        "capabilities": capable(2, b""),
        "capabilities of a user namespace": capable(3, bytes(4)),
    }
    for name, call in (("", native), ("i386 ", i386), ("x32 ", x32)):
        for words, mode in (("set-user-id", 0o4755), ("set-group-id", 0o2755)):
            found |= {f"{name}{way}, {words}": go for way, go in of_mode(call, mode).items()}
    for way in ("chmod", "fchmod", "mknod"):
        found[f"{way}, both, with more bits than a mode has"] = of_mode(native, 0o6755 | UPPER)[way]
    return found


def outcome(go: Callable[[str], object], path: str) -> str:
    try:
        go(path)
    except OSError as error:
        return errorcode.get(error.errno or 0, str(error.errno))
    return "made" if is_dangerous(path) else "not"


def is_dangerous(path: str) -> bool:
    return bool(os.lstat(path).st_mode & BITS) or "security.capability" in os.listxattr(path, follow_symlinks=False)


def main(directory: str) -> None:
    os.umask(0)
    found = {way: outcome(go, f"{directory}/{number}") for number, (way, go) in enumerate(ways().items())}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
