"""The detector of leaks detects: each kind that needs no root, and some that do."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import leaks
import outside
from cellhold.container import launcher
from cellhold.network import networks
from cellhold.network.model import device_name
from cellhold.store.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 0.05


def take() -> leaks.Snapshot:
    return leaks.take(ignore=launcher.resident_pids())


def found(before: leaks.Snapshot, *, patience: float = PATIENCE) -> str:
    return "\n".join(leaks.left_over(before, ignore=launcher.resident_pids(), patience=patience))


def test_nothing_left_is_nothing_reported() -> None:
    assert found(take()) == ""


def test_an_open_file_is_reported_with_its_path(tmp_path: Path) -> None:
    before = take()
    with (tmp_path / "forgotten").open("w"):
        assert f"({tmp_path}/forgotten)" in found(before)
    assert found(before) == ""


def test_a_running_child_is_reported_with_its_command() -> None:
    before = take()
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            assert f"process {child.pid} (sleep 60" in found(before)
        finally:
            child.kill()
    assert found(before) == ""


def test_a_child_that_nobody_waited_for_is_reported_as_a_zombie() -> None:
    before = take()
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert "a zombie" in found(before)
    os.waitpid(pid, 0)
    assert found(before) == ""


def test_a_process_that_lost_its_parent_is_reported() -> None:
    before = take()
    orphan = "import os\nprint(os.posix_spawn('/bin/sleep', ['sleep', '60'], os.environ, file_actions=[(os.POSIX_SPAWN_CLOSE, 1)]))"
    environment = {"CELLHOLD_HOME": os.environ["CELLHOLD_HOME"]}
    pid = int(subprocess.check_output([sys.executable, "-I", "-S", "-c", orphan], env=environment))
    try:
        assert f"process {pid} (sleep 60" in found(before)
    finally:
        os.kill(pid, 9)
    assert found(before, patience=leaks.PATIENCE_SECONDS) == ""


def test_a_process_that_may_stay_is_not_reported() -> None:
    before = take()
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            assert leaks.left_over(before, ignore=(child.pid, *launcher.resident_pids()), patience=PATIENCE) == []
        finally:
            child.kill()


def test_a_directory_of_a_container_is_reported() -> None:
    before = take()
    containers = Path(os.environ["CELLHOLD_HOME"], "containers")
    containers.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=containers) as forgotten:
        assert f"directory {forgotten}" in found(before)


@pytest.mark.requires("root")
def test_a_mount_is_reported_with_its_kind(tmp_path: Path) -> None:
    before = take()
    subprocess.check_call(["mount", "-t", "tmpfs", "forgotten", tmp_path])
    try:
        assert f"mount {tmp_path} (tmpfs" in found(before)
    finally:
        subprocess.check_call(["umount", tmp_path])
    assert found(before) == ""


@pytest.mark.requires("root", "net-namespace")
def test_a_network_namespace_is_reported() -> None:
    before = take()
    with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as child:
        try:
            assert "network namespace net:[" in found(before)
        finally:
            child.kill()
    assert found(before) == ""


@pytest.fixture
def parent() -> Iterator[Path]:
    """The group that holds all containers' groups, in one of the hierarchies."""
    hierarchy = next(path for path in take()["mount"] if path.startswith("/sys/fs/cgroup") and "(cgroup" in path).split(" ")[0]
    parent = Path(hierarchy, "cellhold")
    made = not parent.exists()
    parent.mkdir(exist_ok=True)
    yield parent
    if made:
        parent.rmdir()


@pytest.mark.requires("root")
def test_a_control_group_is_reported(parent: Path) -> None:
    before = take()
    forgotten = parent / "leaktest"
    forgotten.mkdir()
    try:
        assert f"cgroup {forgotten}" in found(before)
    finally:
        forgotten.rmdir()
    assert found(before) == ""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """The store of a test of another session on this machine."""
    store = tmp_path / "test_it0/store"
    with (
        tempfile.TemporaryDirectory(prefix="ch", dir=Path(os.environ["CELLHOLD_HOME"]).parent) as home,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("CELLHOLD_HOME", home)
        with leaks.announced(tmp_path):
            patch.undo()
            yield store
            patch.setenv("CELLHOLD_HOME", home)


@pytest.mark.requires("root")
def test_a_group_is_not_ours_if_a_test_of_another_session_has_its_container(parent: Path, elsewhere: Path) -> None:
    before = take()
    group = parent / "leaktest-foreign"
    group.mkdir()
    try:
        assert f"cgroup {group}" in found(before)
        (elsewhere / "containers" / group.name).mkdir(parents=True)
        assert found(before) == ""
    finally:
        group.rmdir()


@pytest.mark.requires("root")
def test_a_mount_is_not_ours_if_it_lies_in_a_test_of_another_session(elsewhere: Path) -> None:
    before = take()
    elsewhere.mkdir(parents=True)
    subprocess.check_call(["mount", "-t", "tmpfs", "foreign", elsewhere])
    try:
        assert found(before) == ""
    finally:
        subprocess.check_call(["umount", elsewhere])


@pytest.mark.requires("root", "net-namespace")
@pytest.mark.parametrize("kind", ["bridge", "veth"])
def test_a_network_device_is_reported_unless_another_store_has_its_network(elsewhere: Path, kind: str) -> None:
    home = Home(elsewhere)
    name = f"ch{networks.key(home)}-01234567" if kind == "bridge" else device_name("leaktest", "lab")
    with outside.world():
        before = take()
        subprocess.check_call(["ip", "link", "add", name, "type", "bridge"])
        assert f"network device {name}" in found(before)
        for directory in (home.networks / "lab", home.containers / "leaktest"):
            directory.mkdir(parents=True)
        assert found(before) == ""
        subprocess.check_call(["ip", "link", "del", name])


def test_what_one_look_alone_sees_is_another_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(range(10_000))
    monkeypatch.setitem(leaks.KINDS, "visitor", lambda _table: frozenset({f"number {next(looks)}"}))
    assert found(take()) == ""
