"""What a program is built for, by its ELF header (elf(5)): machine and loader.

The file is hostile.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")  # 64 bits, little endian: all machines that we support
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_CLASS_AND_ORDER = b"\x7fELF\x02\x01"
_PT_INTERP = 3
_MOST_HEADERS = 64
_LONGEST = 4096
_MACHINES = {62: "x86_64", 183: "aarch64"}


@dataclass(frozen=True, kw_only=True)
class Program:
    """An ELF program.

    machine: "x86_64", "aarch64", None for all others. loader: path of the dynamic
    loader, None for a static program.
    """

    machine: str | None
    loader: str | None


def read(fd: int) -> Program | None:
    """Parse an open file; None if it is not a 64-bit program, such as a script."""
    try:
        fields = _HEADER.unpack(os.pread(fd, _HEADER.size, 0))
        if not fields[0].startswith(_CLASS_AND_ORDER):
            return None
        return Program(machine=_MACHINES.get(fields[2]), loader=_loader(fd, offset=fields[5], count=min(fields[10], _MOST_HEADERS)))
    except (struct.error, OverflowError, OSError):  # truncated, or with offsets beyond any file
        return None


def _loader(fd: int, *, offset: int, count: int) -> str | None:
    for number in range(count):
        fields = _PROGRAM_HEADER.unpack(os.pread(fd, _PROGRAM_HEADER.size, offset + number * _PROGRAM_HEADER.size))
        if fields[0] == _PT_INTERP:
            return os.fsdecode(os.pread(fd, min(fields[5], _LONGEST), fields[2]).partition(b"\0")[0])
    return None
