"""An ordinary user to whom systemd, or root, has delegated a group of cgroup v2: groups with limits below that, and nothing above it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from boxes import RUNTIME
from cellhold import cgroups

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.requires("root", "cgroups"),
    pytest.mark.v2,
    pytest.mark.skipif(
        cgroups.available().get("memory") != "v2",
        reason="this host's controllers are on cgroup v1, which has no delegation (it runs in the guest)",
    ),
]

UID = 12345
ROOT = Path("/sys/fs/cgroup")
SERVICE = ROOT / f"user.slice/user-{UID}.slice/user@{UID}.service"
GIVEN = ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control")


@contextmanager
def scope(*, passed: str = "cpu memory pids io") -> Iterator[Path]:
    """A group as `systemd-run --user --scope -p Delegate=yes` makes it: the controllers are there, but not passed on below it."""
    made = SERVICE / "job.scope"
    made.mkdir(parents=True)
    for level in (ROOT, SERVICE.parents[1], SERVICE.parent, SERVICE):
        (level / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in passed.split()))
    for level in (SERVICE, made):
        for path in (level, *(level / name for name in GIVEN)):
            os.chown(path, UID, UID)
    try:
        yield made
    finally:
        for level in (*sorted(made.rglob("*/"), reverse=True), made, SERVICE, SERVICE.parent):
            if level.is_dir():
                level.rmdir()


def run(scope: Path, code: str) -> list[str]:
    """What Python prints that runs as the user in the scope, with a shell beside it there as in a terminal."""
    imports = "from cellhold import cgroups\nfrom cellhold.spec.limits import Limits\nfrom pathlib import Path\nimport os\n"
    program = f"{imports}{textwrap.dedent(code)}"
    enter = f'echo $$ > {scope}/cgroup.procs; setpriv --reuid={UID} --regid={UID} --clear-groups "$@"; exit $?'
    done = subprocess.run(
        ["sh", "-c", enter, "sh", sys.executable, "-S", "-c", program],
        env={"PYTHONPATH": str(RUNTIME), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_limits_are_set_below_the_users_own_group_and_those_in_it_move_to_a_leaf() -> None:
    with scope() as place:
        said = run(
            place,
            """
            group = cgroups.create("a", Limits(memory_bytes=64 << 20, cpus=0.5, pids=9))
            print(Path("/proc/self/cgroup").read_text().strip())
            directory = Path("/sys/fs/cgroup", group.path)
            print(group.path, *((directory / name).read_text().strip() for name in ("memory.max", "cpu.max", "pids.max")))
            print(cgroups.leftovers())
            group.remove()
            print(cgroups.leftovers())
            """,
        )
        below = place.relative_to(ROOT)
        assert said == [f"0::/{below}/cellhold-callers", f"{below}/cellhold/a {64 << 20} 50000 100000 9", "('a',)", "()"]


def test_a_second_command_from_the_leaf_uses_the_same_groups() -> None:
    with scope() as place:
        run(place, 'cgroups.create("a", Limits(memory_bytes=64 << 20))')
        said = run(place / "cellhold-callers", 'print(cgroups.leftovers()); cgroups.remove_leftover("a"); print(cgroups.leftovers())')
        assert said == ["('a',)", "()"]


def test_a_process_starts_in_such_a_group_and_is_killed_with_it() -> None:
    with scope() as place:
        said = run(
            place,
            """
            from cellhold.linux.process import clone3
            import time
            group = cgroups.create("a", Limits(pids=9))
            join = group.join()
            pid, _ = clone3(0, cgroup_fd=join.into)
            if pid == 0:
                time.sleep(60)
            print(group.usage().pids)
            group.freeze()
            group.kill()
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            group.remove()
            """,
        )
        assert said == ["1", "-9"]


def test_a_controller_that_was_not_delegated_is_refused_by_name_and_the_group_is_gone() -> None:
    with scope(passed="memory pids") as place:
        said = run(
            place,
            """
            print(sorted(cgroups.available()))
            try:
                cgroups.create("a", Limits(cpus=0.5))
            except Exception as error:
                print(type(error).__name__, str(error).splitlines()[0])
            print(cgroups.leftovers())
            """,
        )
        assert said == [
            "['freezer', 'memory', 'pids']",
            "NotSupported cannot enforce cpus=0.5: the cgroup controller 'cpu' is not available",
            "()",
        ]


def test_without_a_delegated_group_the_remedy_is_named() -> None:
    with scope() as place:
        for path in (place, SERVICE):
            os.chown(path, 0, 0)
        said = run(
            place,
            """
            try:
                cgroups.create("a", Limits())
            except Exception as error:
                print(type(error).__name__, error.hint)
            """,
        )
        assert said[0].startswith("NotSupported run as root, or on cgroup v2 in a group delegated to you (systemd-run --user --scope")
