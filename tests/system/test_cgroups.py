"""Real groups of this host hold what they promise; in the layout that it has, and in each version alone where it has both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import pytest

from cellhold import cgroups
from cellhold.cgroups import hierarchies
from cellhold.errors import InvalidSpec, NotSupported, SetupFailed
from cellhold.spec.limits import IoLimit, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cellhold.cgroups.base import Cgroup

pytestmark = [pytest.mark.requires("root", "cgroups", "cgroup-memory", "cgroup-pids", "cgroup-cpu"), pytest.mark.v2]

MIB = 1 << 20
NAME = f"test-{os.getpid()}"
MOUNTINFO = Path("/proc/self/mountinfo").read_text()
HYBRID = bool(hierarchies.parse(MOUNTINFO, root="/sys/fs/cgroup").v1) and " - cgroup2 " in MOUNTINFO

# A child that joins as init/ does (v2 by openat instead of clone3, v1 by "0" into `tasks`), then runs argv[3].
JOINER = """\
import os, sys
into, tasks = int(sys.argv[1]), [int(task) for task in sys.argv[2].split()]
if into >= 0:
    os.write(os.open("cgroup.procs", os.O_WRONLY, dir_fd=into), b"0")
for task in tasks:
    os.write(task, b"0")
print("in", flush=True)
exec(sys.argv[3])
"""


class Where(TypedDict):
    mountinfo: Path


@pytest.fixture(params=["as it is", "v1 alone"] if HYBRID else ["as it is"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """This host's hierarchies; on a hybrid host also as if it had no v2."""
    if request.param == "as it is":
        return {"mountinfo": hierarchies.MOUNTINFO}
    (tmp_path / "mountinfo").write_text("".join(line for line in MOUNTINFO.splitlines(keepends=True) if " - cgroup2 " not in line))
    return {"mountinfo": tmp_path / "mountinfo"}


@contextmanager
def group(limits: Limits, where: Where) -> Iterator[Cgroup]:
    made = cgroups.create(NAME, limits, **where)
    try:
        yield made
    finally:
        cgroups.remove_leftover(NAME, **where)


@contextmanager
def running(made: Cgroup, code: str) -> Iterator[subprocess.Popen[str]]:
    """A process in the group that runs `code`; it has joined when the block begins, and is gone when it ends."""
    join = made.join()
    fds = [*join.tasks, *([join.into] if join.into >= 0 else [])]
    command = [sys.executable, "-I", "-S", "-c", JOINER, str(join.into), " ".join(map(str, join.tasks)), code]
    with subprocess.Popen(
        command, pass_fds=fds, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for descriptor in fds:
            os.close(descriptor)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "in\n", process.communicate()
            yield process
        finally:
            made.thaw()
            process.kill()


def directories() -> list[str]:
    """Every directory of the test's group, in any hierarchy."""
    return [str(path) for path in Path("/sys/fs/cgroup").rglob(f"cellhold/{NAME}")]


def eventually(condition: Callable[[], bool], *, seconds: float = 90) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_a_process_joins_every_hierarchy_of_its_group(where: Where) -> None:
    with group(Limits(), where) as made, running(made, "input()") as process:
        places = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()
        joined = [line for line in places if line.endswith(f"/cellhold/{NAME}")]
        assert len(joined) == len(made.views())


def test_clone3_starts_a_process_right_in_the_v2_group(where: Where) -> None:
    with group(Limits(), where) as made:
        join = made.join()
        for descriptor in join.tasks:
            os.close(descriptor)
        if join.into < 0:
            pytest.skip("no cgroup v2 in this layout")
        code = (
            "import ctypes, os, struct, sys\n"
            f"args = struct.pack('<11Q', 0x200000000, 0, 0, 0, {signal.SIGCHLD:d}, 0, 0, 0, 0, 0, int(sys.argv[1]))\n"
            "pid = ctypes.CDLL(None).syscall(435, ctypes.c_char_p(args), ctypes.c_size_t(len(args)))\n"
            "if pid == 0:\n    os.write(1, open('/proc/self/cgroup').read().encode())\n    os._exit(0)\n"
            "os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid > 0 else 99)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(join.into)], pass_fds=[join.into], capture_output=True, text=True, check=True
        )
        os.close(join.into)
        assert f"0::/cellhold/{NAME}" in done.stdout.splitlines()


def test_memory_above_the_limit_kills_and_is_counted(where: Where) -> None:
    with group(Limits(memory_bytes=32 * MIB), where) as made:
        with running(made, "x = bytearray(96 << 20)") as process:
            assert process.wait(timeout=240) == -signal.SIGKILL
        usage = made.usage()
        assert usage.oom_kills == 1
        assert usage.memory_peak_bytes is None or 31 * MIB < usage.memory_peak_bytes <= 32 * MIB


def test_forks_above_the_limit_are_refused_and_counted(where: Where) -> None:
    code = """
import time
pids = []
try:
    for _ in range(9):
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        pids.append(pid)
except BlockingIOError:
    pass
print(len(pids), flush=True)
input()
"""
    with group(Limits(pids=4), where) as made, running(made, code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "3\n"
        usage = made.usage()
        assert (usage.pids, usage.pids_refused) == (4, 1)
        made.kill()
        assert process.wait(timeout=120) == -signal.SIGKILL
        assert eventually(lambda: made.usage().pids == 0)


def test_processor_time_above_the_limit_is_throttled_and_counted(where: Where) -> None:
    code = "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass"
    with group(Limits(cpus=0.2), where) as made:
        start = time.monotonic()
        with running(made, code) as process:
            assert process.wait(timeout=240) == 0
        usage, wall = made.usage(), time.monotonic() - start
        assert usage.cpu_seconds is not None
        assert usage.throttled_seconds is not None
        assert 0.02 < usage.cpu_seconds < 0.2 * wall + 0.2  # a period may begin with the whole quota
        assert usage.throttled_seconds > 0  # how much depends on who else wants the processor


def drain(descriptor: int) -> None:
    with suppress(BlockingIOError):
        while os.read(descriptor, 1 << 16):
            pass


def test_a_frozen_process_stands_still_until_thawed(where: Where) -> None:
    code = "import time\nwhile True:\n    print('.', flush=True)\n    time.sleep(0.002)"
    with group(Limits(), where) as made, running(made, code) as process:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        made.freeze()
        os.set_blocking(descriptor, False)
        drain(descriptor)
        time.sleep(0.1)
        with pytest.raises(BlockingIOError):
            os.read(descriptor, 1)
        made.freeze()  # twice is no error
        made.thaw()
        os.set_blocking(descriptor, True)
        assert os.read(descriptor, 1)


def test_kill_ends_frozen_processes_too(where: Where) -> None:
    with group(Limits(), where) as made, running(made, "import time\ntime.sleep(60)") as process:
        made.freeze()
        made.kill()
        assert process.wait(timeout=120) == -signal.SIGKILL
        made.remove()
        assert directories() == []


def test_kill_ends_a_fork_bomb(where: Where) -> None:
    code = "while True:\n    try: os.fork()\n    except OSError: pass"
    with group(Limits(pids=16, cpus=0.5), where) as made, running(made, code) as process:
        assert eventually(lambda: made.usage().pids == 16)
        made.kill()
        assert process.wait(timeout=120) == -signal.SIGKILL
        assert eventually(lambda: made.usage().pids == 0)


@pytest.mark.requires("cgroup-cpuset")
def test_a_cpuset_holds_and_a_processor_that_is_not_there_is_refused(where: Where) -> None:
    with group(Limits(cpuset="0"), where) as made, running(made, "print(os.sched_getaffinity(0), flush=True)\ninput()") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "{0}\n"
    with pytest.raises(InvalidSpec, match="cpuset=4095"):
        cgroups.create(NAME, Limits(cpuset="4095"), **where)
    assert directories() == []


@pytest.mark.skipif("cpuset" in cgroups.available(), reason="this host has the cpuset controller")
def test_a_cpuset_without_its_controller_is_refused(where: Where) -> None:
    with pytest.raises(NotSupported, match="cannot enforce cpuset=0: the cgroup controller 'cpuset' is not available"):
        cgroups.create(NAME, Limits(cpuset="0"), **where)
    assert directories() == []


@pytest.mark.requires("cgroup-cpuset")
def test_a_living_group_can_be_given_processors(where: Where) -> None:
    code = "print(len(os.sched_getaffinity(0)), flush=True)\ninput()"
    with group(Limits(), where) as made, running(made, code) as process:
        made.update(Limits(cpuset="0"))
        assert eventually(lambda: os.sched_getaffinity(process.pid) == {0})
        made.update(Limits())
        assert eventually(lambda: len(os.sched_getaffinity(process.pid)) == os.cpu_count())


def test_update_holds_at_once_and_a_limit_below_present_use_is_refused(where: Where) -> None:
    code = "x = bytearray(48 << 20)\nprint('have', flush=True)\ninput()"
    with group(Limits(memory_bytes=64 * MIB), where) as made, running(made, code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "have\n"
        made.update(Limits(memory_bytes=128 * MIB, cpus=0.5, pids=9))
        with pytest.raises(InvalidSpec, match=r"cannot use memory=16 MiB: the container holds [45]\d"):
            made.update(Limits(memory_bytes=16 * MIB))
        made.update(Limits(memory_bytes=60 * MIB))
        made.update(Limits())
        assert process.poll() is None
        assert made.usage().oom_kills == 0


def test_page_cache_is_told_apart_from_what_a_process_holds(where: Where) -> None:
    file = Path("/var/tmp") / f"cellhold-{NAME}"  # on a disk: a tmpfs has no page cache to drop
    code = f"open({str(file)!r}, 'wb').write(bytes(16 << 20))\nprint('done', flush=True)\ninput()"
    try:
        with group(Limits(memory_bytes=128 * MIB), where) as made, running(made, code) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "done\n"
            cache = made.usage().memory_cache_bytes
            assert cache is not None
            assert 14 * MIB < cache < 24 * MIB
    finally:
        file.unlink(missing_ok=True)


def disk() -> str:
    """The disk under /var/tmp; a test is skipped where it is not a disk that the kernel limits."""
    number = os.stat("/var/tmp").st_dev
    entry = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not entry.exists():
        pytest.skip("/var/tmp is not on a block device")
    entry = entry.resolve().parent if (entry / "partition").exists() else entry.resolve()
    return f"/dev/{entry.name}"


@pytest.mark.requires("cgroup-io")
def test_writes_to_a_disk_are_held_to_their_rate_and_counted(where: Where) -> None:
    device = disk()
    file = Path("/var/tmp") / f"cellhold-{NAME}"
    code = f"""
import mmap, time
page = mmap.mmap(-1, 1 << 20)
descriptor = os.open({str(file)!r}, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
start = time.monotonic()
for _ in range(4):
    os.write(descriptor, page)
print(time.monotonic() - start, flush=True)
input()
"""
    try:
        with group(Limits(io=(IoLimit(device=device, write_bps=4 * MIB),)), where) as made, running(made, code) as process:
            assert process.stdout is not None
            assert 0.6 < float(process.stdout.readline()) < 20
            written = made.usage().io_write_bytes
            assert written is not None
            assert written >= 4 * MIB
    finally:
        file.unlink(missing_ok=True)


@pytest.mark.requires("cgroup-io")
def test_a_partition_or_a_file_is_no_disk_to_limit(where: Where) -> None:
    with pytest.raises(InvalidSpec, match="not a block device"):
        cgroups.create(NAME, Limits(io=(IoLimit(device="/dev/null", read_bps=1),)), **where)
    assert directories() == []


def opener(node: Path) -> str:
    """A program that makes a device node for /dev/kmsg (which is allowed) and opens it (which is not)."""
    return f"""
open("/dev/null", "w").write("x"); open("/dev/urandom", "rb").read(1)
os.close(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
os.mknod({str(node)!r}, 0o20600, os.makedev(1, 11))
try: open({str(node)!r}); print("opened", flush=True)
except PermissionError: print("refused", flush=True)
"""


@pytest.mark.requires("device-filter")
def test_a_group_opens_only_the_harmless_devices(where: Where, tmp_path: Path) -> None:
    with group(Limits(), where) as made, running(made, opener(tmp_path / "node")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "refused\n", process.communicate()
        assert any("devices" in line for line in made.describe())


def test_remove_leaves_nothing_in_any_hierarchy(where: Where) -> None:
    made = cgroups.create(NAME, Limits(memory_bytes=64 * MIB), **where)
    assert NAME in cgroups.leftovers(**where)
    with pytest.raises(SetupFailed, match="there already"):
        cgroups.create(NAME, Limits(), **where)
    made.remove()
    made.remove()
    assert directories() == []


def test_a_group_with_frozen_processes_is_swept(where: Where) -> None:
    with group(Limits(), where) as made, running(made, "import time\ntime.sleep(60)") as process:
        made.freeze()
        cgroups.remove_leftover(NAME)  # by whatever this host has: the sweep does not know how the group was made
        assert process.wait(timeout=120) == -signal.SIGKILL
        assert directories() == []


@pytest.mark.skipif(not HYBRID, reason="needs a v2 tree whose controllers are all in v1")
def test_a_v2_tree_without_controllers_still_freezes_kills_and_refuses_limits(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text("".join(line for line in MOUNTINFO.splitlines(keepends=True) if " - cgroup2 " in line))
    alone: Where = {"mountinfo": tmp_path / "mountinfo"}
    with pytest.raises(NotSupported, match="memory=64 MiB"):
        cgroups.create(NAME, Limits(memory_bytes=64 * MIB), **alone)
    assert directories() == []
    with group(Limits(), alone) as made, running(made, opener(tmp_path / "node")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "refused\n", process.communicate()
    with group(Limits(), alone) as made, running(made, "while True: pass") as process:
        assert eventually(lambda: (made.usage().cpu_seconds or 0) > 0.01)
        assert (made.usage().pressure or {}).keys() == {"cpu", "memory", "io"}
        made.freeze()
        made.kill()
        assert process.wait(timeout=120) == -signal.SIGKILL
