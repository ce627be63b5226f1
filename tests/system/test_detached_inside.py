"""What is done to a detached container while it runs: exec, top, health checks, logs, attach."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from boxes import MIB, cellhold, command, environment, eventually
from cellhold.container import inventory, logs
from cellhold.container.container import Container
from cellhold.errors import CommandNotRun, NotAllowed
from cellhold.spec.lifecycle import State
from cellhold.spec.spec import Health, Spec
from cellhold.store.home import open_home
from detached_boxes import COUNTING, box, state

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-freezer")


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
