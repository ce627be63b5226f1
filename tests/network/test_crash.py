"""Whoever is killed, at whichever step of being connected: no device, rule, namespace or address is left once the next one has come."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from smallworld import output

from boxes import cellhold, command, environment, eventually, run, started
from cellhold.container.recovery import sweep
from cellhold.network import dns, leases, networks
from cellhold.spec.networks import BRIDGE
from cellhold.spec.spec import Port, Spec
from cellhold.store import record
from cellhold.store.home import open_home
from disks import fill, small_disk
from outside import world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smallworld import World

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "bridge-networks")

_CALLER = """
import sys, time
from cellhold.container.container import Container
from cellhold.spec.spec import Port, Spec
box = Container.create(Spec(args=("sleep", "1000"), network="bridge", ports=(Port(container=80, host=3000),), egress="internet"))
import pyroute2  # which takes longer than all that follows
print("go", flush=True)
box.start()
print("started", flush=True)
time.sleep(1000)
"""


@pytest.fixture(scope="module", autouse=True)
def outside() -> Iterator[World]:
    with world() as beyond:
        yield beyond


def nothing_is_left() -> bool:
    left = [output(*words.split()) for words in ("ip link show type bridge", "nft list tables")]
    return not any(left) and "cv" not in output("ip", "link") and not list(leases.every(open_home()))


@pytest.mark.random
@pytest.mark.parametrize("after", [None, *range(12)])
def test_a_caller_that_is_killed_while_it_connects_its_container(after: int | None) -> None:
    with subprocess.Popen([sys.executable, "-c", _CALLER], env=environment(), stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "go\n"
        if after is None:
            assert caller.stdout.readline() == "started\n"
        else:
            time.sleep(0.005 * after + time.time() % 0.005)  # another moment each time
        caller.send_signal(signal.SIGKILL)
    assert eventually(lambda: not list(open_home().containers.iterdir()) or bool(sweep()))
    sweep()
    assert eventually(nothing_is_left), output("nft", "list", "ruleset") + output("ip", "link")
    with started(Spec(args=("sleep", "1000"), network="bridge", ports=(Port(container=80, host=3000),))):
        pass  # the port is nobody's any more


def servers(home: str | None = None) -> list[int]:
    """The name servers' pids. home: of another store."""
    home = home or os.environ["CELLHOLD_HOME"]
    found = subprocess.run(["pgrep", "-f", "cellhold.network.dns"], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in found.split() if f"CELLHOLD_HOME={home}\0" in _environ(int(pid))]


def _environ(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/environ", encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def test_a_name_server_that_is_killed_is_replaced_by_the_next_container_and_what_it_left_is_cleared() -> None:
    with started(Spec(args=("sleep", "1000"), network="bridge", name="here")):
        (old,) = servers()
        os.kill(old, signal.SIGKILL)
        assert eventually(lambda: not servers())
        asked = run(Spec(args=("python3", "-c", "import socket; print(socket.gethostbyname('here'))"), network="bridge"))
        assert asked.out.startswith("10.87.0.")
        (new,) = servers()
        assert new != old
        os.kill(new, signal.SIGKILL)
        assert eventually(lambda: not servers())
    assert eventually(nothing_is_left)  # the container's end has seen to it


@pytest.mark.random
@pytest.mark.parametrize("way", ["by itself", "killed"])
def test_who_comes_as_a_name_server_goes_finds_its_address_free(way: str) -> None:
    """Each comes as soon as it can know that the one before is gone: its lock is free."""
    home, count = open_home(), 25
    network = networks.find(BRIDGE, home)
    address = ("ip", "address", "add", f"{network.gateway}/32", "dev", "lo")  # whatever becomes of the bridge
    output(*address)
    try:
        for _ in range(count):
            while True:
                with home.networks_locked():
                    if not dns.is_there(network, home):
                        dns.serve(network, home)
                        break
            if way == "killed":
                (one,) = servers()
                os.kill(one, signal.SIGKILL)
        assert eventually(lambda: not dns.is_there(network, home))
    finally:
        output(*("del" if word == "add" else word for word in address))


def test_the_network_of_a_store_that_is_removed_goes_as_well(tmp_path: Path) -> None:
    store = tmp_path / "store"
    there = environment() | {"CELLHOLD_HOME": str(store)}
    subprocess.run(cellhold("run", "--rm", "--network", "bridge", "host", "true"), env=there, check=True)
    assert servers(str(store))  # for another half second
    while store.exists():
        shutil.rmtree(store, ignore_errors=True)
    assert eventually(lambda: not servers(str(store)))
    assert nothing_is_left()


def test_a_detached_one_whose_monitor_and_keeper_are_killed_leaves_its_network_to_the_next_command() -> None:
    made = command("run", "-d", "--name", "lost", "--network", "bridge", "-p", "3000:80", "host", "sleep", "1000")
    assert made.returncode == 0, made.stderr
    inside = record.find("lost", open_home().containers).pid or 0
    for pid in _above(inside):
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not os.path.exists(f"/proc/{inside}"))
    assert eventually(lambda: "Exited" in command("ps", "-a").stdout), command("ps", "-a")
    assert eventually(lambda: os.listdir(open_home().networks / f"{BRIDGE}/leases") == [])
    assert eventually(nothing_is_left)
    assert command("rm", "lost").returncode == 0


def _above(pid: int) -> list[int]:
    """Its monitor, and the keeper of that."""
    parents = []
    for _ in range(2):
        with open(f"/proc/{pid}/stat", "rb") as file:
            pid = int(file.read().rpartition(b") ")[2].split()[1])
        if pid > 1:
            parents.append(pid)
    return parents


@pytest.mark.parametrize("free_kib", [0, 16, *(pytest.param(kib, marks=pytest.mark.random) for kib in range(4, 40, 4) if kib != 16)])
def test_on_a_full_disk_a_network_is_one_sentence_and_nothing_is_left(tmp_path: Path, free_kib: int) -> None:
    with small_disk(tmp_path / "store") as store:
        runs = ("run", "--rm", "--network", "bridge", "-p", "3000:80", "host", "true")

        def does(*words: str) -> tuple[int, str]:
            ran = subprocess.run(
                cellhold(*words), env=environment() | {"CELLHOLD_HOME": str(store)}, capture_output=True, text=True, check=False
            )
            assert "Traceback" not in ran.stderr
            return ran.returncode, ran.stderr

        assert does(*runs) == (0, "")
        filler = fill(store, free_kib=free_kib)
        for words in (("network", "create", "lab"), runs):
            status, told = does(*words)
            assert status in (0, 1, 125), told
            assert status == 0 or "No space left on device" in told
        assert list(store.glob("networks/*/leases/*")) == list(store.glob("containers/*")) == []
        assert {entry.name for entry in store.glob("networks/*/")} <= {"bridge", "lab"}
        filler.unlink()
        assert does(*runs) == (0, "")
        assert does("network", "prune", "-f") == (0, "")
        assert eventually(nothing_is_left)
