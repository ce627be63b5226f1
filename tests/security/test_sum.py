"""The ceilings of the sum, where several ask at once: each was granted by what there was, and together they are too much."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from boxes import command, eventually
from cellhold import Container, Limits, Spec
from cellhold.container import recovery
from cellhold.container.detached import Detached
from cellhold.errors import CellholdError, NotAllowed
from cellhold.store import record
from cellhold.store.home import COUNTING, open_home
from cellhold_kernel.gate import admission, inventory
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.request import BuildRequest, ContainerRequest, RunRequest
from cellhold_kernel.jobs.build import Build
from cellhold_kernel.jobs.build_context import BuildContext
from cellhold_kernel.jobs.run import Run
from cellhold_kernel.settings.policy import Policy
from cellhold_kernel.settings.settings import Settings, Trust

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold_kernel.jobs.job import Job

pytestmark = [
    pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-freezer"),
    pytest.mark.timeout(3600),  # the image may have to be made first
    pytest.mark.leaks_allowed,  # the host image's skeleton; each test removes what it has made
]

OWNER = "feedfacefeedface"
POLICY = Policy(limits={"memory": "200m"})
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    for known in record.list_readable(open_home().containers):
        if known.spec.get("owner") == OWNER and known.kept:
            Detached.find(known.id).remove(force=True)
    assert not list(open_home().root.glob(f"{COUNTING}*"))


def run(image: str, *, policy: Policy = POLICY, lines: str = "sleep 30", **flags: Any) -> Run:
    """A %%run that was granted when the notebook had nothing."""
    return Run(authorize(RunRequest(owner=OWNER, image=image, flags=flags, lines=lines), Trust.CELL, policy))


def ended(work: Job) -> str:
    """Why it failed, "" where it did not."""
    try:
        while work.drain():
            select.select([work], [], [], 60)
    except CellholdError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        work.close()
    return ""


def memory() -> int:
    """What the notebook has of it, in MiB."""
    return sum((held.limits.memory_bytes or 0) // MIB for held in inventory.containers(OWNER) if held.is_alive)


def test_of_two_that_were_granted_at_once_one_is_made(shell_image: str) -> None:
    for removes_itself in (False, True):
        works = [run(shell_image, memory="128m", detach=True, rm=removes_itself) for _ in range(3)]
        outcomes = sorted(map(ended, works))
        assert outcomes[0] == ""
        for refusal in outcomes[1:]:
            assert refusal.startswith("NotAllowed: cannot use memory=128m: ")
            assert "has memory 128 MiB, together that is above the ceiling memory = 200m of " in refusal
        assert memory() == 128
        for held in inventory.containers(OWNER):
            command("rm", "-f", held.name)


def test_the_number_holds_for_those_that_were_granted_at_once(shell_image: str) -> None:
    policy = Policy(containers=2)
    outcomes = sorted(ended(work) for work in [run(shell_image, policy=policy, detach=True) for _ in range(4)])
    assert outcomes[:2] == ["", ""]
    assert all("containers = 2" in refusal for refusal in outcomes[2:])
    assert len(inventory.containers(OWNER)) == 2


def test_what_nobody_has_said_is_what_is_left_by_then(shell_image: str) -> None:
    assert ended(run(shell_image, memory="150m", detach=True)) == ""
    assert ended(run(shell_image, detach=True)) == ""  # granted 200 MiB a moment ago
    assert memory() == 200


def test_a_cells_container_counts_while_it_runs(shell_image: str) -> None:
    work = run(shell_image, memory="128m", lines="echo there; sleep 1000")
    try:
        eventually(lambda: memory() == 128)
        (held,) = inventory.containers(OWNER)
        assert (held.is_kept, held.is_ending) == (False, False)
        assert "together that is above the ceiling memory" in ended(run(shell_image, memory="128m"))
        assert "together that is above the ceiling memory" in ended(run(shell_image, memory="128m", detach=True))
        text = f"FROM {shell_image}\nRUN true"
        settings = Settings().over("kernel.json", {"memory": "128m"})
        build = authorize(
            BuildRequest(owner=OWNER, settings=settings, name="demo", dockerfile=text, flags=("--no-cache",)), Trust.CELL, POLICY
        )
        assert ended(Build(build, BuildContext())) == ""  # which has the rest, 72 MiB
    finally:
        work.close()
    # one whose process was killed is waited for
    assert ended(run(shell_image, memory="200m", lines="true")) == ""


def test_a_steps_container_counts_while_it_runs(shell_image: str) -> None:
    text = f"FROM {shell_image}\nRUN sleep 1000"
    settings = Settings().over("kernel.json", {"memory": "128m"})
    asked = BuildRequest(owner=OWNER, settings=settings, name="demo", dockerfile=text, flags=("--no-cache",))
    work = Build(authorize(asked, Trust.CELL, POLICY), BuildContext())
    try:
        eventually(lambda: memory() == 128)
        assert "together that is above the ceiling memory" in ended(run(shell_image, memory="128m", detach=True))
    finally:
        work.close()


def test_a_notebooks_own_container_counts_for_another_kernel_and_its_change_too(shell_image: str) -> None:
    asked = ContainerRequest(owner=OWNER, words={"image": shell_image, "memory": "128m"})
    first, second = (authorize(asked, Trust.CELL, POLICY) for _ in range(2))
    with admission.admitted(first.spec, first.claim) as spec, Container.create(spec) as box:
        assert memory() == 128
        box.update(Limits(memory_bytes=150 * MIB))
        assert memory() == 150
    with admission.admitted(first.spec, first.claim) as spec:
        box = Container.create(spec)
    with box:
        with pytest.raises(NotAllowed, match="above the ceiling memory"), admission.admitted(second.spec, second.claim):
            pytest.fail("it was let in")
        with admission.admitted(second.spec, second.claim, instead_of=[box.id]) as spec:  # that which replaces it
            assert spec.limits.memory_bytes == 128 * MIB
    assert memory() == 0


def test_a_killed_holder_of_the_lock_holds_nothing() -> None:
    code = (
        "from cellhold_kernel.gate import admission\nimport time\n"
        f"with admission.counting({OWNER!r}):\n    print('held', flush=True)\n    time.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError), open_home().counted(OWNER, _give_up):
            pytest.fail("two hold it")
        recovery.sweep()
        assert list(open_home().root.glob(f"{COUNTING}*"))  # it is somebody's
        holder.send_signal(signal.SIGKILL)
    recovery.sweep()
    assert not list(open_home().root.glob(f"{COUNTING}*"))
    with admission.counting(OWNER):
        assert list(open_home().root.glob(f"{COUNTING}*"))


def test_litter_does_not_count() -> None:
    code = f"""import os, sys
from cellhold import Container, Limits, Spec
box = Container.create(Spec(image="host", args=("true",), owner={OWNER!r}, limits=Limits(memory_bytes={200 * MIB})))
print(box.id, flush=True)
os.kill(os.getpid(), 9)"""
    ran = subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.PIPE, text=True)
    assert ran.returncode == -signal.SIGKILL
    assert memory() == 0
    with suppress(CellholdError):
        recovery.sweep()
    assert not (open_home().containers / ran.stdout.strip()).exists()


def test_without_ceilings_nothing_is_counted(shell_image: str) -> None:
    granted = authorize(RunRequest(owner=OWNER, image=shell_image, lines="true"), Trust.CELL, Policy())
    assert granted.claim is None
    with admission.admitted(Spec(owner=OWNER), None) as spec:
        assert spec == Spec(owner=OWNER)
        assert not list(open_home().root.glob(f"{COUNTING}*"))


def _give_up() -> None:
    raise BlockingIOError
