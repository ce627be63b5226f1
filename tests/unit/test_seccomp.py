"""The filter, asked by an interpreter of its own instructions; the real kernel is asked in tests/system/test_seccomp.py."""

from __future__ import annotations

import os
from errno import E2BIG, ENOPROTOOPT, ENOSYS, EPERM
from typing import TYPE_CHECKING

import pyseccomp
import pytest

import bpf
from cellhold.linux.capabilities import DEFAULT
from cellhold.seccomp import cache, cached_program, compiler, profile, program
from cellhold.seccomp.plan import plan

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = bpf.ERRNO | EPERM
pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers in these tests are x86-64's")

# Numbers of asm/unistd_64.h and asm/unistd_32.h
READ, IOCTL, SOCKET, CLONE, PERSONALITY, CLONE3, OPENAT2 = 0, 16, 41, 56, 135, 435, 437
I386_MOUNT, I386_SOCKETCALL, I386_CLONE, I386_READ = 21, 102, 120, 3
DANGEROUS = {
    "mount": 165,
    "umount2": 166,
    "swapon": 167,
    "reboot": 169,
    "init_module": 175,
    "kexec_load": 246,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "unshare": 272,
    "perf_event_open": 298,
    "open_by_handle_at": 304,
    "setns": 308,
    "finit_module": 313,
    "kexec_file_load": 320,
    "bpf": 321,
    "userfaultfd": 323,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsmount": 432,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
}


@pytest.fixture(scope="module")
def default() -> list[bpf.Instruction]:
    return bpf.decode(program(DEFAULT))


@pytest.mark.parametrize("name", DANGEROUS)
def test_what_reaches_kernel_bugs_is_refused_with_the_default_capabilities(default: list[bpf.Instruction], name: str) -> None:
    assert bpf.answer(default, bpf.X86_64, DANGEROUS[name]) == REFUSED


def test_no_dangerous_name_is_in_the_profile_without_a_capability() -> None:
    always = set(" ".join((*profile.ALLOWED.values(), *profile.BY_MACHINE.values())).split())
    assert always.isdisjoint(DANGEROUS)
    assert always.isdisjoint(
        {"_sysctl", "acct", "chroot", "clone", "clone3", "ioperm", "iopl", "nfsservctl", "personality", "swapoff", "vhangup"}
    )


def test_every_name_is_listed_once() -> None:
    names = " ".join((*profile.ALLOWED.values(), *profile.BY_MACHINE.values())).split()
    assert sorted(names) == sorted(set(names))


def test_every_name_is_one_that_libseccomp_or_a_newer_kernel_knows() -> None:
    newer = "statmount listmount mseal uretprobe getxattrat listxattrat removexattrat "
    newer += "lsm_get_self_attr lsm_set_self_attr lsm_list_modules"
    unknown = {name for name in plan(DEFAULT, "x86_64").known if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) == -1}
    assert unknown <= set(newer.split())


def test_the_reach_is_that_of_dockers_profile_300_calls_and_four_by_argument(default: list[bpf.Instruction]) -> None:
    by_argument = {IOCTL, SOCKET, CLONE, PERSONALITY}
    allowed = {number for number in range(600) if bpf.answer(default, bpf.X86_64, number) == bpf.ALLOW}
    assert READ in allowed
    assert by_argument <= allowed  # with all arguments 0
    assert 280 <= len(allowed) <= 312  # the number of names that libseccomp knows grows with its version


@pytest.mark.parametrize(
    ("family", "expected"), [(1, bpf.ALLOW), (2, bpf.ALLOW), (16, bpf.ALLOW), (39, bpf.ALLOW), (38, REFUSED), (40, REFUSED)]
)
def test_sockets_of_families_that_leave_the_container_are_refused(default: list[bpf.Instruction], family: int, expected: int) -> None:
    assert bpf.answer(default, bpf.X86_64, SOCKET, family) == expected
    assert bpf.answer(default, bpf.X86_64, SOCKET, family | 1 << 32) == expected  # the kernel reads an int


@pytest.mark.parametrize("request_", [0x5412, 0x541C])
def test_typing_into_the_terminal_is_refused_however_the_upper_half_is_filled(default: list[bpf.Instruction], request_: int) -> None:
    for upper in (0, 1 << 32, 0xFFFFFFFF << 32):
        assert bpf.answer(default, bpf.X86_64, IOCTL, 0, request_ | upper) == REFUSED
    assert bpf.answer(default, bpf.X86_64, IOCTL, 0, request_ + 1) == bpf.ALLOW


def test_clone_makes_threads_and_forks_but_no_namespaces(default: list[bpf.Instruction]) -> None:
    sigchld, thread = 17, 0x3D0F00
    assert bpf.answer(default, bpf.X86_64, CLONE, sigchld) == bpf.ALLOW
    assert bpf.answer(default, bpf.X86_64, CLONE, thread) == bpf.ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert bpf.answer(default, bpf.X86_64, CLONE, flag | sigchld) == REFUSED
        assert bpf.answer(default, bpf.I386, I386_CLONE, flag | sigchld) == REFUSED


def test_clone3_and_calls_that_nobody_knows_yet_do_not_exist(default: list[bpf.Instruction]) -> None:
    for number in (CLONE3, 470, 600, 4095):
        assert bpf.answer(default, bpf.X86_64, number) == bpf.ERRNO | ENOSYS


def test_only_harmless_personalities(default: list[bpf.Instruction]) -> None:
    allowed = [value for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF) if bpf.answer(default, bpf.X86_64, PERSONALITY, value) == bpf.ALLOW]
    assert len(allowed) == 5
    for value in (0x40000, 0x400000, 0x40008, 1 << 32 | 8):  # ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC ...
        assert bpf.answer(default, bpf.X86_64, PERSONALITY, value) == REFUSED


def test_the_other_entry_points_have_the_same_walls(default: list[bpf.Instruction]) -> None:
    assert bpf.answer(default, bpf.I386, I386_READ) == bpf.ALLOW
    assert bpf.answer(default, bpf.I386, I386_MOUNT) == REFUSED
    assert bpf.answer(default, bpf.I386, I386_SOCKETCALL, 1) == REFUSED
    assert bpf.answer(default, bpf.I386, I386_SOCKETCALL, 3) == bpf.ALLOW
    assert bpf.answer(default, bpf.X86_64, READ | bpf.X32_BIT) == bpf.ALLOW
    assert bpf.answer(default, bpf.X86_64, DANGEROUS["mount"] | bpf.X32_BIT) == REFUSED
    assert bpf.answer(default, bpf.AARCH64, 0) == bpf.KILL


def test_a_capability_opens_its_calls_and_no_others() -> None:
    none, chroot, admin = (bpf.decode(program(frozenset(caps))) for caps in ((), ("CAP_SYS_CHROOT",), ("CAP_SYS_ADMIN",)))
    assert bpf.answer(none, bpf.X86_64, 161) == REFUSED
    assert bpf.answer(chroot, bpf.X86_64, 161) == bpf.ALLOW
    assert bpf.answer(chroot, bpf.X86_64, DANGEROUS["mount"]) == REFUSED
    assert bpf.answer(admin, bpf.X86_64, DANGEROUS["mount"]) == bpf.ALLOW
    assert bpf.answer(admin, bpf.X86_64, CLONE3) == bpf.ALLOW
    assert bpf.answer(admin, bpf.X86_64, DANGEROUS["kexec_load"]) == REFUSED
    assert bpf.answer(admin, bpf.X86_64, IOCTL, 0, 0x5412) == REFUSED


# name -> numbers (x86-64 and x32, i386; 0: none), positions of the mode and of the flags (-1: none)
CREATING = {
    "chmod": (90, 15, 1, -1),
    "fchmod": (91, 94, 1, -1),
    "fchmodat": (268, 306, 2, -1),
    "creat": (85, 8, 1, -1),
    "mknod": (133, 14, 1, -1),
    "mknodat": (259, 297, 2, -1),
    "open": (2, 5, 2, 1),
    "openat": (257, 295, 3, 2),
}


@pytest.mark.parametrize("name", CREATING)
def test_without_set_ids_no_call_makes_them_through_any_entry_point(default: list[bpf.Instruction], name: str) -> None:
    without = bpf.decode(program(DEFAULT, set_ids=False))
    native, i386, mode, flags = CREATING[name]
    for arch, number in ((bpf.X86_64, native), (bpf.X86_64, native | bpf.X32_BIT), (bpf.I386, i386)):
        for flag in (os.O_CREAT, os.O_TMPFILE, os.O_CREAT | os.O_EXCL | os.O_WRONLY) if flags >= 0 else (0,):
            arguments = [0] * 6
            for bits, expected in ((0o755, bpf.ALLOW), (0o1777, bpf.ALLOW), (0o4755, REFUSED), (0o2755, REFUSED), (0o106755, REFUSED)):
                arguments[mode], arguments[flags] = bits, flag
                assert bpf.answer(without, arch, number, *arguments) == expected
                assert bpf.answer(default, arch, number, *arguments) == bpf.ALLOW
                arguments[mode] |= 1 << 32
                assert bpf.answer(without, arch, number, *arguments) == expected


def test_without_set_ids_a_mode_that_the_kernel_does_not_look_at_is_no_matter() -> None:
    """Whoever opens what is there may leave anything in that register."""
    without = bpf.decode(program(DEFAULT, set_ids=False))
    assert bpf.answer(without, bpf.X86_64, 2, 0, os.O_RDWR | os.O_DIRECTORY, 0o7777) == bpf.ALLOW
    assert bpf.answer(without, bpf.X86_64, 257, 0, 0, os.O_RDONLY, 0o7777) == bpf.ALLOW


def test_without_set_ids_what_hides_its_mode_is_not_there(default: list[bpf.Instruction]) -> None:
    without = bpf.decode(program(DEFAULT, set_ids=False))
    for arch, number in ((bpf.X86_64, OPENAT2), (bpf.X86_64, OPENAT2 | bpf.X32_BIT), (bpf.I386, OPENAT2)):
        assert bpf.answer(without, arch, number) == bpf.ERRNO | ENOSYS
        assert bpf.answer(default, arch, number) == bpf.ALLOW


def test_asynchronous_io_is_not_there(default: list[bpf.Instruction]) -> None:
    for arch, number in ((bpf.X86_64, 206), (bpf.X86_64, 543 | bpf.X32_BIT), (bpf.I386, 245)):
        assert bpf.answer(default, arch, number) == bpf.ERRNO | ENOSYS


@pytest.mark.parametrize(("native", "i386"), [(188, 226), (189, 227), (190, 228)])
def test_an_extended_attribute_is_small_through_any_entry_point(default: list[bpf.Instruction], native: int, i386: int) -> None:
    for arch, number in ((bpf.X86_64, native), (bpf.X86_64, native | bpf.X32_BIT), (bpf.I386, i386)):
        for size in (0, 1, 28, 2047):
            assert bpf.answer(default, arch, number, 0, 0, 0, size) == bpf.ALLOW
        for size in (2048, 4095, 4096, 65516, 65535, 65536):
            assert bpf.answer(default, arch, number, 0, 0, 0, size) == bpf.ERRNO | E2BIG
    assert bpf.answer(default, bpf.X86_64, 463) in (bpf.ERRNO | ENOSYS, REFUSED)  # setxattrat, whose size nobody sees


def test_no_socket_has_a_program_which_is_counted_for_the_whole_machine(default: list[bpf.Instruction]) -> None:
    for arch, number in ((bpf.X86_64, 54), (bpf.X86_64, 541 | bpf.X32_BIT), (bpf.I386, 366)):
        for option in (26, 51):
            for upper in (0, 1 << 32):
                assert bpf.answer(default, arch, number, 3, 1 | upper, option | upper) == bpf.ERRNO | ENOPROTOOPT
        for level, option in ((1, 2), (1, 9), (1, 15), (0, 26), (6, 26)):  # SO_REUSEADDR, SO_KEEPALIVE, SO_REUSEPORT, others' options
            assert bpf.answer(default, arch, number, 3, level, option) == bpf.ALLOW
    assert bpf.answer(default, bpf.I386, I386_SOCKETCALL, 14) == REFUSED


def test_the_linked_program_is_one_that_the_kernel_takes() -> None:
    made = program(frozenset(profile.WITH_CAPABILITY))
    assert len(made) % 8 == 0
    assert len(made) // 8 <= 4096


# ------------------------------------------------------------------------------------------------------------------ the cache


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    seen: list[object] = []

    def counted(rules: object) -> bytes:
        seen.append(rules)
        return compiler.compiled(rules)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(cache, "compiled", counted)
    return seen


def only_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


def test_a_filter_is_compiled_once(tmp_path: Path, compilations: list[object]) -> None:
    first = cached_program(DEFAULT, tmp_path / "new")
    assert cached_program(DEFAULT, tmp_path / "new") == first == program(DEFAULT)
    assert len(compilations) == 1
    assert only_file(tmp_path / "new").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_other_capabilities_are_another_filter(tmp_path: Path, compilations: list[object]) -> None:
    assert cached_program(DEFAULT, tmp_path) != cached_program(DEFAULT | {"CAP_SYS_ADMIN"}, tmp_path)
    assert len(compilations) == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_another_libseccomp_is_another_filter(tmp_path: Path, compilations: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    cached_program(DEFAULT, tmp_path)
    monkeypatch.setattr(cache, "_libseccomp_version", lambda: (9, 9, 9))
    cached_program(DEFAULT, tmp_path)
    assert len(compilations) == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "huge", "writable by all", "a symlink", "a fifo"])
def test_a_file_that_is_damaged_or_not_surely_ours_is_compiled_anew(tmp_path: Path, compilations: list[object], damage: str) -> None:
    right = cached_program(DEFAULT, tmp_path)
    path = only_file(tmp_path)
    content = path.read_bytes()
    if damage == "writable by all":
        path.chmod(0o666)
    elif damage == "a symlink":
        path.rename(tmp_path.parent / f"{tmp_path.name}-elsewhere")
        path.symlink_to(tmp_path.parent / f"{tmp_path.name}-elsewhere")
    elif damage == "a fifo":
        path.unlink()
        os.mkfifo(path)
    else:
        flipped = content[:100] + bytes([content[100] ^ 1]) + content[101:]
        path.write_bytes({"empty": b"", "cut": content[:-8], "flipped": flipped, "huge": content + bytes(1 << 20)}[damage])
    assert cached_program(DEFAULT, tmp_path) == right
    assert len(compilations) == 2
    assert path.is_file()
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_not_believed(tmp_path: Path, compilations: list[object]) -> None:
    cached_program(DEFAULT, tmp_path)
    os.chown(only_file(tmp_path), 12345, 12345)
    cached_program(DEFAULT, tmp_path)
    assert len(compilations) == 2
    assert only_file(tmp_path).stat().st_uid == 0
