"""What a hostile program uses up (processes, memory, output, directories), and that the host goes on."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from boxes import MIB, PATIENCE_SECONDS, eventually, python, shell, spec, started
from cellhold.container.container import Container
from cellhold.spec.limits import Limits
from cellhold.spec.outcome import Why

pytestmark = [
    pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-memory", "cgroup-pids"),
    pytest.mark.usefixtures("machine_unchanged"),
]

SOCKETS = """
import socket
pairs = [socket.socketpair() for _ in range(4000)]
for ours, _ in pairs:
    ours.setblocking(False)
    try:
        while True:
            ours.send(b"x" * 65536)
    except OSError:
        pass
"""
SMALL = Limits(memory_bytes=64 * MIB, pids=64)


# ------------------------------------------------------------------------------------------------------------- bombs


def test_a_fork_bomb_is_contained_and_the_host_goes_on() -> None:
    bomb = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"
    with started(spec("host", "python3", "-I", "-S", "-c", bomb, limits=Limits(memory_bytes=256 * MIB, pids=32, cpus=0.5))) as (box, _):
        assert eventually(lambda: (box.usage().pids_refused or 0) > 50)
        assert (box.usage().pids or 0) <= 32
        assert subprocess.run(["true"], check=False).returncode == 0
        box.kill()
        assert box.wait(PATIENCE_SECONDS).status == 137
        assert box.usage().pids in (0, None)


@pytest.mark.parametrize(
    "eat",
    [
        "import mmap; a=[mmap.mmap(-1, 1<<20) for _ in range(400)]\nfor m in a: m.write(b'x'*(1<<20))",
        "import os\nfor i in range(400): os.write(os.memfd_create('x'), b'x'*(1<<20))",
        "for i in range(400): open(f'/dev/shm/{i}','wb').write(b'x'*(1<<20))",
        "import os\nfor i in range(9000):\n  r, w = os.pipe(); os.set_blocking(w, False); os.write(w, b'x'*65536)",
        SOCKETS,
    ],
    ids=["anonymous", "memfd", "shm", "pipes", "sockets"],
)
def test_every_kind_of_memory_meets_the_memory_limit(eat: str) -> None:
    ran = python(f"import resource\nresource.setrlimit(7, (resource.getrlimit(7)[1],)*2)\n{eat}\nprint('ATE IT')", limits=SMALL)
    assert "ATE IT" not in ran.out or (ran.outcome.memory_peak_bytes or 0) <= 64 * MIB
    assert ran.outcome.oom_kills or ran.err or "ATE IT" in ran.out
    assert (ran.outcome.memory_peak_bytes or 0) <= 65 * MIB
    if ran.outcome.oom_kills:
        assert ran.outcome.why is Why.MEMORY


def test_after_memory_that_belongs_to_no_process_it_can_be_started_again(busybox_root: Path) -> None:
    script = "test -e /mark && exit 7; touch /mark; dd if=/dev/zero of=/dev/shm/x bs=1M count=200"
    with Container.create(spec(busybox_root, "sh", "-c", script, limits=SMALL, shm_bytes=256 * MIB)) as box:
        box.start()
        assert box.wait(PATIENCE_SECONDS).oom_kills
        box.start()
        assert box.wait(PATIENCE_SECONDS).status == 7


def test_a_flood_of_output_that_nobody_reads_costs_the_caller_nothing(busybox_root: Path) -> None:
    reading, writing = os.pipe()
    try:
        with Container.create(spec(busybox_root, "busybox", "yes", limits=SMALL)) as box:
            box.start(stdout=writing)
            before = _resident_kib()
            time.sleep(0.5)
            assert _resident_kib() - before < 4096
    finally:
        os.close(reading)
        os.close(writing)


def _resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


def test_a_tree_of_3000_levels_is_removed_with_it() -> None:
    script = "import os\nfor _ in range(3000):\n  os.mkdir('d'); os.chdir('d')\nopen('f','w').close()\nprint('made')"
    assert python(script, cwd="/tmp").out == "made\n"  # the leak fixture sees the rest


def test_names_modes_and_flags_that_resist_removal_are_removed(busybox_root: Path) -> None:
    script = """
        cd /tmp; mkdir -p a/b; busybox mkfifo p; touch a/b/c 'new
line' -- '-rf' ' '
        busybox chmod 000 a/b a; busybox chattr +i p; echo made"""
    assert shell(busybox_root, script).out == "made\n"


def test_daemons_die_with_the_container(busybox_root: Path) -> None:
    script = "(trap '' TERM HUP INT; busybox setsid sh -c 'busybox setsid sleep 4242 & sleep 4242' &) ; sleep 0.2; echo up"
    ran = shell(busybox_root, script, limits=SMALL)
    assert (ran.out, ran.outcome.status) == ("up\n", 0)
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"4242" in _bytes(path)]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
