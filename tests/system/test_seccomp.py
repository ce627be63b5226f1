"""The filter in the real kernel: each call is made with and without it, so that a refusal is surely the filter's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from errno import ENOSYS, EPERM
from pathlib import Path
from typing import Any

import pytest

from cellhold.linux.capabilities import DEFAULT
from cellhold.seccomp import program

pytestmark = [pytest.mark.requires("root", "seccomp"), pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")]

Answers = dict[str, Any]
TIOCSTI, TIOCLINUX, AF_ALG, AF_VSOCK = 0x5412, 0x541C, 38, 40
CLONE_NEWUSER, CLONE_THREAD = 0x10000000, 0x10000  # together and without CLONE_SIGHAND: EINVAL, so no process is made

# name -> entry point, number, arguments that do no harm: most are wrong, and the kernel would say so
REFUSED: dict[str, tuple[str | int, ...]] = {
    "mount": ("native", 165, 0, 0, 0, 0, 0),
    "umount2": ("native", 166, 0, 0),
    "unshare": ("native", 272, 0),
    "setns": ("native", 308, -1, 0),
    "keyctl": ("native", 250, 0, -3, 0),
    "add_key": ("native", 248, 0, 0, 0, 0, 0),
    "io_uring_setup": ("native", 425, 1, 0),
    "userfaultfd": ("native", 323, 0xFFFF),
    "bpf": ("native", 321, 0, 0, 0),
    "perf_event_open": ("native", 298, 0, 0, -1, -1, 0),
    "fsopen": ("native", 430, 0, 0),
    "open_tree": ("native", 428, -1, 0, 0),
    "finit_module": ("native", 313, -1, 0, 0),
    "reboot with wrong magic": ("native", 169, 1, 2, 3, 0),
    "swapon": ("native", 167, 0, 0),
    "clone with CLONE_NEWUSER": ("native", 56, CLONE_NEWUSER | CLONE_THREAD, 0, 0, 0, 0),
    "socket AF_VSOCK": ("native", 41, AF_VSOCK, 1, 0),
    "socket AF_VSOCK with the upper half set": ("native", 41, AF_VSOCK | 1 << 32, 1, 0),
    "socket AF_ALG": ("native", 41, AF_ALG, 5, 0),
    "personality ADDR_NO_RANDOMIZE": ("native", 135, 0x40000),
    "ioctl TIOCSTI": ("native", 16, -1, TIOCSTI, 0),
    "ioctl TIOCSTI with the upper half set": ("native", 16, -1, TIOCSTI | 1 << 32, 0),
    "ioctl TIOCLINUX": ("native", 16, -1, TIOCLINUX, 0),
    "i386 mount": ("i386", 21, 0, 0, 0, 0, 0),
    "i386 unshare": ("i386", 310, 0),
    "i386 keyctl": ("i386", 288, 0, 0xFFFFFFFD, 0),
    "i386 clone with CLONE_NEWUSER": ("i386", 120, CLONE_NEWUSER | CLONE_THREAD, 0, 0, 0, 0),
    "i386 socketcall SYS_SOCKET": ("i386", 102, 1, 0),
    "i386 ioctl TIOCSTI": ("i386", 54, 0xFFFFFFFF, TIOCSTI, 0),
}
NOT_THERE: dict[str, tuple[str | int, ...]] = {
    "clone3": ("native", 435, 0, 0),
    "i386 clone3": ("i386", 435, 0, 0),
}
THE_SAME: dict[str, tuple[str | int, ...]] = {
    "getpid": ("native", 39),
    "i386 getpid": ("i386", 20),
    "personality, only asked": ("native", 135, 0xFFFFFFFF),
    "ioctl TCGETS of no descriptor": ("native", 16, -1, 0x5401, 0),
    "ptrace of no process": ("native", 101, 16, 0, 0, 0),
    "socket AF_UNIX": ("native", 41, 1, 1, 0),
    "chroot to nowhere": ("native", 161, 0),
}


def probe(filter_: str) -> Answers:
    script = Path(__file__).with_name("seccomp_probe.py")
    calls = json.dumps(REFUSED | NOT_THERE | THE_SAME)
    ran = subprocess.run(
        [sys.executable, "-I", "-S", script, filter_], input=calls, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    answers: Answers = json.loads(ran.stdout)
    return answers


@pytest.fixture(scope="module")
def without() -> Answers:
    return probe("-")


@pytest.fixture(scope="module")
def within(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    path = tmp_path_factory.mktemp("seccomp") / "filter"
    path.write_bytes(program(DEFAULT))
    return probe(str(path))


@pytest.mark.parametrize("call", REFUSED)
def test_a_dangerous_call_is_refused_by_the_filter_and_not_by_the_kernel(call: str, within: Answers, without: Answers) -> None:
    assert within[call] == EPERM
    assert without[call] != EPERM


@pytest.mark.parametrize("call", NOT_THERE)
def test_clone3_is_not_there_so_that_libc_uses_clone(call: str, within: Answers, without: Answers) -> None:
    assert within[call] == ENOSYS
    assert without[call] != ENOSYS


@pytest.mark.parametrize("call", THE_SAME)
def test_an_allowed_call_gets_the_kernels_own_answer(call: str, within: Answers, without: Answers) -> None:
    assert within[call] == without[call] != EPERM


def test_programs_do_what_they_do_all_day(within: Answers) -> None:
    assert within["everyday"] == ["exec", "fork 7", "thread", "pipe", "socket"]
