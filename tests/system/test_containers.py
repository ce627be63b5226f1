"""`cellhold ps`, `stats`, `inspect`, `stop`, `kill`: containers of other processes, seen and ended from here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from boxes import MIB, PATIENCE_SECONDS, cellhold, command, environment, eventually
from cellhold.container import inventory
from cellhold.container.container import Container
from cellhold.errors import NotAllowed
from cellhold.spec.limits import Limits
from cellhold.spec.spec import Spec
from cellhold.store import record
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-freezer")

STUBBORN = "trap '' TERM; echo up; while :; do sleep 1; done"


@contextmanager
def elsewhere(name: str, script: str, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """A container that another process has, whose script has said "up"."""
    words = cellhold("run", "--rm", "--name", name, *flags, "host", "sh", "-c", script)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"up\n"
            yield process
        finally:
            process.kill()


def rows(*words: str) -> list[dict[str, str]]:
    ran = command(*words, "--format", "json")
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def known(name: str) -> record.Record:
    return record.find(name, open_home().containers)


def test_ps_lists_what_others_run_as_docker_does() -> None:
    assert command("ps").stdout.split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    with elsewhere("first", "echo up; sleep 100"), elsewhere("second", "echo up; sleep 100"):
        found = rows("ps")
        assert [row["names"] for row in found] == ["second", "first"]
        assert found[0]["image"] == "host"
        assert found[0]["command"] == '"sh -c echo up; slee…"'
        assert found[0]["status"].startswith(("Up Less than a second", "Up 1 second", "Up 2 seconds", "Up 3 seconds"))
        assert command("ps", "-q").stdout.split() == [known("second").id, known("first").id]
        assert 'sh -c echo up; sleep 100"' in command("ps", "--no-trunc").stdout
    assert eventually(lambda: command("ps", "-aq").stdout == "")


def test_ps_shows_what_is_paused_and_with_all_what_does_not_run() -> None:
    with Container.create(Spec(image="host", args=("sleep", "100"), name="mine")) as box:
        assert rows("ps") == []
        assert rows("ps", "-a")[0]["status"] == "Created"
        box.start()
        box.pause()
        assert rows("ps")[0]["status"].endswith("(Paused)")
        box.unpause()
        box.kill()
        box.wait()
        assert rows("ps") == []
        assert rows("ps", "-a")[0]["status"].startswith("Exited (137) ")


def test_ps_filters_as_docker_does() -> None:
    with elsewhere("first", "echo up; sleep 100"), elsewhere("second", "echo up; sleep 100"):

        def names(*flags: str) -> list[str]:
            return [row["names"] for row in rows("ps", *flags)]

        assert names("--filter", "name=fir") == ["first"]
        assert names("--filter", "name=fir", "--filter", "name=sec") == ["second", "first"]
        assert names("--filter", "name=fir", "--filter", "status=paused") == []
        assert names("--filter", f"id={known('second').id[:6]}", "--filter", "ancestor=host") == ["second"]
        assert names("--filter", "label=nosuch") == []
        refused = command("ps", "--filter", "colour=red")
        assert refused.returncode == 1
        assert "cannot use filter=colour=red: not id=, name=, label=" in refused.stderr


def test_what_a_crash_left_is_no_container() -> None:
    with elsewhere("gone", "echo up; sleep 100") as process:
        left = known("gone")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert eventually(lambda: not inventory.list_containers(open_home()))
    with pytest.raises(NotAllowed, match="cannot reach container gone: it has just ended"):
        inventory.send(left, signal.SIGTERM)  # whoever has its number now gets no signal


@pytest.mark.requires("cgroup-memory")
def test_stats_are_those_of_its_group() -> None:
    with elsewhere("busy", "echo up; while :; do :; done", "--memory", "64m", "--cpus", "0.5", "--pids-limit", "20"):
        (row,) = rows("stats", "--no-stream")
        assert row["name"] == "busy"
        assert 30 < float(row["cpu_%"].rstrip("%")) < 70
        assert row["mem_usage_/_limit"].endswith("/ 64 MiB")
        assert 0 < float(row["mem_%"].rstrip("%")) < 100
        assert row["pids"] == "2"
        assert rows("stats", "--no-stream", "busy") != []
        table = command("stats", "--no-stream").stdout.splitlines()
        assert table[0].split("   ")[0] == "CONTAINER ID"
    assert "there is no such container" in command("stats", "--no-stream", "nonsuch").stderr


@pytest.mark.requires("cgroup-memory")
def test_inspect_tells_docker_what_docker_would() -> None:
    with elsewhere("seen", "echo up; sleep 100", "--memory", "64m", "--cpus", "1.5"):
        (found,) = json.loads(command("inspect", "seen").stdout)
        assert found["Id"] == known("seen").id
        assert (found["Path"], found["Args"]) == ("sh", ["-c", "echo up; sleep 100"])
        assert found["State"]["Status"] == "running"
        assert found["State"]["Pid"] == known("seen").pid
        assert found["HostConfig"] == {"Memory": 64 * MIB, "NanoCpus": 1_500_000_000, "PidsLimit": 2048, "NetworkMode": "none"}
        assert command("image", "inspect", "seen").returncode == 1


def test_kill_is_sigkill_or_what_is_asked_for() -> None:
    with elsewhere("killed", "echo up; sleep 100") as process:
        ran = command("kill", "killed")
        assert (ran.returncode, ran.stdout) == (0, "killed\n")
        assert process.wait(PATIENCE_SECONDS) == 137
    with elsewhere("told", "trap 'echo heard; exit 3' USR1; echo up; while :; do sleep 0.1; done") as process:
        assert command("kill", "--signal", "usr1", "told").returncode == 0
        assert process.communicate(timeout=PATIENCE_SECONDS)[0] == b"heard\n"
        assert process.returncode == 3


def test_stop_waits_and_then_kills() -> None:
    with elsewhere("polite", "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done") as process:
        assert command("stop", "polite").stdout == "polite\n"
        assert process.wait(PATIENCE_SECONDS) == 5
    with elsewhere("stubborn", STUBBORN) as process:
        assert command("stop", "--time", "1", "stubborn").returncode == 0
        assert process.wait(PATIENCE_SECONDS) == 137


def test_what_is_paused_is_thawed_to_be_stopped() -> None:
    with Container.create(Spec(image="host", args=("sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done"), name="frozen")) as box:
        box.start()
        assert eventually(lambda: (inventory.usage(known("frozen")).pids or 0) > 2)  # PID 1, the shell, and its first sleep
        box.pause()
        assert command("stop", "--time", "20", "frozen").returncode == 0
        assert box.wait(PATIENCE_SECONDS).status == 5
    with Container.create(Spec(image="host", args=("sleep", "100"), name="frozen")) as box:
        box.start()
        box.pause()
        assert command("kill", "frozen").returncode == 0
        assert box.wait(PATIENCE_SECONDS).status == 137


@pytest.mark.parametrize("action", ["stop", "kill"])
def test_some_of_several_may_be_wrong(action: str) -> None:
    with elsewhere("right", "echo up; sleep 100") as process:
        ran = command(action, "nonsuch", "right")
        assert (ran.returncode, ran.stdout) == (1, "right\n")
        assert ran.stderr.startswith("cellhold: cannot find container 'nonsuch': there is no such container\n")
        process.wait(PATIENCE_SECONDS)
    with Container.create(Spec(image="host", args=("true",), name="new", limits=Limits())):
        ran = command(action, "new")
        assert ran.returncode == 1
        assert f"cannot {action} container new: it does not run" in ran.stderr


def test_words_that_mean_nothing_are_told() -> None:
    assert "cannot use kill SIGNONSENSE: no such signal" in command("kill", "--signal", "SIGNONSENSE", "x").stderr
    assert "cannot use time=soon" in command("stop", "--time", "soon", "x").stderr
