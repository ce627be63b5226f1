"""Detached containers whose monitor, keeper or starter is killed, and after a reboot: what others find, and do."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from boxes import cellhold, command, environment, eventually
from cellhold.container import inventory
from cellhold.container.detached import Detached
from cellhold.container.recovery import sweep
from cellhold.errors import ContainerNotFound
from cellhold.spec.lifecycle import State
from cellhold.spec.outcome import Why
from cellhold.spec.spec import Spec
from cellhold.store import locks, record
from cellhold.store.home import open_home
from detached_boxes import box, monitor_of, state

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-freezer")


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
        assert [one.id for one in inventory.list_containers(open_home())] == [made.id]


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


def test_removing_by_force_wins_against_whoever_starts_it(busybox_root: Path) -> None:
    code = "import sys; from cellhold.container.detached import Detached\nwhile True: Detached(sys.argv[1]).start()"
    for _round in range(3):
        made = Detached.create(Spec(image=str(busybox_root), args=("sleep", "1000")))
        words = [sys.executable, "-c", code, made.id]
        starters = [subprocess.Popen(words, env=environment(), stderr=subprocess.DEVNULL) for _ in range(2)]
        assert eventually(lambda made=made: made.state == "running")  # type: ignore[misc]  # the loop's
        assert command("rm", "-f", made.id).returncode == 0
        assert not open_home().container(made.id).exists()
        assert [starter.wait(60) for starter in starters] == [1, 1]  # there is no such container


def test_what_somebody_is_about_to_remove_by_force_is_started_by_nobody(busybox_root: Path) -> None:
    made = Detached.create(Spec(image=str(busybox_root), args=("sleep", "1000")))
    directory = open_home().container(made.id)
    held = locks.try_directory(directory)  # as whoever is just looking at it: the command waits
    with subprocess.Popen(cellhold("rm", "-f", made.id), env=environment(), stdout=subprocess.DEVNULL) as removing:
        is_noted = eventually(lambda: record.read(directory).removing)
        os.kill(removing.pid, signal.SIGSTOP)
        os.close(held)
        try:
            assert is_noted
            with pytest.raises(ContainerNotFound, match="it is being removed"):
                made.start()
        finally:
            os.kill(removing.pid, signal.SIGCONT)
    assert removing.returncode == 0
    assert not directory.exists()


def test_removing_by_force_removes_what_a_killed_run_has_left(busybox_root: Path) -> None:
    words = cellhold("run", "--rm", "--name", "x", "--rootfs", str(busybox_root), "sh", "-c", "echo up; exec sleep 1000")
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        running.kill()
    assert command("rm", "-f", "x").returncode == 0
    assert eventually(lambda: list(open_home().containers.iterdir()) == [])
