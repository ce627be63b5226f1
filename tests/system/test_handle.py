"""One contract for Container and Detached (cellhold.container.handle): the same verbs, the same states and outcomes."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from boxes import MIB, PATIENCE_SECONDS, eventually
from cellhold.container.container import Container
from cellhold.container.detached import Detached
from cellhold.errors import CommandNotRun, NotAllowed, NotSupported
from cellhold.spec.lifecycle import State
from cellhold.spec.limits import Limits
from cellhold.spec.outcome import Outcome, Why
from cellhold.spec.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cellhold.container.handle import Handle

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-freezer")

KINDS: dict[str, Callable[[Spec], Handle]] = {"Container": Container.create, "Detached": Detached.create}
FOREVER = "while :; do sleep 0.1; done"
EATING = 'x=a; while :; do x="$x$x"; done'


@pytest.fixture(params=KINDS)
def create(request: pytest.FixtureRequest) -> Callable[[Spec], Handle]:
    """What makes one of that kind."""
    return KINDS[request.param]


@contextmanager
def made(create: Callable[[Spec], Handle], image: Path, script: str, **values: Any) -> Iterator[Handle]:
    handle = create(Spec(image=str(image), args=("sh", "-c", script), **values))
    try:
        yield handle
    finally:
        if handle.state is not State.REMOVED:
            handle.remove(force=True)


def decided(outcome: Outcome) -> Outcome:
    """Without what is measured, which differs from run to run."""
    assert outcome.seconds >= 0
    return replace(outcome, seconds=0.0, cpu_seconds=0.0, memory_peak_bytes=None, oom_kills=min(outcome.oom_kills, 1), oom_victims=())


def state(handle: Handle) -> State:
    """What it is now."""
    return handle.state


def ended(status: int, number: int | None, why: Why, **more: Any) -> Outcome:
    return Outcome(status=status, signal=number, why=why, seconds=0.0, **more)


ENDS: list[tuple[str, dict[str, Any], Outcome]] = [
    ("exit 0", {}, ended(0, None, Why.EXITED)),
    ("exit 3", {}, ended(3, None, Why.EXITED)),
    ("exit 130", {}, ended(130, None, Why.EXITED)),  # no signal, whatever shells mean by it
    ("kill -USR1 $$", {}, ended(138, signal.SIGUSR1, Why.EXITED)),
    ("kill -KILL $$", {}, ended(137, signal.SIGKILL, Why.EXITED)),
    (FOREVER, {"limits": Limits(seconds=0.3)}, ended(137, signal.SIGKILL, Why.TIME, time_limit_seconds=0.3)),
    (
        EATING,
        {"limits": Limits(memory_bytes=16 * MIB)},
        ended(137, signal.SIGKILL, Why.MEMORY, oom_kills=1, memory_limit_bytes=16 * MIB),
    ),
]


@pytest.mark.parametrize(("script", "values", "expected"), ENDS, ids=[script for script, _values, _expected in ENDS])
def test_why_it_ended(create: Callable[[Spec], Handle], busybox_root: Path, script: str, values: dict[str, Any], expected: Outcome) -> None:
    with made(create, busybox_root, script, **values) as handle:
        handle.start()
        outcome = handle.wait(PATIENCE_SECONDS)
        assert decided(outcome) == expected
        assert {handle.outcome, handle.poll(), handle.wait(), handle.stop()} == {outcome}
        assert state(handle) == State.STOPPED


def test_each_verb_leads_to_the_same_state(create: Callable[[Spec], Handle], busybox_root: Path) -> None:
    with made(create, busybox_root, FOREVER) as handle:
        assert (state(handle), handle.poll(), handle.outcome) == (State.CREATED, None, None)
        for verb in (handle.wait, handle.stop, handle.kill, handle.pause, handle.unpause, lambda: handle.exec("true")):
            with pytest.raises(NotAllowed):
                verb()
        handle.start()
        assert (state(handle), handle.poll(), handle.outcome) == (State.RUNNING, None, None)
        with pytest.raises(TimeoutError):
            handle.wait(0.1)
        with pytest.raises(NotAllowed, match="it runs: stop it first"):
            handle.remove()
        handle.pause()
        assert state(handle) == State.PAUSED
        with pytest.raises(NotAllowed, match="unpause it first"):
            handle.exec("true")
        handle.unpause()
        assert state(handle) == State.RUNNING
        with handle.exec("sh", "-c", "exit 5") as process:
            assert process.wait() == 5
        handle.kill(signal.SIGUSR1)  # which the shell does not survive, nor is it an order to end
        assert decided(handle.wait(PATIENCE_SECONDS)) == ended(138, signal.SIGUSR1, Why.EXITED)
        for verb in (handle.kill, handle.pause, handle.unpause, lambda: handle.exec("true")):
            with pytest.raises(NotAllowed):
                verb()
        handle.start()
        assert (state(handle), handle.poll(), handle.outcome) == (State.RUNNING, None, None)
        handle.kill()
        assert decided(handle.wait(PATIENCE_SECONDS)) == ended(137, signal.SIGKILL, Why.KILLED)
        handle.remove()
        assert state(handle) == State.REMOVED


@pytest.mark.parametrize("paused", [False, True])
def test_stop_waits_as_long_as_it_was_made_with(create: Callable[[Spec], Handle], busybox_root: Path, *, paused: bool) -> None:
    with made(create, busybox_root, f"trap '' TERM; : > /ready; {FOREVER}", stop_seconds=0.2) as handle:
        handle.start()
        assert eventually(lambda: status_of(handle, "sh", "-c", "[ -f /ready ]") == 0)
        if paused:
            handle.pause()
        assert decided(handle.stop()) == ended(137, signal.SIGKILL, Why.KILLED)
        assert state(handle) == State.STOPPED


def test_stop_sends_the_signal_that_it_was_made_with(create: Callable[[Spec], Handle], busybox_root: Path) -> None:
    script = f"trap 'exit 9' USR1; : > /ready; {FOREVER}"
    with made(create, busybox_root, script, stop_signal=signal.SIGUSR1) as handle:
        handle.start()
        assert eventually(lambda: status_of(handle, "sh", "-c", "[ -f /ready ]") == 0)
        assert decided(handle.stop(PATIENCE_SECONDS)) == ended(9, None, Why.KILLED)


def status_of(handle: Handle, *words: str) -> int:
    with handle.exec(*words) as process:
        return process.wait()


def test_limits_are_changed_at_once_and_what_is_fixed_is_refused(create: Callable[[Spec], Handle], busybox_root: Path) -> None:
    with made(create, busybox_root, f"sleep 1; {EATING}", limits=Limits(memory_bytes=512 * MIB)) as handle:
        handle.start()
        handle.update(Limits(memory_bytes=16 * MIB))
        assert handle.spec.limits.memory_bytes == 16 * MIB
        with pytest.raises(NotSupported, match="cannot be changed any more"):
            handle.update(Limits(memory_bytes=16 * MIB, seconds=5.0))
        expected = ended(137, signal.SIGKILL, Why.MEMORY, oom_kills=1, memory_limit_bytes=16 * MIB)
        assert decided(handle.wait(PATIENCE_SECONDS)) == expected


def test_a_command_that_cannot_be_run_is_an_outcome_as_well(create: Callable[[Spec], Handle], busybox_root: Path) -> None:
    handle = create(Spec(image=str(busybox_root), args=("no-such-command",)))
    try:
        with pytest.raises(CommandNotRun):
            handle.start()
        assert state(handle) == State.STOPPED
        assert decided(handle.wait()) == ended(127, None, Why.EXITED)
    finally:
        handle.remove(force=True)


def test_one_that_goes_with_its_end_is_waited_for_all_the_same(busybox_root: Path) -> None:
    for script, expected in (("sleep 0.3; exit 130", ended(130, None, Why.EXITED)), ("sleep 0.3; kill -9 $$", ended(137, 9, Why.EXITED))):
        handle = Detached.create(Spec(image=str(busybox_root), args=("sh", "-c", script)), auto_remove=True)
        handle.start()
        assert decided(handle.wait(PATIENCE_SECONDS)) == expected
