"""Detached containers and volumes without root, and what one user can do with another's: nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from boxes import command, eventually
from people import furnish, person

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from people import Person

# root: to make the users
pytestmark = pytest.mark.requires("root", "rootless", "subordinate-ids", "user-namespace", "overlayfs", "mount-api", "seccomp")

KINDS = ("ranged", "single")


@pytest.fixture(scope="module", params=KINDS)
def anybody(request: pytest.FixtureRequest, busybox_root: Path) -> Iterator[Person]:
    """A user with a range of subordinate ids, and one without."""
    with person(request.param[0], subordinate=request.param == "ranged") as who:
        furnish(who, busybox_root)
        yield who
        assert eventually(lambda: not who.processes())
        assert who.containers() == []


def test_the_tour(anybody: Person) -> None:
    root = ("--rootfs", str(anybody.place / "image"))
    made = anybody.run("run", "-d", "--name", "db", "-v", "data:/data", *root, "sh", "-c", "echo kept > /data/f; echo up; exec sleep 100")
    assert made.returncode == 0, made.stderr
    assert eventually(lambda: anybody.run("logs", "db").stdout == "up\n")
    assert anybody.run("ps", "--format", "json").stdout.count('"names": "db"') == 1
    ran = anybody.run("exec", "db", "sh", "-c", "cat /data/f; busybox id -u; exit 3")
    assert (ran.returncode, ran.stdout) == (3, "kept\n0\n"), ran.stderr
    paused = anybody.run("pause", "db")
    assert (paused.returncode, "that takes a control group" in paused.stderr) == (1, True)
    limited = anybody.run("update", "--memory", "64m", "db")
    assert (limited.returncode, "cannot enforce memory=64 MiB" in limited.stderr) == (1, True)
    assert anybody.run("stop", "-t", "0", "db").returncode == 0
    assert anybody.run("start", "db").returncode == 0
    assert anybody.run("rm", "db").returncode == 1
    assert anybody.run("rm", "-f", "db").returncode == 0
    assert anybody.run("run", "--rm", "-v", "data:/data", *root, "cat", "/data/f").stdout == "kept\n"
    assert anybody.run("volume", "rm", "data").stdout == "data\n"


def test_it_is_started_again_by_its_policy_and_goes_with_rm(anybody: Person) -> None:
    root = ("--rootfs", str(anybody.place / "image"))
    assert anybody.run("run", "-d", "--name", "again", "--restart", "on-failure:2", *root, "sh", "-c", "echo run; exit 4").returncode == 0
    assert anybody.run("wait", "again").stdout == "4\n"
    assert anybody.run("logs", "again").stdout == "run\nrun\nrun\n"
    assert anybody.run("rm", "again").returncode == 0
    assert anybody.run("run", "-d", "--rm", "--name", "short", *root, "sh", "-c", "sleep 3; exit 5").returncode == 0
    assert anybody.run("wait", "short").stdout == "5\n"
    assert eventually(lambda: anybody.containers() == [])


def test_root_s_containers_are_not_a_user_s_to_see_or_touch(anybody: Person, busybox_root: Path) -> None:
    made = command("run", "-d", "--name", "roots", "--rootfs", str(busybox_root), "sleep", "100")
    try:
        container = made.stdout.strip()
        for words in (
            ["exec", container, "true"],
            ["logs", container],
            ["stop", container],
            ["rm", "-f", container],
            ["inspect", container],
        ):
            ran = anybody.run(*words)
            assert container not in anybody.run("ps", "-a").stdout
            assert ran.returncode != 0 or words[0] == "rm", words
        store = os.environ["CELLHOLD_HOME"]
        assert anybody.run_program("ls", f"{store}/containers").returncode != 0
        assert command("inspect", container).stdout.count('"Running": true') == 1
        words = ["env", f"CELLHOLD_HOME={store}", *anybody.cellhold("exec", container, "true")]
        ran = anybody.run_program(*words)
        assert (ran.returncode, "Traceback" in ran.stderr) == (125, False), ran.stderr
    finally:
        assert command("rm", "-f", "roots").returncode == 0
