"""Random actions on detached containers, from two processes that are killed at random moments: no promise is broken, nothing is left.

What is promised: a container that was made stays until somebody removes it, with what it has written; a name is one container's; what a
killed process was doing is done, or not, and never half; an action is refused only with the table's reasons.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from boxes import environment, eventually
from cellhold import cgroups
from cellhold.container import inventory
from cellhold.container.detached import Detached
from cellhold.errors import CellholdError
from cellhold.rootfs import volumes
from cellhold.spec.lifecycle import State
from cellhold.store import record
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-freezer"),
    pytest.mark.timeout(1200),
    pytest.mark.random,
]

ROUNDS, STEPS = 50, 10
NAMES = ("x", "y", "z")  # no hexadecimal digits: an id that begins so would be meant
SCRIPT = "n=$(($(cat /n 2>/dev/null || echo 0) + 1)); echo $n > /n; echo $n > /v/n; exec sleep 1000"
WORKER = """
import json, sys
from cellhold.container.detached import Detached
from cellhold.errors import CellholdError
from cellhold.spec.spec import Mount, Spec
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    try:
        if asked["do"] == "create":
            mounts = (Mount(kind="volume", source="shared", target="/v"),)
            Detached.create(Spec(image=asked["image"], args=("sh", "-c", asked["script"]), name=asked["name"], mounts=mounts))
        else:
            box = Detached.find(asked["name"])
            arguments = {"stop": (0,), "restart": (0,), "kill": ()}.get(asked["do"], ())
            if asked["do"] == "exec":
                with box.exec("true") as entered:
                    entered.wait()
            elif asked["do"] == "force":
                box.remove(force=True)
            else:
                getattr(box, asked["do"])(*arguments)
        print(json.dumps({"ok": True}), flush=True)
    except CellholdError as error:
        print(json.dumps({"ok": False, "error": str(error)}), flush=True)
"""
ACTIONS = ("create", "create", "create", "start", "stop", "kill", "restart", "pause", "unpause", "exec", "remove", "force")
SOME_NAME = st.sampled_from(NAMES)
MOMENT = st.sampled_from((*(None,) * 7, 0.0, 0.01, 0.03, 0.05, 0.08, 0.12, 0.2))  # seconds until the worker is killed
told: dict[str, int] = {}


class Worker:
    """A process that does what it is asked, one thing after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )
        assert self._answer() == "ready"

    def ask(self, **asked: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(asked)}\n")
        self._process.stdin.flush()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def answer(self) -> Any:
        return self._answer()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


class Lifecycle(RuleBasedStateMachine):
    """known: name -> the states that the container may be in, REMOVED for none of that name; two workers."""

    image = ""

    @initialize()
    def begin(self) -> None:
        self.workers = [Worker(), Worker()]
        self.known: dict[str, set[State]] = {name: {State.REMOVED} for name in NAMES}
        self.ids: dict[str, str] = {}

    @rule(name=SOME_NAME, worker=st.sampled_from((0, 1)), action=st.sampled_from(ACTIONS), after=MOMENT)
    def act(self, name: str, worker: int, action: str, after: float | None) -> None:
        """One rule for all actions: of several, Hypothesis leaves some out of each round, and a whole session may lack one."""
        if action != "create":
            self.do(worker, action, name, after, None)
            return
        if after is not None:  # half of those are of no name that there is already
            name = next((free for free, states in self.known.items() if states == {State.REMOVED}), name)
        before = self.known[name]
        self.do(worker, "create", name, after, {State.CREATED} if before == {State.REMOVED} else None)

    def do(self, worker: int, action: str, name: str, after: float | None, expected: set[State] | None) -> None:
        """Have a worker do it, to its end or until it is killed after so many seconds; then look what came of it."""
        before = self.present(name)
        self.story = [*getattr(self, "story", [])[-6:], (action, name, before, after)]
        self.workers[worker].ask(do=action, name=name, image=self.image, script=SCRIPT)
        if after is None:
            answer = self.workers[worker].answer()
            told[f"{action} {'done' if answer['ok'] else 'refused'}"] = told.get(f"{action} {'done' if answer['ok'] else 'refused'}", 0) + 1
            if answer["ok"]:
                allowed = expected or OUTCOMES[action](before)
            else:
                assert action != "force" or before is State.REMOVED, answer
                allowed = {before}
                assert REFUSALS(action, before), (action, before, answer)
            assert eventually(lambda: self.present(name) in allowed, seconds=10), (
                action,
                before,
                self.present(name),
                allowed,
                answer,
                self.story,
                left(),
            )
        else:
            time.sleep(after)
            self.workers[worker].kill()
            self.workers[worker] = Worker()
            told[f"{action} killed"] = told.get(f"{action} killed", 0) + 1
            if action in ("remove", "force"):
                self.settle_removal(name)
            elif before is not State.REMOVED:
                assert self.present(name) is not State.REMOVED, (action, before)
        self.known[name] = {self.present(name)}

    def settle_removal(self, name: str) -> None:
        """What was half removed goes on to go, or is there whole."""
        if self.present(name) is not State.REMOVED:
            box = Detached.find(name)
            assert (open_home().container(box.id) / "record.json").exists()

    def present(self, name: str) -> State:
        """Its state now, by a fresh look."""
        with suppress(CellholdError):
            return Detached.find(name).state
        return State.REMOVED

    @invariant()
    def names_are_one_containers(self) -> None:
        names = [one.name for one in inventory.list_containers(open_home())]
        assert len(names) == len(set(names)), names

    @invariant()
    def one_that_runs_does(self) -> None:
        for one in inventory.list_containers(open_home()):
            if one.state == State.RUNNING and record.is_held(open_home().container(one.id)):
                with suppress(CellholdError):
                    assert cgroups.existing(one.id) is not None

    def teardown(self) -> None:
        for worker in getattr(self, "workers", ()):
            worker.kill()
        home = open_home()
        for one in inventory.list_containers(home):
            Detached(one.id, home).remove(force=True)
        assert eventually(lambda: not left(), seconds=10), left()
        volumes.remove("shared", home, force=True)


def left() -> list[str]:
    """What there still is of containers, with the sweep that the next command makes."""
    from cellhold.container.recovery import sweep  # noqa: PLC0415  # here it is the subject

    home = open_home()
    sweep(home)
    return [*os.listdir(home.containers), *(name for name in os.listdir(home.ids) if name.isdecimal())]


def REFUSALS(action: str, before: State) -> bool:  # noqa: N802  # a table
    """Whether the action may be refused in that state."""
    if action == "create":
        return before is not State.REMOVED
    if before is State.REMOVED:
        return True
    return {
        "start": before is State.PAUSED,
        "stop": before is State.CREATED,
        "kill": before in (State.CREATED, State.STOPPED),
        "restart": False,
        "pause": before is not State.RUNNING,
        "unpause": before is not State.PAUSED,
        "exec": before is not State.RUNNING,
        "remove": before in (State.RUNNING, State.PAUSED),
        "force": False,
    }[action]


OUTCOMES: dict[str, Any] = {
    "create": lambda _before: {State.CREATED},
    "start": lambda _before: {State.RUNNING},
    "stop": lambda _before: {State.STOPPED},
    "kill": lambda _before: {State.STOPPED},
    "restart": lambda _before: {State.RUNNING},
    "pause": lambda _before: {State.PAUSED},
    "unpause": lambda _before: {State.RUNNING},
    "exec": lambda before: {before},
    "remove": lambda _before: {State.REMOVED},
    "force": lambda _before: {State.REMOVED},
}


def test_no_promise_is_broken_and_nothing_is_left(busybox_root: Path) -> None:
    Lifecycle.image = str(busybox_root)
    told.clear()
    run_state_machine_as_test(
        Lifecycle,
        settings=settings(
            max_examples=ROUNDS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=not os.environ.get("CELLHOLD_TEST_SEEDS"),
        ),
    )
    sys.stdout.write("\n" + ", ".join(f"{count} x {what}" for what, count in sorted(told.items())) + "\n")
    assert {f"{action} killed" for action in ("create", "start", "force")} <= told.keys()
