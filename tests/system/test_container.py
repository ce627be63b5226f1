"""A container's life on the real kernel: run, stop, start again, pause, kill, and how it ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from boxes import MIB, PATIENCE_SECONDS, Reader, eventually, run, shell, spec, started
from cellhold.container.container import Container
from cellhold.errors import CommandNotRun, ImageNotFound, NotAllowed, SetupFailed
from cellhold.spec.lifecycle import State
from cellhold.spec.limits import Limits
from cellhold.spec.outcome import Why
from cellhold.spec.spec import Mount

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")


# ------------------------------------------------------------------------------------------------------------- how it ends


@pytest.mark.v2
def test_a_program_runs_and_its_status_is_the_outcomes(busybox_root: Path) -> None:
    ran = shell(busybox_root, "echo out; echo err >&2; exit 3")
    assert (ran.outcome.status, ran.outcome.signal, ran.outcome.why, ran.out, ran.err) == (3, None, Why.EXITED, "out\n", "err\n")


def test_a_signal_of_its_own_is_128_and_the_number(busybox_root: Path) -> None:
    outcome = shell(busybox_root, "kill -SEGV $$").outcome
    assert (outcome.status, outcome.signal, outcome.why) == (128 + signal.SIGSEGV, signal.SIGSEGV, Why.EXITED)
    assert outcome.sentence() == "ended by signal 11 (SIGSEGV)"


@pytest.mark.parametrize(
    ("args", "status", "reason"),
    [
        (("nonsuch",), 127, "'nonsuch': not found"),
        (("/bin/nonsuch",), 127, "'/bin/nonsuch': not found"),
        (("/etc/passwd",), 126, "Permission denied"),
        (("/etc",), 126, "Permission denied"),
        (("/bin/passwd-is-text",), 126, "Exec format error"),
        (("true", "x" * (3 << 20)), 126, "Argument list too long"),
    ],
)
def test_a_program_that_cannot_be_started_is_126_or_127(
    busybox_root: Path, tmp_path: Path, args: tuple[str, ...], status: int, reason: str
) -> None:
    (tmp_path / "text").write_text("just words\n")
    (tmp_path / "text").chmod(0o755)
    words = Mount(kind="bind", source=str(tmp_path / "text"), target="/bin/passwd-is-text")
    with Container.create(spec(busybox_root, *args, mounts=(words,))) as box:
        with pytest.raises(CommandNotRun, match=reason) as refused:
            box.start()
        assert (refused.value.status, box.state, box.wait().status, box.stop().status) == (status, State.STOPPED, status, status)


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageNotFound, match="cannot use image=nonsuch"):
        Container.create(spec("nonsuch", "true"))
    with pytest.raises(ImageNotFound, match="gone: no such directory"):
        Container.create(spec(tmp_path / "gone", "true"))


def test_standard_input_reaches_it_and_ends(busybox_root: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"hello")
    os.close(writing)
    try:
        assert run(spec(busybox_root, "cat"), stdin=reading).out == "hello"
    finally:
        os.close(reading)


def test_without_standard_input_it_reads_the_end(busybox_root: Path) -> None:
    assert run(spec(busybox_root, "cat")).outcome.status == 0


def test_an_image_path_with_every_odd_character_works(busybox_root: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a:b,c d\\e=%s"
    odd.symlink_to(busybox_root)
    real = tmp_path / "x:y,z\\"
    busybox_root.rename(real)
    try:
        assert shell(real, "echo ok").out == "ok\n"
    finally:
        real.rename(busybox_root)


# --------------------------------------------------------------------------------------------------- stop, start again, kill


@pytest.mark.v2
def test_started_again_after_a_stop_it_has_what_it_wrote(busybox_root: Path) -> None:
    with Container.create(spec(busybox_root, "sh", "-c", "test -e /mark && exit 7; touch /mark; exit 5")) as box:
        for status in (5, 7, 7):
            box.start()
            assert box.wait(PATIENCE_SECONDS).status == status
            assert box.state is State.STOPPED
        with pytest.raises(NotAllowed):
            box.kill()
    assert box.state is State.REMOVED


def test_with_a_disk_limit_it_can_be_started_again_as_well(busybox_root: Path) -> None:
    with Container.create(spec(busybox_root, "sh", "-c", "test -e /mark && exit 7; touch /mark", limits=Limits(disk_bytes=8 * MIB))) as box:
        box.start()
        box.wait(PATIENCE_SECONDS)
        box.start()
        assert box.wait(PATIENCE_SECONDS).status == 7


def test_what_is_not_allowed_now_is_said_and_changes_nothing(busybox_root: Path) -> None:
    with Container.create(spec(busybox_root, "sleep", "60", name="box")) as box:
        for refused in (box.pause, box.unpause, box.kill, box.stop, box.wait, box.fileno):
            with pytest.raises(NotAllowed):
                refused()
        box.start()
        for refused in (box.start, box.unpause, box.remove):
            with pytest.raises(NotAllowed, match="container box"):
                refused()
        assert box.state is State.RUNNING
        box.stop()
        for refused in (box.pause, box.kill):
            with pytest.raises(NotAllowed, match="it is stopped"):
                refused()
    for refused in (box.start, box.stop, box.kill, lambda: box.update(Limits())):
        with pytest.raises(NotAllowed, match="it was removed"):
            refused()
    box.remove()


def test_stop_asks_first(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "trap 'echo bye; exit 4' TERM; echo up; while :; do sleep 0.05; done")) as (box, out):
        assert eventually(lambda: out.so_far == "up\n")
        outcome = box.stop(PATIENCE_SECONDS)
        assert (outcome.status, outcome.why, out.text()) == (4, Why.KILLED, "up\nbye\n")


def test_stop_kills_what_ignores_it_after_the_grace_period(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")) as (box, out):
        assert eventually(lambda: out.so_far)
        begin = time.monotonic()
        outcome = box.stop(0.3)
        assert (outcome.signal, outcome.why) == (signal.SIGKILL, Why.KILLED)
        assert time.monotonic() - begin >= 0.3


def test_stop_by_another_thread_than_the_one_that_waits_kills_it_too(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")) as (box, out):
        assert eventually(lambda: out.so_far)
        waiting = threading.Thread(target=box.wait)
        waiting.start()
        assert box.poll() is None
        stopping = threading.Thread(target=box.stop, args=(0.2,))
        stopping.start()
        stopping.join(PATIENCE_SECONDS)
        assert not stopping.is_alive()
        waiting.join(PATIENCE_SECONDS)
        assert box.wait().why is Why.KILLED


def test_a_program_that_ended_by_itself_was_not_stopped_by_anybody(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "exit 6")) as (box, out):
        out.text()
        time.sleep(0.2)
        outcome = box.stop()
        assert (outcome.status, outcome.why) == (6, Why.EXITED)


def test_what_has_ended_can_be_removed_without_force(busybox_root: Path) -> None:
    with started(spec(busybox_root, "true")) as (box, out):
        out.text()
        assert eventually(lambda: box.poll() or True)
        time.sleep(0.2)
        box.remove()
        assert box.state is State.REMOVED


@pytest.mark.v2
def test_kill_ends_it_at_once_and_says_by_whom(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sleep", "60")) as (box, _):
        box.kill()
        outcome = box.wait(PATIENCE_SECONDS)
        assert (outcome.status, outcome.signal, outcome.why, outcome.sentence()) == (137, 9, Why.KILLED, "killed by user")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP, signal.SIGINT, signal.SIGRTMIN])
def test_pid_1_forwards_signals_to_the_program(busybox_root: Path, number: int) -> None:
    script = f"trap 'echo got; exit 0' {int(number)}; echo up; while :; do sleep 0.05; done"
    with started(spec(busybox_root, "sh", "-c", script)) as (box, out):
        assert eventually(lambda: out.so_far == "up\n")
        box.kill(number)
        assert box.wait(PATIENCE_SECONDS).why is Why.EXITED
        assert out.text() == "up\ngot\n"


def test_pid_1_reaps_orphans(busybox_root: Path) -> None:
    script = "for i in 1 2 3 4 5; do (sleep 0 & ) ; done; sleep 0.5; cat /proc/[0-9]*/stat"
    zombies = [line for line in shell(busybox_root, script).out.splitlines() if ") Z " in line]
    assert zombies == []


# ------------------------------------------------------------------------------------------------------------- pause


@pytest.mark.requires("cgroup-freezer")
@pytest.mark.v2
def test_paused_it_does_nothing_and_unpaused_it_goes_on(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "while :; do echo x; sleep 0.01; done")) as (box, out):
        assert eventually(lambda: out.so_far)
        box.pause()
        assert box.state is State.PAUSED
        time.sleep(0.1)
        before = len(out.so_far)
        time.sleep(0.3)
        assert len(out.so_far) == before
        box.unpause()
        assert eventually(lambda: len(out.so_far) > before)


@pytest.mark.requires("cgroup-freezer")
@pytest.mark.v2
def test_paused_it_can_be_stopped_killed_and_removed(busybox_root: Path) -> None:
    for end in ("stop", "kill", "remove"):
        with started(spec(busybox_root, "sleep", "60")) as (box, _):
            box.pause()
            if end == "stop":
                box.stop(PATIENCE_SECONDS)
            elif end == "kill":
                box.kill()
            if end != "remove":
                assert box.wait(PATIENCE_SECONDS).why is Why.KILLED


# ------------------------------------------------------------------------------------------------------------- the rest


def test_it_tells_every_step_with_its_time(busybox_root: Path) -> None:
    with started(spec(busybox_root, "true")) as (box, _):
        box.wait(PATIENCE_SECONDS)
    names = [step.name for step in sorted(box.timings, key=lambda step: step.start)]
    assert names[0] == "image.find"
    assert names[-2:] == ["program.wait", "container.remove"]
    assert {"cgroup.create", "storage.create", "launch.clone", "rootfs.pivot", "security.seccomp", "program.exec"} <= set(names)
    assert all(step.seconds >= 0 for step in box.timings)


def test_a_wrong_descriptor_is_refused_and_other_containers_go_on(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sleep", "60")) as (box, _):
        with Container.create(spec(busybox_root, "true")) as other, pytest.raises(SetupFailed, match="Bad file descriptor"):
            other.start(stdin=9999)
        assert box.poll() is None
        assert box.state is State.RUNNING


def test_a_named_pipe_of_the_host_keeps_its_owner(busybox_root: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    fifo = os.open(tmp_path / "fifo", os.O_RDWR)
    try:
        run(spec(busybox_root, "true"), stdin=fifo)
    finally:
        os.close(fifo)
    assert (tmp_path / "fifo").stat().st_uid == os.getuid()


def test_its_standard_output_can_be_opened_again_by_name(busybox_root: Path) -> None:
    assert shell(busybox_root, "echo one > /dev/stdout; echo two > /proc/self/fd/1").out == "one\ntwo\n"


def test_eight_threads_make_five_containers_each(busybox_root: Path) -> None:
    statuses: list[int] = []

    def work(number: int) -> None:
        for turn in range(5):
            with Container.create(spec(busybox_root, "sh", "-c", f"exit {number * 5 + turn}")) as box:
                box.start()
                statuses.append(box.wait(PATIENCE_SECONDS).status)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == list(range(40))


def test_a_reader_that_never_reads_does_not_make_the_caller_grow_or_the_container_run_away(busybox_root: Path) -> None:
    reading, writing = os.pipe()
    try:
        with Container.create(spec(busybox_root, "busybox", "yes")) as box:
            box.start(stdout=writing)
            time.sleep(0.3)
            assert box.poll() is None
    finally:
        os.close(reading)
        os.close(writing)


def test_output_of_a_daemon_ends_with_the_container(busybox_root: Path) -> None:
    out = Reader()
    with Container.create(spec(busybox_root, "sh", "-c", "busybox setsid sleep 60 & echo up")) as box:
        box.start(stdout=out.writing)
        assert box.wait(PATIENCE_SECONDS).status == 0
        assert out.text() == "up\n"
