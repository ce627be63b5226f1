"""Detached containers: the docker words from any process, what survives, and what every mistake is answered with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from boxes import MIB, command, eventually
from cellhold.container import inventory
from cellhold.container.detached import Detached
from cellhold.container.monitor import attach, connected
from cellhold.errors import CommandNotRun, InvalidSpec, NotAllowed
from cellhold.spec.lifecycle import State
from cellhold.spec.limits import Limits
from cellhold.spec.outcome import Why
from cellhold.spec.spec import Spec
from cellhold.store.home import open_home
from detached_boxes import STUBBORN, box, output_of, state

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-freezer")


# --------------------------------------------------------------------------------------------------------------------- the lifecycle


def test_it_outlives_the_command_that_made_it_and_can_be_started_again_with_its_files(busybox_root: Path) -> None:
    ran = command(
        "run",
        "-d",
        "--name",
        "db",
        "--rootfs",
        str(busybox_root),
        "sh",
        "-c",
        "n=$(($(cat /n 2>/dev/null || echo 0) + 1)); echo $n; echo $n > /n",
    )
    try:
        assert ran.returncode == 0, ran.stderr
        assert command("wait", "db").stdout == "0\n"
        assert command("start", "db").stdout == "db\n"
        assert command("wait", "db").stdout == "0\n"
        assert command("logs", "db").stdout == "1\n2\n"
        listed = [json.loads(line) for line in command("ps", "-a", "--format", "json").stdout.splitlines()]
        assert [(one["names"], one["status"].rpartition(")")[0]) for one in listed] == [("db", "Exited (0")]
        assert listed[0]["container_id"] == ran.stdout.strip()
    finally:
        assert command("rm", "db").stdout == "db\n"
    assert command("ps", "-aq").stdout == ""


def test_the_states_as_docker_names_them(busybox_root: Path) -> None:
    with box(busybox_root, "sleep 100") as made:
        assert state(made) == State.CREATED
        made.start()
        assert state(made) == State.RUNNING
        made.start()  # docker: no error
        made.pause()
        assert state(made) == State.PAUSED
        with pytest.raises(NotAllowed, match="it is paused already"):
            made.pause()
        with pytest.raises(NotAllowed, match="unpause it first"):
            made.exec("true")
        made.unpause()
        assert made.stop(0).status in (137, 143)  # whichever signal is first
        assert state(made) == State.STOPPED
        assert made.record.why == Why.KILLED
        made.restart()
        assert state(made) == State.RUNNING
        made.remove(force=True)
        assert state(made) == State.REMOVED


def test_stop_of_a_paused_one_thaws_it_and_lets_it_end_by_itself(busybox_root: Path) -> None:
    with box(busybox_root, "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done") as made:
        made.start()
        assert eventually(lambda: output_of(made) == "up\n")
        made.pause()
        assert made.stop(20).status == 7
        assert output_of(made) == "up\nbye\n"


def test_the_grace_period_ends_with_sigkill(busybox_root: Path) -> None:
    with box(busybox_root, STUBBORN, stop_seconds=0.3) as made:
        made.start()
        assert eventually(lambda: output_of(made) == "up\n")
        begun = time.monotonic()
        assert made.stop().status == 137
        assert 0.3 <= time.monotonic() - begun < 8


def test_the_stop_signal_is_the_one_that_was_asked_for(busybox_root: Path) -> None:
    with box(busybox_root, "trap 'exit 9' USR1; echo up; while :; do sleep 0.1; done", stop_signal=signal.SIGUSR1) as made:
        made.start()
        assert eventually(lambda: output_of(made) == "up\n")
        assert made.stop(20).status == 9


def test_one_that_is_killed_at_its_memory_limit_says_so_everywhere() -> None:
    hog = ("python3", "-c", "a = [bytearray(1 << 20) for _ in range(200)]")
    made = Detached.create(Spec(image="host", args=hog, limits=Limits(memory_bytes=32 * MIB)))
    try:
        made.start()
        assert made.wait().status == 137
        assert made.record.why == Why.MEMORY
        state = json.loads(command("inspect", made.id).stdout)[0]["State"]
        assert (state["OOMKilled"], state["ExitCode"], state["Status"]) == (True, 137, "exited")
        events = command("events", "--since", "10m", "--until", "0.001s", "-f", f"container={made.id}").stdout
        assert [line.split()[2] for line in events.splitlines()] == ["create", "start", "die", "oom"]
        ran = command("start", "-a", made.id)
        assert (ran.returncode, "memory limit" in ran.stderr) == (137, True)
    finally:
        made.remove()


@pytest.mark.parametrize(("policy", "script", "runs"), [("no", "exit 3", 1), ("on-failure", "exit 0", 1), ("on-failure:2", "exit 3", 3)])
def test_a_restart_policy_starts_it_so_often(busybox_root: Path, policy: str, script: str, runs: int) -> None:
    with box(busybox_root, f"echo run; {script}", restart=policy) as made:
        made.start()
        made.wait()
        assert output_of(made) == "run\n" * runs


def test_what_is_always_restarted_stays_down_when_somebody_stops_it(busybox_root: Path) -> None:
    with box(busybox_root, "echo run; sleep 0.1", restart="always") as made:
        made.start()
        assert eventually(lambda: output_of(made).count("run") >= 3)
        made.stop()
        count = output_of(made).count("run")
        time.sleep(0.5)
        assert (output_of(made).count("run"), state(made)) == (count, State.STOPPED)


def test_with_rm_it_goes_with_its_end_and_wait_still_tells_its_status(busybox_root: Path) -> None:
    made = Detached.create(Spec(image=str(busybox_root), args=("sh", "-c", "sleep 0.3; exit 4")), auto_remove=True)
    made.start()
    assert made.wait().status == 4
    assert eventually(lambda: made.state is State.REMOVED)


def test_a_program_that_cannot_be_started_leaves_it_as_it_was(busybox_root: Path) -> None:
    made = Detached.create(Spec(image=str(busybox_root), args=("nosuch",)))
    try:
        with pytest.raises(CommandNotRun) as refused:
            made.start()
        assert refused.value.status == 127
        assert (made.state, made.record.status) == (State.STOPPED, 127)
    finally:
        made.remove()
    assert command("run", "-d", "--name", "gone", "--rootfs", str(busybox_root), "nosuch").returncode == 127
    assert command("rm", "gone").returncode == 0


def test_a_foreground_run_copies_both_streams_gives_its_status_and_keeps_the_container(busybox_root: Path) -> None:
    script = "read line; echo out $line; echo err >&2; exit 5"
    ran = command("run", "-i", "--name", "fore", "--rootfs", str(busybox_root), "sh", "-c", script, input="hello\nrest")
    assert (ran.returncode, ran.stdout, ran.stderr) == (5, "out hello\n", "err\n")
    assert command("logs", "fore").stdout == "out hello\n"
    assert command("logs", "fore").stderr == "err\n"
    again = command("start", "-ai", "fore", input="twice\n")
    assert (again.returncode, again.stdout) == (5, "out twice\n")
    assert command("rm", "fore").returncode == 0


def test_the_end_of_our_input_is_the_end_of_its(busybox_root: Path) -> None:
    ran = command("run", "-i", "--name", "cat", "--rootfs", str(busybox_root), "cat", input="x" * (3 * MIB))
    assert (ran.returncode, len(ran.stdout)) == (0, 3 * MIB)
    assert command("rm", "cat").returncode == 0


def test_names_are_one_containers_only(busybox_root: Path) -> None:
    with box(busybox_root, "true", name="one") as first:
        with pytest.raises(InvalidSpec, match=f"container {first.id} has it"):
            Detached.create(Spec(image=str(busybox_root), args=("true",), name="one"))
        with box(busybox_root, "true", name="two") as second:
            with pytest.raises(InvalidSpec, match="has it"):
                second.rename("one")
            second.rename("three")
            assert second.name == "three"
            assert Detached.find("three").id == second.id
    assert len(os.listdir(open_home().containers)) == 0


def test_a_container_of_a_process_has_its_name_alone_and_is_told_of_too(busybox_root: Path) -> None:
    with box(busybox_root, "true", name="taken"):
        ran = command("run", "--rm", "--name", "taken", "--rootfs", str(busybox_root), "true")
        assert (ran.returncode, "cannot use name=taken" in ran.stderr) == (125, True)
    assert command("run", "--rm", "--name", "brief", "--rootfs", str(busybox_root), "sh", "-c", "exit 3").returncode == 3
    events = command("events", "--since", "10m", "--until", "0.001s", "-f", "container=brief").stdout
    assert [line.split()[2] for line in events.splitlines()] == ["create", "start", "die", "destroy"]
    assert "exitCode=3" in events


def test_limits_are_changed_while_it_runs(busybox_root: Path) -> None:
    with box(busybox_root, "sleep 100", limits=Limits(memory_bytes=64 * MIB)) as made:
        made.start()
        assert command("update", "--memory", "128m", "--pids-limit", "50", made.id).returncode == 0
        assert made.record.limits["memory_bytes"] == 128 * MIB
        shown = made.exec("sh", "-c", "test $(cat /sys/fs/cgroup/memory/memory.limit_in_bytes) = 134217728")
        assert shown.wait() == 0
        shown.close()
        refused = command("update", "--time", "3s", made.id)
        assert (refused.returncode, "cannot be changed any more" in refused.stderr) == (1, True)
        made.restart(0)
        assert made.record.limits["pids"] == 50


@pytest.mark.crowd
def test_a_hundred_at_once(busybox_root: Path) -> None:
    spec = Spec(image=str(busybox_root), args=("sleep", "1000"))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _number: Detached.create(spec), range(100)))
        try:
            list(pool.map(Detached.start, made))
            assert sum(one.is_alive for one in inventory.list_containers(open_home())) == 100
            assert len(command("ps", "-q").stdout.split()) == 100
            assert {outcome.status for outcome in pool.map(lambda one: one.stop(0), made)} <= {137, 143}
        finally:
            list(pool.map(lambda one: one.remove(force=True), made))
    assert command("ps", "-aq").stdout == ""


# --------------------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ("start nosuch", 1, "there is no such container"),
        ("stop nosuch", 1, "there is no such container"),
        ("rm nosuch", 1, "there is no such container"),
        ("exec nosuch true", 125, "there is no such container"),
        ("logs nosuch", 1, "there is no such container"),
        ("rename nosuch other", 1, "there is no such container"),
        ("volume inspect nosuch", 1, "there is no such volume"),
        ("volume rm nosuch", 1, "there is no such volume"),
        ("volume create -x", 125, "-x"),
        ("volume create a/b", 1, "name='a/b'"),
        ("create --name a/b host true", 125, "name='a/b'"),
        ("create -v ./x host true", 125, "cannot mount './x'"),
        ("create --memory -5 host true", 125, "memory=-5"),
        ("create --cidfile /etc/passwd host true", 125, "cidfile=/etc/passwd: File exists"),
        ("run --rm --restart always host true", 125, "--restart always with --rm"),
        ("run -it host true", 125, "not a terminal"),
        ("events -f nosuch=1", 1, "filter=nosuch=1"),
        ("attach --detach-keys ctrl-1 x", 1, "no such container"),
    ],
)
def test_a_mistake_is_one_sentence(words: str, status: int, told: str) -> None:
    ran = command(*words.split(), stdin=subprocess.DEVNULL)
    assert (ran.returncode, told in ran.stderr) == (status, True), ran.stderr
    assert "Traceback" not in ran.stderr
    assert os.listdir(open_home().containers) == []


def test_wrong_moves_have_docker_s_reasons(busybox_root: Path) -> None:
    with box(busybox_root, "sleep 100", name="mover") as made:
        assert "it was never started" in command("stop", "mover").stderr
        assert "it was never started" in command("exec", "mover", "true").stderr
        made.start()
        assert "it runs: stop it first" in command("rm", "mover").stderr
        assert "it is not paused" in command("unpause", "mover").stderr
        made.stop(0)
        assert "it does not run" in command("exec", "mover", "true").stderr
        assert "it is stopped" in command("kill", "mover").stderr
        assert command("stop", "mover").returncode == 0  # docker: no error
        assert command("rm", "mover", "nosuch").stdout == "mover\n"


def test_clients_of_its_monitor_that_say_nothing_keep_nobody_out_and_do_not_hold_up_its_program(busybox_root: Path) -> None:
    line = "echo line $i of what nobody reads, and it is long enough"
    script = f"sleep 2; i=0; while [ $i -lt 4000 ]; do i=$((i+1)); {line}; done; echo through; sleep 100"
    with box(busybox_root, script) as made, ExitStack() as closing:
        made.start()
        for _ in range(70):  # more than it keeps
            closing.enter_context(connected(open_home().container(made.id)))
        for _ in range(3):
            entered = made.exec("true")
            assert entered.wait(30) == 0
            entered.close()
        attached = attach(open_home().container(made.id))
        attached.socket.close()
        assert eventually(lambda: "through" in output_of(made))
