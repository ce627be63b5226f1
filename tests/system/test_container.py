"""A container's life on the real kernel: run, stop, pause, limits, what it sees, and what it leaves in the world."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from boxes import MIB, PATIENCE_SECONDS, Reader, eventually, python, run, shell, spec, started
from cellhold.container.container import Container
from cellhold.errors import CommandNotRun, ImageNotFound, InvalidSpec, NotAllowed, NotSupported, SetupFailed
from cellhold.spec.lifecycle import State
from cellhold.spec.limits import Limits
from cellhold.spec.outcome import Why
from cellhold.spec.spec import Mount

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")

BALLAST = "a = bytearray({} << 20)"


# ------------------------------------------------------------------------------------------------------------- how it ends


@pytest.mark.v2
def test_a_program_runs_and_its_status_is_the_outcomes(busybox_root: Path) -> None:
    ran = shell(busybox_root, "echo out; echo err >&2; exit 3")
    assert (ran.outcome.status, ran.outcome.signal, ran.outcome.why, ran.out, ran.err) == (3, None, Why.EXITED, "out\n", "err\n")


def test_a_signal_of_its_own_is_128_and_the_number(busybox_root: Path) -> None:
    outcome = shell(busybox_root, "kill -SEGV $$").outcome
    assert (outcome.status, outcome.signal, outcome.why) == (128 + signal.SIGSEGV, signal.SIGSEGV, Why.EXITED)
    assert outcome.sentence() == "ended by signal 11 (SIGSEGV)"


@pytest.mark.parametrize(
    ("args", "status", "reason"),
    [
        (("nonsuch",), 127, "'nonsuch': not found"),
        (("/bin/nonsuch",), 127, "'/bin/nonsuch': not found"),
        (("/etc/passwd",), 126, "Permission denied"),
        (("/etc",), 126, "Permission denied"),
        (("/bin/passwd-is-text",), 126, "Exec format error"),
        (("true", "x" * (3 << 20)), 126, "Argument list too long"),
    ],
)
def test_a_program_that_cannot_be_started_is_126_or_127(
    busybox_root: Path, tmp_path: Path, args: tuple[str, ...], status: int, reason: str
) -> None:
    (tmp_path / "text").write_text("just words\n")
    (tmp_path / "text").chmod(0o755)
    words = Mount(kind="bind", source=str(tmp_path / "text"), target="/bin/passwd-is-text")
    with Container.create(spec(busybox_root, *args, mounts=(words,))) as box:
        with pytest.raises(CommandNotRun, match=reason) as refused:
            box.start()
        assert (refused.value.status, box.state, box.wait().status, box.stop().status) == (status, State.STOPPED, status, status)


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageNotFound, match="cannot use image=nonsuch"):
        Container.create(spec("nonsuch", "true"))
    with pytest.raises(ImageNotFound, match="gone: no such directory"):
        Container.create(spec(tmp_path / "gone", "true"))


def test_standard_input_reaches_it_and_ends(busybox_root: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"hello")
    os.close(writing)
    try:
        assert run(spec(busybox_root, "cat"), stdin=reading).out == "hello"
    finally:
        os.close(reading)


def test_without_standard_input_it_reads_the_end(busybox_root: Path) -> None:
    assert run(spec(busybox_root, "cat")).outcome.status == 0


def test_an_image_path_with_every_odd_character_works(busybox_root: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a:b,c d\\e=%s"
    odd.symlink_to(busybox_root)
    real = tmp_path / "x:y,z\\"
    busybox_root.rename(real)
    try:
        assert shell(real, "echo ok").out == "ok\n"
    finally:
        real.rename(busybox_root)


# --------------------------------------------------------------------------------------------------- stop, start again, kill


@pytest.mark.v2
def test_started_again_after_a_stop_it_has_what_it_wrote(busybox_root: Path) -> None:
    with Container.create(spec(busybox_root, "sh", "-c", "test -e /mark && exit 7; touch /mark; exit 5")) as box:
        for status in (5, 7, 7):
            box.start()
            assert box.wait(PATIENCE_SECONDS).status == status
            assert box.state is State.STOPPED
        with pytest.raises(NotAllowed):
            box.kill()
    assert box.state is State.REMOVED


def test_with_a_disk_limit_it_can_be_started_again_as_well(busybox_root: Path) -> None:
    with Container.create(spec(busybox_root, "sh", "-c", "test -e /mark && exit 7; touch /mark", limits=Limits(disk_bytes=8 * MIB))) as box:
        box.start()
        box.wait(PATIENCE_SECONDS)
        box.start()
        assert box.wait(PATIENCE_SECONDS).status == 7


def test_what_is_not_allowed_now_is_said_and_changes_nothing(busybox_root: Path) -> None:
    with Container.create(spec(busybox_root, "sleep", "60", name="box")) as box:
        for refused in (box.pause, box.unpause, box.kill, box.stop, box.wait, box.fileno):
            with pytest.raises(NotAllowed):
                refused()
        box.start()
        for refused in (box.start, box.unpause, box.remove):
            with pytest.raises(NotAllowed, match="container box"):
                refused()
        assert box.state is State.RUNNING
        box.stop()
        for refused in (box.pause, box.kill):
            with pytest.raises(NotAllowed, match="it is stopped"):
                refused()
    for refused in (box.start, box.stop, box.kill, lambda: box.update(Limits())):
        with pytest.raises(NotAllowed, match="it was removed"):
            refused()
    box.remove()


def test_stop_asks_first(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "trap 'echo bye; exit 4' TERM; echo up; while :; do sleep 0.05; done")) as (box, out):
        assert eventually(lambda: out.so_far == "up\n")
        outcome = box.stop(PATIENCE_SECONDS)
        assert (outcome.status, outcome.why, out.text()) == (4, Why.KILLED, "up\nbye\n")


def test_stop_kills_what_ignores_it_after_the_grace_period(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")) as (box, out):
        assert eventually(lambda: out.so_far)
        begin = time.monotonic()
        outcome = box.stop(0.3)
        assert (outcome.signal, outcome.why) == (signal.SIGKILL, Why.KILLED)
        assert time.monotonic() - begin >= 0.3


def test_stop_by_another_thread_than_the_one_that_waits_kills_it_too(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")) as (box, out):
        assert eventually(lambda: out.so_far)
        waiting = threading.Thread(target=box.wait)
        waiting.start()
        assert box.poll() is None
        stopping = threading.Thread(target=box.stop, args=(0.2,))
        stopping.start()
        stopping.join(PATIENCE_SECONDS)
        assert not stopping.is_alive()
        waiting.join(PATIENCE_SECONDS)
        assert box.wait().why is Why.KILLED


def test_a_program_that_ended_by_itself_was_not_stopped_by_anybody(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "exit 6")) as (box, out):
        out.text()
        time.sleep(0.2)
        outcome = box.stop()
        assert (outcome.status, outcome.why) == (6, Why.EXITED)


def test_what_has_ended_can_be_removed_without_force(busybox_root: Path) -> None:
    with started(spec(busybox_root, "true")) as (box, out):
        out.text()
        assert eventually(lambda: box.poll() or True)
        time.sleep(0.2)
        box.remove()
        assert box.state is State.REMOVED


@pytest.mark.v2
def test_kill_ends_it_at_once_and_says_by_whom(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sleep", "60")) as (box, _):
        box.kill()
        outcome = box.wait(PATIENCE_SECONDS)
        assert (outcome.status, outcome.signal, outcome.why, outcome.sentence()) == (137, 9, Why.KILLED, "killed by user")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP, signal.SIGINT, signal.SIGRTMIN])
def test_pid_1_forwards_signals_to_the_program(busybox_root: Path, number: int) -> None:
    script = f"trap 'echo got; exit 0' {int(number)}; echo up; while :; do sleep 0.05; done"
    with started(spec(busybox_root, "sh", "-c", script)) as (box, out):
        assert eventually(lambda: out.so_far == "up\n")
        box.kill(number)
        assert box.wait(PATIENCE_SECONDS).why is Why.EXITED
        assert out.text() == "up\ngot\n"


def test_pid_1_reaps_orphans(busybox_root: Path) -> None:
    script = "for i in 1 2 3 4 5; do (sleep 0 & ) ; done; sleep 0.5; cat /proc/[0-9]*/stat"
    zombies = [line for line in shell(busybox_root, script).out.splitlines() if ") Z " in line]
    assert zombies == []


# ------------------------------------------------------------------------------------------------------------- pause


@pytest.mark.requires("cgroup-freezer")
@pytest.mark.v2
def test_paused_it_does_nothing_and_unpaused_it_goes_on(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "while :; do echo x; sleep 0.01; done")) as (box, out):
        assert eventually(lambda: out.so_far)
        box.pause()
        assert box.state is State.PAUSED
        time.sleep(0.1)
        before = len(out.so_far)
        time.sleep(0.3)
        assert len(out.so_far) == before
        box.unpause()
        assert eventually(lambda: len(out.so_far) > before)


@pytest.mark.requires("cgroup-freezer")
@pytest.mark.v2
def test_paused_it_can_be_stopped_killed_and_removed(busybox_root: Path) -> None:
    for end in ("stop", "kill", "remove"):
        with started(spec(busybox_root, "sleep", "60")) as (box, _):
            box.pause()
            if end == "stop":
                box.stop(PATIENCE_SECONDS)
            elif end == "kill":
                box.kill()
            if end != "remove":
                assert box.wait(PATIENCE_SECONDS).why is Why.KILLED


# ------------------------------------------------------------------------------------------------------------- limits


def test_the_wall_time_limit_ends_it_and_says_so(busybox_root: Path) -> None:
    ran = run(spec(busybox_root, "sleep", "60", limits=Limits(seconds=0.4)))
    assert (ran.outcome.status, ran.outcome.why) == (137, Why.TIME)
    assert ran.outcome.sentence() == "killed: it reached its wall-time limit of 0.4s"
    assert ran.outcome.seconds >= 0.4


def test_a_wall_time_shorter_than_the_start_is_still_told_as_such(busybox_root: Path) -> None:
    assert run(spec(busybox_root, "sleep", "60", limits=Limits(seconds=0.001))).outcome.why is Why.TIME


def test_a_wall_time_of_months_is_no_problem(busybox_root: Path) -> None:
    assert run(spec(busybox_root, "true", limits=Limits(seconds=1e8))).outcome.status == 0


@pytest.mark.requires("cgroup-freezer")
def test_the_wall_time_passes_while_it_is_paused(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sleep", "60", limits=Limits(seconds=1))) as (box, _):
        box.pause()
        assert box.wait(PATIENCE_SECONDS).why is Why.TIME


@pytest.mark.requires("cgroup-memory")
def test_the_memory_limit_kills_it_and_the_outcome_names_limit_and_peak() -> None:
    outcome = python(BALLAST.format(200), limits=Limits(memory_bytes=64 * MIB)).outcome
    assert (outcome.status, outcome.signal, outcome.why) == (137, 9, Why.MEMORY)
    assert outcome.oom_kills >= 1
    assert re.fullmatch(r"killed: it reached its memory limit of 64 MiB \(peak 6[34](\.\d)? MiB\)", outcome.sentence())


@pytest.mark.requires("cgroup-memory")
def test_when_a_child_dies_at_the_memory_limit_and_the_program_goes_on_it_exited() -> None:
    script = (
        f"import os\np = os.spawnl(os.P_WAIT, '/usr/bin/python3', 'python3', '-c', '{BALLAST.format(200)}')\nprint(p)\nraise SystemExit(3)"
    )
    ran = python(script, limits=Limits(memory_bytes=64 * MIB))
    assert (ran.outcome.status, ran.outcome.why, ran.out) == (3, Why.EXITED, "-9\n")
    assert ran.outcome.oom_kills >= 1


@pytest.mark.requires("cgroup-memory")
@pytest.mark.v2
def test_out_of_memory_in_one_run_is_not_told_of_the_next(busybox_root: Path) -> None:
    script = "test -e /mark && kill -9 $$; touch /mark; busybox awk 'BEGIN { x = 1; while (1) x = x x }'"
    with Container.create(spec(busybox_root, "sh", "-c", f"{script}; kill -9 $$", limits=Limits(memory_bytes=32 * MIB))) as box:
        box.start()
        assert box.wait(PATIENCE_SECONDS).oom_kills >= 1
        box.start()
        outcome = box.wait(PATIENCE_SECONDS)
        assert (outcome.oom_kills, outcome.why, outcome.signal) == (0, Why.EXITED, 9)


@pytest.mark.requires("cgroup-memory")
@pytest.mark.v2
def test_the_smallest_memory_limit_runs_or_says_that_it_is_too_small(busybox_root: Path) -> None:
    try:
        assert run(spec(busybox_root, "true", limits=Limits(memory_bytes=6 * MIB))).outcome.status == 0
    except SetupFailed as refused:
        assert "memory limit is too small" in str(refused)  # noqa: PT017  # either is right


@pytest.mark.requires("cgroup-pids")
@pytest.mark.v2
def test_the_pids_limit_holds(busybox_root: Path) -> None:
    ran = shell(busybox_root, "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo all", limits=Limits(pids=6))
    assert "can't fork" in ran.err
    assert "all" not in ran.out


@pytest.mark.requires("cgroup-cpu")
@pytest.mark.v2
def test_the_processor_limit_throttles(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "while :; do :; done")) as (box, _):
        box.update(Limits(cpus=0.1))
        begin, before = time.monotonic(), box.usage()
        # It may run on until the next tick of its processor, which a busy host delivers late; the kernel takes that off its next periods.
        for _ in range(20):
            time.sleep(1.5)
            usage, seconds = box.usage(), time.monotonic() - begin
            assert usage.cpu_seconds is not None
            assert before.cpu_seconds is not None
            assert usage.throttled_seconds is not None
            used = usage.cpu_seconds - before.cpu_seconds
            if usage.throttled_seconds > 0 and 0 < used < 0.1 * seconds + 0.2:
                break
        else:
            pytest.fail(f"{used} seconds of processor time within {seconds} at 0.1 processors, {usage.throttled_seconds} throttled")


@pytest.mark.requires("loop-devices", "mkfs")
def test_the_disk_limit_holds_and_the_rest_of_the_world_goes_on(busybox_root: Path) -> None:
    ran = shell(busybox_root, "dd if=/dev/zero of=/big bs=1M count=64; ls -l /big; echo after > /tmp/x", limits=Limits(disk_bytes=16 * MIB))
    assert "No space left on device" in ran.err
    assert 12 * MIB < int(ran.out.split()[4]) <= 17 * MIB


@pytest.mark.requires("cgroup-memory")
@pytest.mark.v2
def test_storage_in_memory_counts_as_memory(busybox_root: Path) -> None:
    limits = Limits(memory_bytes=32 * MIB)
    ran = shell(busybox_root, "dd if=/dev/zero of=/big bs=1M count=200 2>/dev/null", storage="tmpfs", limits=limits)
    assert ran.outcome.oom_kills >= 1
    assert shell(busybox_root, "echo x > /y; cat /y", storage="tmpfs").out == "x\n"


@pytest.mark.requires("cgroup-memory", "cgroup-pids")
@pytest.mark.v2
def test_limits_can_be_changed_while_it_runs(busybox_root: Path) -> None:
    wanted = spec(
        busybox_root, "sh", "-c", "while ! test -e /dev/shm/go; do sleep 0.02; done", limits=Limits(memory_bytes=64 * MIB, pids=10)
    )
    with started(wanted) as (box, _):
        box.update(Limits(memory_bytes=128 * MIB, pids=20))
        assert box.describe()["limits"] == "memory 128 MiB, pids 20"
        assert box.spec.limits.memory_bytes == 128 * MIB
        for wrong in (Limits(seconds=5), Limits(disk_bytes=8 * MIB), Limits(rlimits={"core": (0, 0)})):
            with pytest.raises(NotSupported, match="cannot update"):
                box.update(wrong)
        assert box.spec.limits.memory_bytes == 128 * MIB


@pytest.mark.v2
def test_what_it_used_is_plausible(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; echo up; sleep 60")) as (box, out):
        assert eventually(lambda: out.so_far)
        usage = box.usage()
        assert usage.cpu_seconds is not None
        assert 0.005 < usage.cpu_seconds < 30
        assert usage.pids is not None
        assert 2 <= usage.pids <= 4
        assert usage.memory_bytes is None or 0 < usage.memory_bytes < 64 * MIB
        box.kill()
        assert box.wait(PATIENCE_SECONDS).cpu_seconds >= usage.cpu_seconds
        assert box.usage().pids == 0 or box.usage().pids is None


def test_rlimits_are_set_and_cut_to_what_the_host_allows(busybox_root: Path) -> None:
    limits = Limits(rlimits={"nofile": (64, 1 << 62), "core": (0, 0), "stack": (-1, -1)})
    ran = shell(busybox_root, "ulimit -Sn; ulimit -c", limits=limits)
    assert ran.out.split() == ["64", "0"], ran.err
    with (
        Container.create(spec(busybox_root, "true", limits=Limits(rlimits={"files": (1, 1)}))) as box,
        pytest.raises(InvalidSpec, match="ulimit=files"),
    ):
        box.start()


# ------------------------------------------------------------------------------------------------------------- what it sees


def test_every_namespace_is_another_than_the_hosts(busybox_root: Path) -> None:
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
    ran = shell(busybox_root, f"for n in {' '.join(kinds)}; do busybox readlink /proc/self/ns/$n; done")
    assert len(ran.out.split()) == len(kinds)
    assert not set(ran.out.split()) & {os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}


def test_nothing_of_the_callers_environment_gets_in(busybox_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    ran = run(spec(busybox_root, "busybox", "env", env={"A": "1"}, hostname="box"))
    assert sorted(ran.out.splitlines()) == [
        "A=1",
        "HOME=/root",
        "HOSTNAME=box",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]


def test_it_has_its_host_name_and_knows_itself_by_it(busybox_root: Path) -> None:
    ran = shell(busybox_root, "hostname; cat /etc/hostname; cat /etc/hosts", hostname="box-1")
    assert ran.out.splitlines()[:2] == ["box-1", "box-1"]
    assert "127.0.0.1\tlocalhost box-1" in ran.out
    assert socket.gethostname() != "box-1"


def test_only_lo_is_there_and_it_is_up(busybox_root: Path) -> None:
    ran = shell(busybox_root, "ls /sys/class/net; busybox ip -o link")
    assert ran.out.split()[0] == "lo"
    assert "UP" in ran.out
    assert len(ran.out.splitlines()) == 2


def test_the_working_directory_is_made_for_whoever_the_user_is(busybox_root: Path) -> None:
    assert shell(busybox_root, "busybox pwd", cwd="/work/deep/er").out == "/work/deep/er\n"
    assert shell(busybox_root, "busybox pwd; id -u", cwd="/made/for/me", user="1000").out == "/made/for/me\n1000\n"


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("0:0", "0 0"),
        ("1000", "1000 1000"),
        ("user", "1000 1000"),
        ("user:root", "1000 0"),
        ("7:9", "7 9"),
        ("7", "7 0"),
        ("root:user", "0 1000"),
        ("65535", "65535 0"),
    ],
)
def test_the_user_is_a_name_of_the_image_or_a_number(busybox_root: Path, user: str, ids: str) -> None:
    assert shell(busybox_root, "echo $(id -u) $(id -g)", user=user).out == f"{ids}\n"


@pytest.mark.parametrize(
    "user", ["nobody", "", ":", "-1", "65536", "4294967295", "4294967296", "\u0661", "1000:staff", "0:4294967295", "9" * 30]
)
def test_a_user_that_is_not_there_is_refused_and_never_root(busybox_root: Path, user: str) -> None:
    with Container.create(spec(busybox_root, "id", user=user)) as box, pytest.raises(SetupFailed, match=r"step program\.prepare failed"):
        box.start()


def test_another_user_has_no_capabilities(busybox_root: Path) -> None:
    assert "CapEff:\t0000000000000000" in shell(busybox_root, "cat /proc/self/status", user="1000").out
    assert "CapPrm:\t0000000000000000" in shell(busybox_root, "cat /proc/self/status", capabilities=frozenset()).out


def test_two_containers_share_no_ids(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sleep", "60")) as (first, _), started(spec(busybox_root, "sleep", "60")) as (second, _):
        bases = []
        for box in (first, second):
            with open(f"/proc/{box.pid}/uid_map", encoding="ascii") as file:
                inside, base, count = map(int, file.read().split())
            assert (inside, count) == (0, 65536)
            bases.append(base)
        assert abs(bases[0] - bases[1]) >= 65536


@pytest.mark.v2
def test_its_own_limits_are_readable_inside_and_not_writable(busybox_root: Path) -> None:
    script = """
        cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max
        for f in $(busybox find /sys/fs/cgroup -type f); do (echo 0 > $f) && echo WROTE $f; done
        for d in $(busybox find /sys/fs/cgroup -type d); do mkdir $d/x && echo MADE $d/x; done"""
    assert shell(busybox_root, script, limits=Limits(memory_bytes=64 * MIB)).out == f"{64 * MIB}\n"


def test_ps_shows_its_own_processes_and_no_path_of_the_host(busybox_root: Path) -> None:
    out = run(spec(busybox_root, "ps", "-o", "pid,args")).out
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["1", "2"]
    assert "cellhold-init" in out
    assert not re.search(r"/(work|usr|root|var|home)/", out)


def test_read_only_means_the_root_and_not_what_was_mounted_to_be_written(busybox_root: Path) -> None:
    mounts = (Mount(kind="tmpfs", target="/scratch"),)
    ran = shell(
        busybox_root,
        "touch /x; touch /bin/x; echo y > /scratch/y; echo z > /dev/shm/z; cat /scratch/y /dev/shm/z",
        read_only=True,
        mounts=mounts,
    )
    assert ran.out == "y\nz\n"
    assert ran.err.count("Read-only file system") == 2


def test_what_it_writes_stays_out_of_the_image_and_goes_with_it(busybox_root: Path) -> None:
    before = {str(path) for path in busybox_root.rglob("*")}
    assert shell(busybox_root, "echo changed > /etc/passwd; rm /bin/busybox; mkdir /new; echo > /new/x").outcome.status == 0
    assert {str(path) for path in busybox_root.rglob("*")} == before
    assert "changed" not in (busybox_root / "etc/passwd").read_text()


# ------------------------------------------------------------------------------------------------------------- volumes


def test_a_volume_is_the_hosts_and_files_made_there_belong_to_its_owner(busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from the host\n")
    volume = Mount(kind="bind", source=str(tmp_path), target="/data")
    assert shell(busybox_root, "cat /data/in; echo back > /data/out", mounts=(volume,)).out == "from the host\n"
    assert (tmp_path / "out").read_text() == "back\n"
    assert (tmp_path / "out").stat().st_uid == os.getuid()


def test_a_read_only_volume_cannot_be_written_and_a_file_can_be_one(busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("x\n")
    volumes = (
        Mount(kind="bind", source=str(tmp_path), target="/data", read_only=True),
        Mount(kind="bind", source=str(tmp_path / "in"), target="/new/name", read_only=True),
    )
    ran = shell(busybox_root, "cat /data/in /new/name; touch /data/y; echo > /new/name", mounts=volumes)
    assert ran.out == "x\nx\n"
    assert ran.err.count("Read-only file system") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_changes_in_an_overlay_volume_stay_in_the_container(busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from the host\n")
    (tmp_path / "below").mkdir()
    folder = Mount(kind="overlay", source=str(tmp_path), target="/workspace")
    words = "cat in; echo changed > in; echo > new; touch below/x; busybox rm -r below; ls; cat in; id -u; busybox stat -c %u in"
    ran = shell(busybox_root, words, mounts=(folder,), cwd="/workspace")
    assert ran.out == "from the host\nin\nnew\nchanged\n0\n0\n", ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["below", "in"]
    assert (tmp_path / "in").read_text() == "from the host\n"


@pytest.mark.parametrize("kind", ["overlay", "bind"])
def test_what_a_volume_hides_cannot_be_seen_or_brought_back(kind: str, busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/key").write_text("secret")
    (tmp_path / ".token").write_text("secret")
    folder = Mount(kind=kind, source=str(tmp_path), target="/workspace", hidden=(".ssh", ".token", ".absent"))
    words = "cat .token; ls .ssh; busybox umount .ssh; busybox mv .ssh x; busybox rm -rf .ssh .token; cat .token .ssh/key"
    ran = shell(busybox_root, words, mounts=(folder,), cwd="/workspace")
    assert "secret" not in ran.out + ran.err
    assert ran.out == ""
    assert (tmp_path / ".ssh/key").read_text() == (tmp_path / ".token").read_text() == "secret"


def test_an_overlay_of_a_file_is_refused(busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("x\n")
    with pytest.raises(InvalidSpec, match="not a directory"):
        Container.create(spec(busybox_root, "true", mounts=(Mount(kind="overlay", source=str(tmp_path / "in"), target="/x"),)))


def test_a_volume_that_is_not_there_is_refused_and_nothing_is_made(busybox_root: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="no such file or directory on the host"):
        Container.create(spec(busybox_root, "true", mounts=(Mount(kind="bind", source=str(tmp_path / "gone"), target="/x"),)))


def test_a_volume_that_goes_away_before_the_start_is_told_and_leaks_nothing(busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / "soon-gone").mkdir()
    with Container.create(spec(busybox_root, "true", mounts=(Mount(kind="bind", source=str(tmp_path / "soon-gone"), target="/x"),))) as box:
        (tmp_path / "soon-gone").rmdir()
        with pytest.raises(SetupFailed, match=r"step launch\.prepare failed: No such file or directory"):
            box.start()


def test_a_tmpfs_has_its_size(busybox_root: Path) -> None:
    mounts = (Mount(kind="tmpfs", target="/small", size_bytes=MIB), Mount(kind="tmpfs", target="/fixed", read_only=True))
    ran = shell(busybox_root, "dd if=/dev/zero of=/small/x bs=64k count=64; ls -l /small/x; touch /fixed/x", mounts=mounts)
    assert int(ran.out.split()[4]) == MIB
    assert "No space left" in ran.err
    assert "Read-only" in ran.err


def test_shared_memory_is_half_of_the_memory_limit(busybox_root: Path) -> None:
    ran = shell(busybox_root, "busybox df -k /dev/shm", limits=Limits(memory_bytes=96 * MIB))
    assert ran.out.splitlines()[-1].split()[1] == str(48 << 10)


# ------------------------------------------------------------------------------------------------------------- the rest


def test_it_tells_every_step_with_its_time(busybox_root: Path) -> None:
    with started(spec(busybox_root, "true")) as (box, _):
        box.wait(PATIENCE_SECONDS)
    names = [step.name for step in sorted(box.timings, key=lambda step: step.start)]
    assert names[0] == "image.find"
    assert names[-2:] == ["program.wait", "container.remove"]
    assert {"cgroup.create", "storage.create", "launch.clone", "rootfs.pivot", "security.seccomp", "program.exec"} <= set(names)
    assert all(step.seconds >= 0 for step in box.timings)


def test_a_wrong_descriptor_is_refused_and_other_containers_go_on(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sleep", "60")) as (box, _):
        with Container.create(spec(busybox_root, "true")) as other, pytest.raises(SetupFailed, match="Bad file descriptor"):
            other.start(stdin=9999)
        assert box.poll() is None
        assert box.state is State.RUNNING


def test_a_named_pipe_of_the_host_keeps_its_owner(busybox_root: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    fifo = os.open(tmp_path / "fifo", os.O_RDWR)
    try:
        run(spec(busybox_root, "true"), stdin=fifo)
    finally:
        os.close(fifo)
    assert (tmp_path / "fifo").stat().st_uid == os.getuid()


def test_its_standard_output_can_be_opened_again_by_name(busybox_root: Path) -> None:
    assert shell(busybox_root, "echo one > /dev/stdout; echo two > /proc/self/fd/1").out == "one\ntwo\n"


def test_eight_threads_make_five_containers_each(busybox_root: Path) -> None:
    statuses: list[int] = []

    def work(number: int) -> None:
        for turn in range(5):
            with Container.create(spec(busybox_root, "sh", "-c", f"exit {number * 5 + turn}")) as box:
                box.start()
                statuses.append(box.wait(PATIENCE_SECONDS).status)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == list(range(40))


def test_a_reader_that_never_reads_does_not_make_the_caller_grow_or_the_container_run_away(busybox_root: Path) -> None:
    reading, writing = os.pipe()
    try:
        with Container.create(spec(busybox_root, "busybox", "yes")) as box:
            box.start(stdout=writing)
            time.sleep(0.3)
            assert box.poll() is None
    finally:
        os.close(reading)
        os.close(writing)


def test_output_of_a_daemon_ends_with_the_container(busybox_root: Path) -> None:
    out = Reader()
    with Container.create(spec(busybox_root, "sh", "-c", "busybox setsid sleep 60 & echo up")) as box:
        box.start(stdout=out.writing)
        assert box.wait(PATIENCE_SECONDS).status == 0
        assert out.text() == "up\n"
