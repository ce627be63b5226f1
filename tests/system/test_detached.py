"""Detached containers: the docker words from any process, what survives, and what every mistake is answered with."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from boxes import MIB, cellhold, command, environment, eventually
from cellhold.container import inventory, logs
from cellhold.container.container import Container
from cellhold.container.detached import Detached
from cellhold.container.monitor import attach, connected
from cellhold.container.recovery import sweep
from cellhold.errors import CommandNotRun, InvalidSpec, NotAllowed
from cellhold.spec.lifecycle import State
from cellhold.spec.limits import Limits
from cellhold.spec.outcome import Why
from cellhold.spec.spec import Health, Spec
from cellhold.store import record
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-freezer")

COUNTING = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done"
STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.1; done"


@contextmanager
def box(image: Path, script: str, **values: object) -> Iterator[Detached]:
    """One that is made, not started; removed in the end."""
    made = Detached.create(Spec(image=str(image), args=("sh", "-c", script), **values))  # type: ignore[arg-type]
    try:
        yield made
    finally:
        if state(made) is not State.REMOVED:
            made.remove(force=True, with_volumes=True)


def said(made: Detached) -> str:
    ran = command("logs", made.id)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def state(made: Detached) -> State:
    """What it is now."""
    return made.state


def monitor_of(made: Detached) -> int:
    """The process whose child its PID 1 is."""
    return int(Path(f"/proc/{made.record.pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()[1])


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
        assert eventually(lambda: said(made) == "up\n")
        made.pause()
        assert made.stop(20).status == 7
        assert said(made) == "up\nbye\n"


def test_the_grace_period_ends_with_sigkill(busybox_root: Path) -> None:
    with box(busybox_root, STUBBORN, stop_seconds=0.3) as made:
        made.start()
        assert eventually(lambda: said(made) == "up\n")
        begun = time.monotonic()
        assert made.stop().status == 137
        assert 0.3 <= time.monotonic() - begun < 8


def test_the_stop_signal_is_the_one_that_was_asked_for(busybox_root: Path) -> None:
    with box(busybox_root, "trap 'exit 9' USR1; echo up; while :; do sleep 0.1; done", stop_signal=signal.SIGUSR1) as made:
        made.start()
        assert eventually(lambda: said(made) == "up\n")
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
        assert said(made) == "run\n" * runs


def test_what_is_always_restarted_stays_down_when_somebody_stops_it(busybox_root: Path) -> None:
    with box(busybox_root, "echo run; sleep 0.1", restart="always") as made:
        made.start()
        assert eventually(lambda: said(made).count("run") >= 3)
        made.stop()
        count = said(made).count("run")
        time.sleep(0.5)
        assert (said(made).count("run"), state(made)) == (count, State.STOPPED)


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


# --------------------------------------------------------------------------------------------------------------------- inside


def test_exec_runs_in_the_same_walls_with_docker_s_flags(busybox_root: Path) -> None:
    with box(busybox_root, "sleep 100", name="walls", env={"A": "1"}) as made:
        made.start()
        assert command("exec", "walls", "sh", "-c", "echo $A $B; pwd; exit 3", "x").stdout == "1\n/\n"
        ran = command("exec", "-e", "B=2", "-w", "/bin", "-u", "5:6", "walls", "sh", "-c", "echo $A $B; pwd; busybox id; exit 3")
        assert (ran.returncode, ran.stdout) == (3, "1 2\n/bin\nuid=5 gid=6\n")
        for kind in ("pid", "net", "mnt", "uts", "ipc", "user", "cgroup"):
            look = f"test $(busybox readlink /proc/self/ns/{kind}) = $(busybox readlink /proc/2/ns/{kind})"
            assert command("exec", "walls", "sh", "-c", look).returncode == 0, kind
        status = command("exec", "walls", "busybox", "grep", "-E", "^(NoNewPrivs|Seccomp|CapBnd):", "/proc/self/status").stdout
        ours = command("exec", "walls", "busybox", "grep", "-E", "^(NoNewPrivs|Seccomp|CapBnd):", "/proc/2/status").stdout
        assert status == ours != ""
        assert command("exec", "walls", "nosuch").returncode == 127
        assert command("exec", "walls", "/etc").returncode == 126
        assert command("exec", "-i", "walls", "cat", input="through").stdout == "through"
        assert command("exec", "-d", "walls", "sh", "-c", "echo x > /made").returncode == 0
        assert eventually(lambda: command("exec", "walls", "cat", "/made").stdout == "x\n")


def test_what_was_exec_ed_ends_with_the_container(busybox_root: Path) -> None:
    with box(busybox_root, "sleep 100") as made:
        made.start()
        with made.exec("sleep", "100") as process:
            process.kill(signal.SIGTERM)
            assert process.wait(10) == 143
        with made.exec("sleep", "100") as process:
            made.kill()
            assert process.wait(10) == 137


def test_exec_in_a_container_of_this_process(busybox_root: Path) -> None:
    with Container.create(Spec(image=str(busybox_root), args=("sleep", "100"))) as own:
        with pytest.raises(NotAllowed, match="never started"):
            own.exec("true")
        own.start()
        reading, writing = os.pipe()
        with own.exec("sh", "-c", "echo $$ | busybox wc -l; exit 3", stdout=writing) as process:
            os.close(writing)
            assert process.wait(20) == 3
        assert os.read(reading, 100) == b"1\n"
        os.close(reading)
        with pytest.raises(CommandNotRun):
            own.exec("nosuch")


def test_top_lists_what_runs_in_it(busybox_root: Path) -> None:
    with box(busybox_root, "sleep 77 & sleep 78", name="busy") as made:
        made.start()
        assert eventually(
            lambda: {"sleep 77", "sleep 78"} <= {line.split(None, 4)[4] for line in command("top", "busy").stdout.splitlines()}
        )


def test_a_healthcheck_is_run_and_told(busybox_root: Path) -> None:
    check = Health(args=("sh", "-c", "echo looked; test -e /well"), interval_seconds=0.2, timeout_seconds=5, retries=2)
    with box(busybox_root, "sleep 100", name="patient", health=check) as made:
        made.start()

        def told() -> tuple[str, int]:
            found = json.loads(command("inspect", "patient").stdout)[0]["State"]["Health"]
            return found["Status"], found["FailingStreak"]

        assert eventually(lambda: told()[0] == "unhealthy" and told()[1] >= 2)
        assert "(unhealthy)" in command("ps").stdout
        assert command("exec", "patient", "sh", "-c", "echo > /well").returncode == 0
        assert eventually(lambda: told() == ("healthy", 0))
        last = json.loads(command("inspect", "patient").stdout)[0]["State"]["Health"]["Log"][0]
        assert (last["ExitCode"], last["Output"]) == (0, "looked\n")


def test_a_healthcheck_that_takes_too_long_or_cannot_run_fails(busybox_root: Path) -> None:
    for args, status in ((("sleep", "100"), -1), (("nosuch",), 127)):
        check = Health(args=args, interval_seconds=0.1, timeout_seconds=0.3, retries=1)
        with box(busybox_root, "sleep 100", health=check) as made:
            made.start()
            assert eventually(lambda made=made: (told := inventory.health(made.record, open_home())) and told.status == "unhealthy")  # type: ignore[misc]
            found = inventory.health(made.record, open_home())
            assert found is not None
            assert found.last_status == status
            assert eventually(lambda made=made: "sleep 100" not in [one.args for one in inventory.processes(made.record)][1:])  # type: ignore[misc]


# --------------------------------------------------------------------------------------------------------------------- its log


def test_logs_can_be_cut_followed_and_stamped(busybox_root: Path) -> None:
    with box(busybox_root, "for i in 1 2 3; do echo $i; sleep 0.2; done; printf end", name="talk") as made:
        made.start()
        followed = command("logs", "-f", "talk")
        assert followed.stdout == "1\n2\n3\nend"
        assert command("logs", "--tail", "1", "talk").stdout == "end"
        assert command("logs", "-n", "0", "talk").stdout == ""
        stamped = command("logs", "-t", "talk").stdout.splitlines()
        moment = stamped[1].split()[0]
        assert command("logs", "--since", moment, "talk").stdout == "2\n3\nend"
        assert command("logs", "--until", moment, "talk").stdout == "1\n2\n"
        assert command("logs", "--since", "yesterday", "talk").returncode == 1


def test_a_log_is_bounded_and_what_follows_it_misses_nothing(busybox_root: Path) -> None:
    script = "busybox seq 1 1200000"  # some 60 MiB of log
    with box(busybox_root, script) as made:
        made.start()
        last = [line.text for line in logs.lines(made, follow=True)][-1]
        directory = open_home().container(made.id)
        sizes = [path.stat().st_size for path in directory.glob("log*")]
        assert (len(sizes), sum(sizes) <= 30 * MIB, max(sizes) <= 10 * MIB) == (3, True, True)
        assert last == b"1200000\n"


def test_who_attaches_sees_what_comes_and_can_detach_again(busybox_root: Path) -> None:
    with box(busybox_root, COUNTING, name="counter") as made:
        made.start()
        with subprocess.Popen(cellhold("attach", "--sig-proxy=false", "counter"), stdout=subprocess.PIPE, env=environment()) as client:
            assert client.stdout is not None
            assert client.stdout.readline().startswith(b"line ")
            client.kill()
        assert state(made) == State.RUNNING
        with subprocess.Popen(cellhold("attach", "counter"), stdout=subprocess.PIPE, env=environment()) as client:
            assert client.stdout is not None
            client.stdout.readline()
            client.send_signal(signal.SIGTERM)
            assert client.wait(20) == 143
        assert state(made) == State.STOPPED


def test_a_client_that_takes_nothing_holds_up_the_program_and_loses_nothing(busybox_root: Path) -> None:
    with (
        box(busybox_root, "busybox seq 1 400000", name="flood") as made,
        subprocess.Popen(cellhold("start", "-a", "flood"), stdout=subprocess.PIPE, env=environment()) as client,
    ):
        time.sleep(1)
        assert state(made) in (State.RUNNING, State.CREATED)
        assert client.stdout is not None
        assert client.stdout.read() == b"".join(b"%d\n" % number for number in range(1, 400001))
        assert client.wait(20) == 0


# --------------------------------------------------------------------------------------------------------------------- crashes


def test_one_whose_monitor_is_killed_is_written_down_as_lost_and_can_be_started_again(busybox_root: Path) -> None:
    with box(busybox_root, "sleep 100") as made:
        made.start()
        os.kill(monitor_of(made), signal.SIGKILL)
        assert eventually(lambda: made.state is State.STOPPED)
        assert (made.record.status, made.record.why) == (137, Why.LOST)
        made.start()
        assert state(made) == State.RUNNING


def test_one_whose_monitor_and_keeper_are_killed_is_settled_by_who_looks_next(busybox_root: Path) -> None:
    with box(busybox_root, "sleep 100") as made:
        made.start()
        monitor = monitor_of(made)
        keeper = int(Path(f"/proc/{monitor}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()[1])
        os.kill(keeper, signal.SIGKILL)
        os.kill(monitor, signal.SIGKILL)
        assert eventually(lambda: made.state is State.STOPPED)
        assert made.record.why == Why.LOST
        assert sweep() == []  # nothing of it is a crash's leftover


def test_one_whose_keeper_alone_is_killed_still_tells_its_status(busybox_root: Path) -> None:
    with box(busybox_root, "sleep 0.5; exit 6") as made:
        made.start()
        monitor = monitor_of(made)
        os.kill(int(Path(f"/proc/{monitor}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()[1]), signal.SIGKILL)
        assert made.wait().status == 6


@pytest.fixture
def leftover(busybox_root: Path) -> Iterator[Path]:
    """What a killed command left of a container named twin: no process has it."""
    sweep()
    directory = open_home().container("0123456789ab")
    directory.mkdir()
    made = record.Record(id=directory.name, name="twin", image=str(busybox_root), args=["true"], created=time.time())
    made.write(directory)
    yield directory
    sweep()
    assert not directory.exists()


def test_what_a_killed_command_left_takes_nobodys_name(busybox_root: Path, leftover: Path) -> None:
    with box(busybox_root, "sleep 100", name="twin") as made:
        assert leftover.exists()
        assert Detached.find("twin").id == made.id
        assert Detached.find(made.id[:6]).id == made.id
        assert [one.id for one in inventory.listed(open_home())] == [made.id]


@pytest.mark.parametrize("says_so", [True, False])
def test_a_sweep_that_is_at_it_is_not_taken_for_its_owner(busybox_root: Path, leftover: Path, *, says_so: bool) -> None:
    """Who creates one of that name meanwhile gets it: at once where the sweep has said so, else a moment later."""
    lock = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    made = record.read(leftover)
    made.removing = says_so
    made.write(leftover)
    with ThreadPoolExecutor() as pool:
        try:
            creating = pool.submit(lambda: Detached.create(Spec(image=str(busybox_root), args=("true",), name="twin")))
            if not says_so:
                time.sleep(0.1)
                (leftover / record.OWN).unlink()
            created = creating.result(60)
        finally:
            os.close(lock)
    try:
        assert Detached.find("twin").id == created.id
    finally:
        created.remove(force=True)


def test_a_starter_that_is_killed_leaves_a_container_that_can_be_started(busybox_root: Path) -> None:
    code = (
        "import os, signal, sys; from cellhold.container import monitor; from cellhold.container.detached import Detached\n"
        "monitor.MonitorProcess.let_go = lambda self: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Detached(sys.argv[1]).start()"
    )
    with box(busybox_root, "sleep 100") as made:
        ran = subprocess.run([sys.executable, "-c", code, made.id], env=environment(), check=False)
        assert ran.returncode == -signal.SIGKILL
        assert eventually(lambda: made.state is State.STOPPED)
        made.start()
        assert state(made) == State.RUNNING


def test_after_a_reboot_what_ran_is_stopped(busybox_root: Path) -> None:
    with box(busybox_root, "sleep 100") as made:
        made.start()
        monitor = monitor_of(made)
        os.kill(monitor, signal.SIGKILL)
        assert eventually(lambda: made.state is State.STOPPED)
        with record.changing(open_home().container(made.id)) as known:  # as a machine that loses its power leaves it
            known.state, known.pid, known.born = "running", os.getpid(), 1
        assert eventually(lambda: made.state is State.STOPPED)  # the one before may still be about to end
        assert made.record.pid is None


def test_a_record_of_a_later_version_is_left_alone(busybox_root: Path) -> None:
    with box(busybox_root, "true") as made:
        directory = open_home().container(made.id)
        text = (directory / "record.json").read_text(encoding="utf-8")
        (directory / "record.json").write_text(json.dumps({**json.loads(text), "version": 99, "future": True}), encoding="utf-8")
        sweep()
        assert command("ps", "-a").returncode == 0
        assert (directory / "storage").is_dir()
        (directory / "record.json").write_text(text, encoding="utf-8")


@pytest.mark.crowd
def test_a_hundred_at_once(busybox_root: Path) -> None:
    spec = Spec(image=str(busybox_root), args=("sleep", "1000"))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _number: Detached.create(spec), range(100)))
        try:
            list(pool.map(Detached.start, made))
            assert sum(one.is_alive for one in inventory.listed(open_home())) == 100
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
        assert eventually(lambda: "through" in said(made))
