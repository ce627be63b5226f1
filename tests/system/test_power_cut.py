"""A power cut after a command has said that it is done: what it had reported is there.

The store lies on a file system of its own, in a file behind a loop device. What that file system has not written out is not
in the file; a copy of the file as it stands is the disk of a machine that has just lost its power. The copy is mounted,
which replays the journal, and looked at. `commit=600` keeps ext4's own timer from helping.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from boxes import cellhold, environment, eventually
from cellhold.container.recovery import tidy
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "loop-devices", "mkfs")

DISK_BYTES = 96 << 20


class Machine:
    """A disk in a file, mounted, with a store on it."""

    def __init__(self, place: Path, disk: Path) -> None:
        self.place, self.disk = place, disk
        self.store = place / "s"

    def do(self, *words: str, status: int = 0) -> str:
        """Run a command of `cellhold` that ends with that status; its standard output."""
        ran = subprocess.run(cellhold(*words), env=environment(CELLHOLD_HOME=str(self.store)), capture_output=True, text=True, check=False)
        assert ran.returncode == status, (words, ran.returncode, ran.stderr)
        return ran.stdout

    @contextmanager
    def after_a_cut(self) -> Iterator[Machine]:
        """The machine that comes up with what is on the disk now."""
        copy = self.disk.with_name("cut.img")
        shutil.copy(self.disk, copy)
        try:
            with mounted(copy, self.place.with_name("cut")) as machine:
                yield machine
        finally:
            copy.unlink()


@contextmanager
def mounted(disk: Path, place: Path) -> Iterator[Machine]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop,commit=600", disk, place], check=True)
    machine = Machine(place, disk)
    try:
        yield machine
    finally:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CELLHOLD_HOME", str(machine.store))
            for one in machine.do("ps", "-aq").split():
                machine.do("rm", "-f", one)
            tidy(open_home())
        assert eventually(lambda: subprocess.run(["umount", place], check=False, capture_output=True).returncode == 0)
        place.rmdir()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    disk = tmp_path / "disk.img"
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    with mounted(disk, tmp_path / "disk") as made:
        yield made


@pytest.fixture
def archive(tmp_path: Path, busybox_root: Path) -> Path:
    """The root file system as a tar to import."""
    path = tmp_path / "root.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(busybox_root, arcname=".")
    return path


def root(busybox_root: Path) -> tuple[str, str]:
    return "--rootfs", str(busybox_root)


def test_a_volume_and_what_was_written_into_it_are_there(machine: Machine, busybox_root: Path) -> None:
    machine.do("volume", "create", "--label", "a=b", "v")
    with machine.after_a_cut() as after:
        assert '"a": "b"' in after.do("volume", "inspect", "v")
    machine.do("run", "--rm", "-v", "v:/v", *root(busybox_root), "sh", "-c", "echo mine > /v/file")
    with machine.after_a_cut() as after:
        assert after.do("run", "--rm", "-v", "v:/v", *root(busybox_root), "cat", "/v/file") == "mine\n"
    machine.do("volume", "rm", "v")
    with machine.after_a_cut() as after:
        assert after.do("volume", "ls", "-q") == ""


@pytest.mark.cut
@pytest.mark.parametrize("flags", [(), ("--disk", "8m")], ids=["directory", "image"])
def test_a_container_that_is_kept_is_there_with_what_it_has_written(machine: Machine, busybox_root: Path, flags: tuple[str, ...]) -> None:
    words = (*flags, *root(busybox_root), "sh", "-c", "echo more >> /f; cat /f")
    machine.do("create", "--name", "made", *words)
    with machine.after_a_cut() as after:
        assert after.do("start", "-a", "made") == "more\n"
    machine.do("run", "--name", "x", "-v", "/anonymous", *words[:-1], "echo more >> /f; echo more > /anonymous/f; exit 3", status=3)
    with machine.after_a_cut() as after:
        assert "Exited (3)" in after.do("ps", "-a", "--filter", "name=x")
        (volume,) = after.store.glob("volumes/*/_data/f")
        assert volume.read_text() == "more\n"
        after.do("start", "-a", "x", status=3)
        assert after.do("cp", "x:/f", "-").count("more\n") == 2
    machine.do("rename", "x", "y")
    (machine.place / "host").write_text("copied\n")
    machine.do("cp", str(machine.place / "host"), "y:/g")
    with machine.after_a_cut() as after:
        assert "copied\n" in after.do("cp", "y:/g", "-")
    machine.do("rm", "-v", "y")
    with machine.after_a_cut() as after:
        assert "made" in after.do("ps", "-a")
        assert " y\n" not in after.do("ps", "-a")


def test_one_that_runs_is_there_with_what_its_program_has_synced(machine: Machine, busybox_root: Path) -> None:
    for name, flags in (("directory", ()), ("image", ("--disk", "8m"))):
        script = "echo early | dd of=/f conv=fsync 2>/dev/null; echo up; exec sleep 1000"
        machine.do("run", "-d", "--name", name, *flags, *root(busybox_root), "sh", "-c", script)
        assert eventually(lambda name=name: machine.do("logs", name) == "up\n")  # type: ignore[misc]  # the loop's
    with machine.after_a_cut() as after:
        for name in ("directory", "image"):
            assert "Exited (137)" in after.do("ps", "-a", "--filter", f"name={name}")
            assert "early\n" in after.do("cp", f"{name}:/f", "-")
            after.do("start", name)


@pytest.mark.cut
def test_an_image_is_there_under_each_of_its_names(machine: Machine, archive: Path) -> None:
    machine.do("import", str(archive), "base:1")
    with machine.after_a_cut() as after:
        assert after.do("run", "--rm", "base:1", "cat", "/etc/group") == "root:x:0:\nuser:x:1000:\n"
    machine.do("tag", "base:1", "other:2")
    with machine.after_a_cut() as after:
        assert "other" in after.do("images")
    machine.do("run", "--name", "x", "base:1", "sh", "-c", "echo mine > /f")
    machine.do("commit", "x", "made:1")
    with machine.after_a_cut() as after:
        assert after.do("run", "--rm", "made:1", "cat", "/f") == "mine\n"
    context = archive.parent / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM base:1\nRUN echo one > /one\nRUN echo two > /two\n")
    machine.do("build", "-q", "-t", "built:1", str(context))
    with machine.after_a_cut() as after:
        assert after.do("run", "--rm", "built:1", "cat", "/one", "/two") == "one\ntwo\n"
        after.do("build", "-q", "-t", "built:2", str(context))
        assert after.do("run", "--rm", "built:2", "cat", "/one", "/two") == "one\ntwo\n"
    machine.do("save", "-o", str(archive.parent / "saved.tar"), "built:1")
    machine.do("rmi", "built:1", "made:1", "-f")
    machine.do("load", "-i", str(archive.parent / "saved.tar"))
    with machine.after_a_cut() as after:
        assert after.do("run", "--rm", "built:1", "cat", "/two") == "two\n"


@pytest.mark.cut
def test_a_step_of_a_build_that_was_cut_off_is_done_again(machine: Machine, archive: Path, tmp_path: Path) -> None:
    machine.do("import", str(archive), "base:1")
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM base:1\nRUN echo one > /one\nRUN false\n")
    machine.do("build", str(context), status=1)
    (context / "Dockerfile").write_text("FROM base:1\nRUN echo one > /one\nRUN echo two > /two\n")
    with machine.after_a_cut() as after:  # the first step was never told to be done
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        for facts in after.store.glob("layers/*/layer.boot"):  # the machine that comes up is in another boot
            facts.write_text(facts.read_text().replace(boot, "another"))
        after.do("build", "-q", "-t", "built:1", str(context))
        assert after.do("run", "--rm", "built:1", "cat", "/one", "/two") == "one\ntwo\n"


def test_a_network_is_there(machine: Machine) -> None:
    machine.do("network", "create", "--subnet", "10.99.7.0/24", "n")
    with machine.after_a_cut() as after:
        assert "10.99.7.0/24" in after.do("network", "inspect", "n")
    machine.do("network", "rm", "n")


def test_what_nobody_had_reported_is_litter_and_in_nobodys_way(machine: Machine, busybox_root: Path) -> None:
    words = cellhold("run", "--rm", "-v", "/anonymous", *root(busybox_root), "sh", "-c", "echo up; exec sleep 1000")
    with subprocess.Popen(words, env=environment(CELLHOLD_HOME=str(machine.store)), stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        machine.do("volume", "create", "v")  # which writes out what there is of the other
        with machine.after_a_cut() as after:
            after.do("run", "--rm", *root(busybox_root), "true")
            assert after.do("ps", "-aq") == ""
            assert after.do("volume", "ls", "-q") == "v\n"
            assert list((after.store / "containers").iterdir()) == []
        running.terminate()
