"""What the kernel counts per user: a container that takes all it can get leaves their own to the host and to every other container."""

from __future__ import annotations

import ctypes
import fcntl
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import taking
from boxes import eventually, python, spec, started
from people import person

if TYPE_CHECKING:
    from collections.abc import Iterator

    from people import Person

ROOT = ("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")
ROOTLESS = ("root", "rootless", "subordinate-ids", "user-namespace", "overlayfs", "mount-api", "seccomp")  # root: to make the users
NS_GET_OWNER_UID = 0xB704  # ioctl_nsfs(2)
SOURCE = Path(taking.__file__).read_text()
PROGRAM = ("python3", "-I", "-S", "-c", SOURCE)
HERE = [sys.executable, "-I", "-S", taking.__file__]
ENOUGH = {"inotify": 8, "watches": 1000, "signals": 1000, "timers": 1000, "messages": 1}  # to work with


def taken_here(what: str) -> int:
    """How much this host's root gets now."""
    return int(subprocess.run([*HERE, what], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout)


# ------------------------------------------------------------------------------------------------------------------- as root


@pytest.mark.requires(*ROOT)
@pytest.mark.parametrize("what", taking.WHAT)
def test_a_container_that_takes_all_leaves_the_host_and_the_others_theirs(what: str) -> None:
    before = taken_here(what)
    reading, writing = os.pipe()
    try:
        with started(spec("host", *PROGRAM, what), stdin=reading) as (_box, out):
            assert eventually(lambda: "\n" in out.so_far), out.so_far
            assert int(out.so_far) >= ENOUGH[what]
            assert taken_here(what) > before // 2  # others of the host's take some, too
            other = python(SOURCE.replace("sys.argv[1:]", repr([what])))
            assert int(other.out) >= int(out.so_far) // 2, other.err
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.requires(*ROOT)
def test_a_container_s_user_namespace_is_its_own_root_s() -> None:
    with started(spec("host", "sleep", "100")) as (box, _out):
        namespace = os.open(f"/proc/{box.pid}/ns/user", os.O_RDONLY)
        try:
            owner = ctypes.c_uint32()
            fcntl.ioctl(namespace, NS_GET_OWNER_UID, owner)
        finally:
            os.close(namespace)
        assert owner.value == os.stat(f"/proc/{box.pid}/root/etc/hosts").st_uid != 0


@pytest.mark.requires(*ROOT)
def test_the_launcher_is_root_again_when_it_has_made_a_container() -> None:
    with started(spec("host", "sleep", "100")) as (box, _out):
        with open(f"/proc/{box.pid}/status", encoding="ascii") as file:
            launcher = next(line.split()[1] for line in file if line.startswith("PPid:"))
        with open(f"/proc/{launcher}/status", encoding="ascii") as file:
            facts = dict(line.split(":\t") for line in file.read().splitlines() if ":\t" in line)
        assert facts["Uid"].split() == ["0"] * 4
        assert facts["CapEff"] == facts["CapPrm"]


# ------------------------------------------------------------------------------------------ what is counted for the whole machine

PTYS = """
import os
taken = 0
while True:
    try:
        os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        break
    taken += 1
print(taken, flush=True)
import sys; sys.stdin.read()
"""


@pytest.mark.requires(*ROOT)
def test_one_container_does_not_take_all_pseudo_terminals() -> None:
    """kernel.pty.max less kernel.pty.reserve is what all containers have together."""
    reading, writing = os.pipe()
    try:
        with started(spec("host", "python3", "-I", "-S", "-c", PTYS), stdin=reading) as (_box, out):
            assert eventually(lambda: "\n" in out.so_far), out.so_far
            assert int(out.so_far) == 256
            assert int(python(PTYS).out) == 256
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.requires(*ROOT)
def test_asynchronous_io_that_is_counted_for_the_machine_is_not_there() -> None:
    script = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
context = ctypes.c_ulong()
number = {"x86_64": 206, "aarch64": 0}[os.uname().machine]
print(libc.syscall(number, 128, ctypes.byref(context)), os.strerror(ctypes.get_errno()))
"""
    assert python(script).out == "-1 Function not implemented\n"


# -------------------------------------------------------------------------------------------------------------- without root


@contextmanager
def user(*, subordinate: bool) -> Iterator[Person]:
    with person("lr" if subordinate else "ls", subordinate=subordinate) as who:
        yield who
        assert eventually(lambda: not who.processes())


@pytest.fixture(scope="module")
def ranged() -> Iterator[Person]:
    """A user with subordinate ids."""
    with user(subordinate=True) as who:
        yield who


@pytest.fixture(scope="module")
def single() -> Iterator[Person]:
    """One without."""
    with user(subordinate=False) as who:
        yield who


@pytest.fixture(params=["ranged", "single"])
def anybody(request: pytest.FixtureRequest) -> Person:
    """Both of them, one after the other."""
    who: Person = request.getfixturevalue(request.param)
    return who


@contextmanager
def holding(who: Person, *words: str) -> Iterator[int]:
    """How much a container of the user's has taken, while it has it."""
    command = who.cellhold("run", "--rm", "-i", "host", *PROGRAM, *words)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **who.as_it()) as caller:
        assert caller.stdout is not None
        assert caller.stdin is not None
        try:
            yield int(caller.stdout.readline() or "-1")
        finally:
            caller.stdin.close()
            caller.wait(60)


@pytest.mark.requires(*ROOTLESS)
@pytest.mark.parametrize("what", [pytest.param(what, marks=pytest.mark.flood) if what == "watches" else what for what in taking.WHAT])
def test_without_root_it_takes_a_share_and_the_user_keeps_the_rest(anybody: Person, what: str) -> None:
    alone = int(anybody.run_program(anybody.python, "-I", "-S", "-c", SOURCE, what).stdout)
    with holding(anybody, what) as taken:
        assert ENOUGH[what] <= taken <= alone // 4
        left = int(anybody.run_program(anybody.python, "-I", "-S", "-c", SOURCE, what).stdout)
        assert left >= alone // 2
        assert taken_here(what) >= alone // 2  # the host's root is not touched at all
        with holding(anybody, what) as other:
            assert other > taken // 2


@pytest.mark.requires(*ROOTLESS)
@pytest.mark.parametrize("what", ["inotify", "messages", "signals"])
def test_with_many_users_inside_it_takes_no_more(ranged: Person, what: str) -> None:
    with holding(ranged, what) as one:
        pass
    with holding(ranged, what, "20") as many:
        assert one // 2 <= many <= one
