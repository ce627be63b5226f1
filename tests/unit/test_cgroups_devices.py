"""The BPF program that stands for v1's devices controller, run by an interpreter: it says what v1's list says."""

from __future__ import annotations

from struct import iter_unpack, pack, unpack_from

import pytest

from cellhold.cgroups import devices, limits_v1
from cellhold.errors import InvalidSpec

MAKE, READ, WRITE = 1, 2, 4
BLOCK, CHARACTER = 1, 2
PROGRAM = list(iter_unpack("<BBhi", devices.program()))


def allows(access: int, kind: int, major: int, minor: int, program: list[tuple[int, ...]] = PROGRAM) -> bool:
    """Run a program on a struct bpf_cgroup_dev_ctx."""
    context = pack("<III", access << 16 | kind, major, minor)
    registers = [0] * 11
    at = 0
    while True:
        code, pair, offset, operand = program[at]
        source, target = pair >> 4, pair & 15
        at += 1
        if code == 0x61:
            assert source == 1, "only the context can be read"
            (registers[target],) = unpack_from("<I", context, offset)
        elif code == 0xB7:
            registers[target] = operand
        elif code == 0xBF:
            registers[target] = registers[source]
        elif code == 0x57:
            registers[target] &= operand
        elif code == 0x77:
            registers[target] >>= operand
        elif code == 0x15:
            at += offset if registers[target] == operand else 0
        elif code == 0x55:
            at += offset if registers[target] != operand else 0
        elif code == 0x95:
            return bool(registers[0])
        else:
            raise AssertionError(f"instruction {code:#x} is not one that is made here")


def v1_allows(access: int, kind: int, major: int, minor: int) -> bool:
    """What the kernel makes of the lines for devices.allow: one of them has to allow all of the access."""
    letters = {letter for bit, letter in ((MAKE, "m"), (READ, "r"), (WRITE, "w")) if access & bit}
    for write in limits_v1.DEVICES:
        if write.file != "devices.allow":
            continue
        letter, number, rights = write.value.split()
        numbers_fit = all(wanted in ("*", str(present)) for wanted, present in zip(number.split(":"), (major, minor), strict=True))
        if letter == {BLOCK: "b", CHARACTER: "c"}[kind] and letters <= set(rights) and numbers_fit:
            return True
    return False


@pytest.mark.parametrize("kind", [BLOCK, CHARACTER])
@pytest.mark.parametrize("access", [MAKE, READ, WRITE, READ | WRITE, MAKE | READ | WRITE])
def test_it_allows_what_the_list_of_v1_allows_and_nothing_else(kind: int, access: int) -> None:
    numbers = [(major, minor) for major in (0, 1, 4, 5, 7, 10, 135, 136, 137, 254) for minor in (*range(12), 200, 1 << 19)]
    assert [at for at in numbers if allows(access, kind, *at)] == [at for at in numbers if v1_allows(access, kind, *at)]


def test_null_can_be_used_and_the_kernels_log_and_disks_cannot() -> None:
    assert allows(READ | WRITE, CHARACTER, 1, 3)
    assert not allows(READ, CHARACTER, 1, 11)
    assert not allows(READ, BLOCK, 1, 3)
    assert allows(MAKE, BLOCK, 8, 0)


def test_a_device_of_the_host_can_be_used_as_far_as_was_asked_for() -> None:
    more = (devices.Device(10, 229, "/dev/fuse", "c", "rw"), devices.Device(8, 0, "/dev/sda", "b", "r"))
    program = list(iter_unpack("<BBhi", devices.program((*devices.ALLOWED, *more))))
    assert allows(READ | WRITE, CHARACTER, 10, 229, program)
    assert not allows(READ, CHARACTER, 10, 230, program)
    assert not allows(READ, BLOCK, 10, 229, program)
    assert allows(READ, BLOCK, 8, 0, program)
    assert not allows(WRITE, BLOCK, 8, 0, program)
    assert not allows(READ | WRITE, BLOCK, 8, 0, program)
    assert allows(READ | WRITE, CHARACTER, 136, 7, program)


@pytest.mark.parametrize(("path", "told"), [("/dev/nosuch", "No such file"), ("/etc/passwd", "not a device node")])
def test_what_is_no_device_is_refused(path: str, told: str) -> None:
    with pytest.raises(InvalidSpec, match=told):
        devices.Device.node(path, "rw")
