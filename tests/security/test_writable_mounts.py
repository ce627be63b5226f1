"""What can be written inside is on the limited layer, or small: filling.py fills every mount of a container, with bytes and with files."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import filling
from boxes import MIB, eventually, run, shell, spec, started
from cellhold.spec.limits import Limits
from cellhold.spec.outcome import Why
from cellhold.spec.spec import Exchange, Mount
from kernels import real, running
from people import person

if TYPE_CHECKING:
    from collections.abc import Iterator

    from people import Person

ROOT = ("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-memory", "disk-limit")
ROOTLESS = ("root", "rootless", "subordinate-ids", "user-namespace", "overlayfs", "mount-api", "seccomp")  # root: to make the users
SOURCE = Path(filling.__file__).read_text()
PROGRAM = ("python3", "-I", "-S", "-c", SOURCE)
DISK, MEMORY = 64 * MIB, 256 * MIB
NO_ROOM = {"ENOSPC", "EMFILE"}  # EMFILE: of message queues
OF_THE_LAYER = {"/", "/usr", "/opt"}

Filled = dict[str, tuple[int, str]]


def written(filled: Filled) -> Filled:
    """Where anything could be written."""
    return {place: (count, why) for place, (count, why) in filled.items() if count}


def check(filled: Filled, *, files: bool, memory: int = MEMORY) -> None:
    """Each place ended for want of room, and all of them together are no more than the limits say."""
    found = written(filled)
    assert {place: why for place, (_count, why) in found.items() if why not in NO_ROOM} == {}
    layer = {place: count for place, (count, _why) in found.items() if place in OF_THE_LAYER or place.startswith(("/root", "/work"))}
    others = {place: count for place, (count, _why) in found.items() if place not in layer}
    assert "/" in layer
    assert {"/dev/shm"} <= set(others)
    if files:
        assert sum(layer.values()) <= DISK // 8192 + 1000  # those that lie there by themselves
        assert sum(others.values()) <= memory // 2 // 16384 + 1000
    else:
        assert sum(layer.values()) <= DISK
        assert sum(others.values()) <= memory // 2 + 2 * MIB  # /etc/hosts and its like


def on_disk(store: Path) -> int:
    """Bytes that the store takes of the host's disk."""
    return int(subprocess.run(["du", "-s", "-B1", str(store)], capture_output=True, text=True, check=False).stdout.split()[0])


@contextmanager
def filled_container(way: str, **values: Any) -> Iterator[Filled]:
    """One that has filled all that it can, and runs."""
    reading, writing = os.pipe()
    try:
        with started(spec("host", *PROGRAM, way, **values), stdin=reading) as (box, out):
            assert eventually(lambda: "\n" in out.so_far or box.poll(), seconds=120), out.so_far
            assert box.poll() is None, out.so_far
            yield json.loads(out.so_far)
            assert box.usage().oom_kills == 0
    finally:
        os.close(reading)
        os.close(writing)


# ------------------------------------------------------------------------------------------------------------------- as root


@pytest.mark.requires(*ROOT)
@pytest.mark.parametrize("storage", ["disk", "tmpfs"])
@pytest.mark.parametrize("way", ["bytes", "files"])
def test_a_container_that_fills_all_that_it_can_write_to_takes_its_limits_and_no_more(way: str, storage: str) -> None:
    store = Path(os.environ["CELLHOLD_HOME"])
    before = on_disk(store)
    limits = Limits(memory_bytes=MEMORY, disk_bytes=DISK)
    mounts = (Mount(kind="tmpfs", target="/scratch"), Mount(kind="overlay", source="/usr/share", target="/thrown-away"))
    with filled_container(way, limits=limits, mounts=mounts, storage=storage) as filled:
        layered = {place: (count, why) for place, (count, why) in filled.items() if place != "/thrown-away"}
        check(layered, files=way == "files")
        assert sum(filled[place][0] for place in ("/", "/thrown-away")) <= (DISK // 8192 + 1000 if way == "files" else DISK)
        assert "/scratch" in written(filled)
        assert on_disk(store) - before <= (DISK + 8 * MIB if storage == "disk" else 4 * MIB)


@pytest.mark.requires(*ROOT)
@pytest.mark.parametrize("storage", ["disk", "tmpfs"])
def test_two_hundred_thousand_empty_files_do_not_fit_into_64_megabytes(storage: str) -> None:
    more = "mkdir /d$i && (cd /d$i && busybox touch $(busybox seq 1000)) 2>/dev/null"
    script = f"i=0; while [ $i -lt 200 ] && {more}; do i=$((i+1)); done; echo $i"
    ran = run(spec("host", "sh", "-c", script, storage=storage, limits=Limits(disk_bytes=DISK)))
    assert 2 <= int(ran.out.split()[-1]) <= 10, ran.err


@pytest.mark.requires(*ROOT)
def test_who_fills_shared_memory_reads_that_there_is_no_space(busybox_root: Path) -> None:
    for memory in (32 * MIB, 512 * MIB):
        script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=600; echo $?; busybox df -m /dev/shm"
        ran = shell(busybox_root, script, limits=Limits(memory_bytes=memory))
        assert "No space left on device" in ran.err
        assert (ran.outcome.why, ran.outcome.oom_kills, ran.out.split()[0]) == (Why.EXITED, 0, "1")


@pytest.mark.requires(*ROOT)
def test_what_covers_a_directory_of_the_kernel_s_cannot_be_filled_with_all_rights(busybox_root: Path) -> None:
    """Its tmpfs is read-only, and locked with the other mounts for a program that may mount."""
    capabilities = frozenset({"CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER"})
    script = "mount -o remount,rw,bind /sys/firmware; dd if=/dev/zero of=/sys/firmware/x bs=1M count=9; busybox ls -l /sys/firmware"
    ran = shell(busybox_root, script, capabilities=capabilities)
    assert "mount: permission denied" in ran.err, ran
    assert "Read-only file system" in ran.err, ran


@pytest.mark.requires(*ROOT)
def test_what_is_exchanged_with_the_starter_is_small_and_gone_with_the_container(busybox_root: Path) -> None:
    exchange = Exchange(target="/run/cellhold", size_bytes=64 << 10, inodes=16, files=(("key", "secret"),))
    script = "cd /run/cellhold; cat key; busybox stat -c %a key; dd if=/dev/zero of=x bs=4k count=99; echo done; sleep 100"
    with started(spec(busybox_root, "sh", "-c", script, exchange=exchange)) as (box, out):
        assert eventually(lambda: "done" in out.so_far)
        (directory,) = box.exchange()
        try:
            assert out.so_far.startswith("secret600")
            assert "No space left on device" in out.so_far
            assert set(os.listdir(f"/proc/self/fd/{directory}")) == {"key", "x"}
            assert os.fstatvfs(directory).f_files == 16
        finally:
            os.close(directory)


@pytest.mark.requires(*ROOT)
@pytest.mark.parametrize("way", ["bytes", "files"])
def test_a_cell_takes_no_more_of_the_host_s_disk_than_disk_says(tmp_path: Path, way: str) -> None:
    store = Path(os.environ["CELLHOLD_HOME"])
    before = on_disk(store)
    with running(real(memory="256m", disk="64m"), cwd=str(tmp_path)) as notebook:
        source = SOURCE.replace('if __name__ == "__main__":\n    main(*sys.argv[1:])\n', "")
        cell = notebook.run(f"exec({source!r})\nimport json\njson.dumps(filled({way!r}))")
        assert cell.status == "ok", cell.error
        filled: Filled = json.loads(cell.text.strip("'"))
        found = written({place: (count, why) for place, (count, why) in filled.items() if place != "/workspace"})
        check(found, files=way == "files")
        sockets = filled["/run/cellhold"]
        assert sockets[0] <= (64 if way == "files" else 128 << 10)
        assert sockets[1] == "ENOSPC"
        assert on_disk(store) - before <= DISK + 8 * MIB
        assert notebook.run("1 + 1").text.endswith("2")  # IPython may say that it has no room for its history


# -------------------------------------------------------------------------------------------------------------- without root


@pytest.fixture(scope="module", params=["ranged", "single"])
def anybody(request: pytest.FixtureRequest) -> Iterator[Person]:
    """A user with subordinate ids, then one without."""
    with person(f"w{request.param[0]}", subordinate=request.param == "ranged") as who:
        yield who
        assert eventually(lambda: not who.processes())


@pytest.mark.requires(*ROOTLESS)
@pytest.mark.parametrize("way", ["bytes", "files"])
def test_without_root_it_takes_its_limits_and_no_more(anybody: Person, way: str) -> None:
    flags = ("--rm", "--disk", "64m", "--storage", "tmpfs")
    ran = anybody.run("run", *flags, "host", *PROGRAM, way)
    check(json.loads(ran.stdout), files=way == "files", memory=128 * MIB + 16384 * 2000 * (way == "files"))
    assert on_disk(anybody.store) <= 64 * MIB  # what it has there by itself
