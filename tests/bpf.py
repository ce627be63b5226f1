"""A classic BPF interpreter, for what seccomp(2) programs use."""

from __future__ import annotations

from struct import iter_unpack, pack, unpack_from
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
X32_BIT = 0x40000000
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x00000000, 0x00050000

_LOAD, _JUMP, _AND, _RETURN = 0x20, 0x05, 0x54, 0x06
_COMPARE: dict[int, Callable[[int, int], bool]] = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: bool(a & k),
}


class Instruction(NamedTuple):
    code: int
    if_true: int
    if_false: int
    k: int


def decode(program: bytes) -> list[Instruction]:
    return [Instruction(*fields) for fields in iter_unpack("HBBI", program)]


def answer(program: list[Instruction], arch: int, number: int, *arguments: int) -> int:
    """Return the SECCOMP_RET_* value of a system call, with errno in its lower half."""
    six = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = pack("IIQ6Q", number & 0xFFFFFFFF, arch, 0, *(value & 0xFFFFFFFFFFFFFFFF for value in six))
    at = accumulator = 0
    while True:
        code, if_true, if_false, k = program[at]
        at += 1
        if code == _LOAD:
            (accumulator,) = unpack_from("I", data, k)
        elif code == _AND:
            accumulator &= k
        elif code == _JUMP:
            at += k
        elif code == _RETURN:
            return k
        elif code in _COMPARE:
            at += if_true if _COMPARE[code](accumulator, k) else if_false
        else:
            raise AssertionError(f"instruction {code:#x} is not one that libseccomp makes")
