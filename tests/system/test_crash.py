"""Whoever dies, and whenever: processes end with it, and the next one to come finds the place clean."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import leaks
from boxes import MIB, PATIENCE_SECONDS, environment, eventually, spec, started
from cellhold import cgroups
from cellhold.container import launcher
from cellhold.container.container import Container
from cellhold.container.recovery import sweep
from cellhold.init.launcher import receive
from cellhold.spec.limits import Limits
from cellhold.spec.outcome import Why
from cellhold.store.home import open_home
from disks import fill, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "loop-devices", "mkfs")

CALLER = """
import os, sys, time
from boxes import spec, MIB
from cellhold.container import launcher
from cellhold.container.container import Container
from cellhold.spec.limits import Limits
root, moment = sys.argv[1:]
box = Container.create(spec(root, "sh", "-c", "busybox setsid sleep 600 & sleep 600", limits=Limits(disk_bytes=8 * MIB)))
if moment != "created":
    box.start()
if moment == "paused":
    box.pause()
print(box.id, box.pid or 0, *launcher.resident_pids(), flush=True)
if moment == "let go":  # what the kernel does first when a process dies
    box._run.channel.socket.close()
time.sleep(600)
"""


class Caller:
    """Another process with one container, up to a moment of its life."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self.id, *pids = process.stdout.readline().split()
        self.pid, self.launcher, self.child = (*map(int, pids), 0, 0)[:3]

    def gone(self) -> bool:
        """Whether nothing of its container is left: processes, groups, loop device, ids, directory."""
        home = open_home()
        return (
            self.id not in cgroups.leftovers()
            and not home.container(self.id).exists()
            and all(self.id not in claim.read_text() for claim in home.ids.iterdir())
            and not any(self.id in path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file"))
        )

    def processes(self) -> list[int]:
        """Those in its groups."""
        files = Path("/sys/fs/cgroup").glob(f"**/cellhold/{self.id}/cgroup.procs")
        return [int(pid) for file in files for pid in file.read_text().split()]


@contextmanager
def caller(root: Path, moment: str, script: str = CALLER) -> Iterator[Caller]:
    words = [sys.executable, "-c", script, str(root), moment]
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True) as process, ExitStack() as closing:
        closing.callback(process.kill)
        other = Caller(process)
        if other.child:
            closing.callback(kill, other.child)
        yield other
    assert eventually(no_launcher_sweeps)


_there: frozenset[str] = frozenset()


@pytest.fixture(autouse=True)
def _remember() -> None:
    """What runs beside the test all the time: the session's registry, if a test before has asked for it."""
    global _there  # noqa: PLW0603  # for `caller`, which is no fixture
    _there = leaks.take(ignore=launcher.resident_pids())["process"]


def no_launcher_sweeps() -> bool:
    """Whether the launchers of callers that died have finished: each ends with a sweep."""
    return leaks.take(ignore=launcher.resident_pids())["process"] <= _there


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("moment", ["created", "running", "paused"])
def test_when_the_caller_is_killed_its_container_ends_and_is_cleared(busybox_root: Path, moment: str) -> None:
    with caller(busybox_root, moment) as other:
        assert other.processes() or moment == "created"
        kill(other.process.pid)
        other.process.wait()
        assert eventually(lambda: not other.processes())
        if moment == "created":
            sweep()  # as the next command does; no launcher watched this one
        assert eventually(other.gone)


def test_a_launcher_that_saw_the_container_end_before_the_caller_clears_it_all_the_same(busybox_root: Path) -> None:
    with caller(busybox_root, "let go") as other:
        assert eventually(lambda: not other.processes())
        kill(other.process.pid)
        other.process.wait()
        assert eventually(other.gone)


@pytest.mark.random
@pytest.mark.parametrize("delay", [0.02, 0.1, 0.2, 0.3, 0.5, 0.8])
def test_when_the_caller_is_killed_at_any_moment_the_next_command_finds_nothing(busybox_root: Path, delay: float) -> None:
    words = [sys.executable, "-c", CALLER, str(busybox_root), "running"]
    with subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL) as process:
        eventually(lambda: False, seconds=delay)
        process.kill()
    home = open_home()
    assert eventually(no_launcher_sweeps)
    assert eventually(lambda: sweep() == [] and not list(home.containers.iterdir()) and not list(home.ids.iterdir()))


def test_when_the_launcher_is_killed_the_container_ends_and_the_caller_is_told(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sleep", "600")) as (box, _):
        kill(launcher.resident_pids()[0])
        outcome = box.wait(PATIENCE_SECONDS)
        assert (outcome.why, outcome.status) == (Why.LOST, 137)
    with started(spec(busybox_root, "true")) as (box, _):  # and another launcher takes its place
        assert box.wait(PATIENCE_SECONDS).status == 0


@pytest.mark.requires("cgroup-freezer")
def test_when_the_launcher_is_killed_while_it_is_paused_the_container_ends_too(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sleep", "600")) as (box, _):
        box.pause()
        kill(launcher.resident_pids()[0])
        assert box.wait(PATIENCE_SECONDS).why is Why.LOST


@pytest.mark.parametrize("moment", ["running", "paused"])
def test_when_caller_and_launcher_are_killed_together_the_next_sweep_clears(busybox_root: Path, moment: str) -> None:
    with caller(busybox_root, moment) as other:
        os.kill(other.launcher, signal.SIGSTOP)  # so that it cannot do anything in between
        kill(other.process.pid)
        kill(other.launcher)
        other.process.wait()
        if moment == "running":
            assert eventually(lambda: not other.processes())
        assert eventually(lambda: sweep() == [] and other.gone())
        assert not other.processes()


def test_when_pid_1_is_killed_from_outside_the_container_has_ended(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "busybox setsid sleep 600 & sleep 600")) as (box, _):
        assert box.pid is not None
        kill(box.pid)
        outcome = box.wait(PATIENCE_SECONDS)
        assert (outcome.status, outcome.signal, outcome.why) == (137, 9, Why.EXITED)


def test_a_sweep_leaves_living_containers_alone_whatever_their_state(busybox_root: Path) -> None:
    with (
        caller(busybox_root, "running") as running,
        caller(busybox_root, "created") as created,
        started(spec(busybox_root, "sleep", "600")) as (box, _),
    ):
        assert not {running.id, created.id, box.id} & set(sweep())
        assert running.processes()
        assert running.process.poll() is None
        assert open_home().container(created.id).exists()
        assert box.poll() is None
        for other in (running, created):
            kill(other.process.pid)
            other.process.wait()
        assert eventually(lambda: bool(sweep()) or (running.gone() and created.gone()))
    assert eventually(lambda: running.gone() and created.gone())


def test_what_cannot_be_cleared_is_in_nobodys_way(busybox_root: Path) -> None:
    home = open_home()
    stuck = home.container("0123456789ab")
    (stuck / "storage").mkdir(parents=True)
    subprocess.run(["chattr", "+i", str(stuck / "storage")], check=True)
    stray = home.containers / "not a container"
    stray.touch()
    try:
        assert sweep() == []
        with started(spec(busybox_root, "true")) as (box, _):
            assert box.wait(PATIENCE_SECONDS).status == 0
    finally:
        subprocess.run(["chattr", "-i", str(stuck / "storage")], check=True)
        stray.unlink()
    assert sweep() == ["0123456789ab"]


def test_what_fails_half_way_leaves_nothing(busybox_root: Path) -> None:
    limits = Limits(disk_bytes=8 * MIB, cpuset="4095")
    with pytest.raises(Exception, match="cpuset"):
        Container.create(spec(busybox_root, "true", limits=limits))
    assert not list(open_home().containers.iterdir())
    assert not list(open_home().ids.iterdir())


def test_a_caller_that_ends_with_something_unread_has_ended_like_others() -> None:
    ours, callers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.send(b"started")
        callers.close()
        assert receive(ours) == (b"", [])  # the launcher clears up after it; the kernel's answer is ECONNRESET


def test_ten_processes_at_once_do_not_disturb_each_other(busybox_root: Path) -> None:
    script = f"""
from boxes import shell
from pathlib import Path
for number in range(3):
    ran = shell(Path({str(busybox_root)!r}), f"exit {{number}}")
    assert ran.outcome.status == number, ran
"""
    callers = [subprocess.Popen([sys.executable, "-c", script], env=environment(), stderr=subprocess.PIPE, text=True) for _ in range(10)]
    said = [process.communicate(timeout=100)[1] for process in callers]
    assert [process.returncode for process in callers] == [0] * 10, said


def forking(then: str) -> str:
    """The caller that forks, and what its child does then."""
    begun = CALLER.replace("print(box.id", f"child = os.fork()\nif child == 0: {then}\nprint(box.id")
    return begun.replace("resident_pids(), flush", "resident_pids(), child, flush")


def test_a_fork_of_the_caller_does_not_keep_its_containers_alive(busybox_root: Path) -> None:
    script = forking("os.execvp('sleep', ['sleep', '600'])")
    with caller(busybox_root, "running", script) as other:
        kill(other.process.pid)
        other.process.wait()
        assert eventually(lambda: not other.processes())
        assert eventually(other.gone)
        os.kill(other.child, 0)  # it was there all the time


def test_a_child_that_was_forked_and_goes_on_does_not_keep_them_either(busybox_root: Path) -> None:
    with caller(busybox_root, "running", forking("time.sleep(600)")) as other:
        kill(other.process.pid)
        other.process.wait()
        assert eventually(lambda: not other.processes())
        assert eventually(other.gone)
        os.kill(other.child, 0)


def test_at_the_end_of_a_program_that_forgot_it_a_container_is_cleared(busybox_root: Path) -> None:
    script = CALLER.replace("time.sleep(600)\n", "")
    with caller(busybox_root, "running", script) as other:
        assert other.process.wait(PATIENCE_SECONDS) == 0
    assert eventually(other.gone)


def run_from(store: Path) -> tuple[int, str, list[Path]]:
    """`cellhold run host true` with that store: status, standard error, what is left of containers and half-made images."""
    words = [sys.executable, "-m", "cellhold.cli", "run", "--rm", "host", "true"]
    ran = subprocess.run(words, env=environment() | {"CELLHOLD_HOME": str(store)}, capture_output=True, text=True, check=False)
    left = [*store.glob("containers/*"), *store.glob("ids/*"), *store.glob("images/*.new")]
    return ran.returncode, ran.stderr, left


@pytest.mark.parametrize("has_image", [False, True])
@pytest.mark.parametrize("free_kib", [0, 4, 8])
def test_a_full_disk_is_one_sentence_and_nothing_is_left(tmp_path: Path, free_kib: int, has_image: bool) -> None:  # noqa: FBT001
    with small_disk(tmp_path / "store") as store:
        if has_image:
            assert run_from(store) == (0, "", [])
        filler = fill(store, free_kib=free_kib)
        says = (
            f"cellhold: cannot write to the store {store}: No space left on device\n"
            "hint: free space on its disk, or set CELLHOLD_HOME to a directory on another one\n"
        )
        assert run_from(store) == (125, says, [])
        filler.unlink()
        assert run_from(store) == (0, "", [])


def test_a_full_disk_loses_no_container_that_is_kept(tmp_path: Path, busybox_root: Path) -> None:
    with small_disk(tmp_path / "store") as store:

        def does(*words: str) -> subprocess.CompletedProcess[str]:
            line = [sys.executable, "-m", "cellhold.cli", *words]
            ran = subprocess.run(line, env=environment() | {"CELLHOLD_HOME": str(store)}, capture_output=True, text=True, check=False)
            assert "Traceback" not in ran.stderr
            return ran

        script = "test -e /f || echo hi > /f; cat /f; exec sleep 1000"
        assert does("run", "-d", "--name", "kept", "--rootfs", str(busybox_root), "sh", "-c", script).returncode == 0
        assert eventually(lambda: does("logs", "kept").stdout == "hi\n")
        filler = fill(store)
        assert does("pause", "kept").returncode == 0
        assert "(Paused)" in does("ps").stdout
        assert does("unpause", "kept").returncode == 0
        assert does("stop", "-t", "0", "kept").returncode == 0  # what is to be done is done, and told as it was
        assert "Exited (1" in does("ps", "-a").stdout  # 137, or 143: whichever signal was first
        assert "No space left on device" in does("run", "-d", "--rootfs", str(busybox_root), "true").stderr
        filler.unlink()
        assert does("start", "kept").returncode == 0
        assert eventually(lambda: does("logs", "kept").stdout == "hi\nhi\n")
        fill(store)
        assert does("rm", "-f", "kept").returncode == 0  # which gives space back
        assert does("ps", "-aq").stdout == ""
        filler.unlink()


def test_a_read_only_store_is_one_sentence_and_nothing_is_left(tmp_path: Path) -> None:
    with small_disk(tmp_path / "store") as store:
        assert run_from(store) == (0, "", [])
        subprocess.run(["mount", "-o", "remount,ro", store], check=True)
        status, says, left = run_from(store)
        assert (status, left) == (125, [])
        assert says.startswith(f"cellhold: cannot write to the store {store}: Read-only file system\nhint: mount its disk read-write")
