"""May this message go now: the whole table of relay/phase.py, and which events lead from phase to phase."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from cellhold.errors import CellholdError
from cellhold.spec.lifecycle import State
from cellhold.spec.outcome import Outcome, Why
from cellhold_kernel.engine.controls import Order
from cellhold_kernel.protocol.connection import CHANNELS, Connection
from cellhold_kernel.protocol.messages import Signer, parse
from cellhold_kernel.relay.phase import Asking, Phase, Situation, Verdict, decide
from cellhold_kernel.relay.relay import HostKernel
from cellhold_kernel.settings.policy import Policy
from cellhold_kernel.settings.settings import CellLimits, Settings
from cellhold_kernel.transport.frontend import Frontend
from cellhold_kernel.transport.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from cellhold_kernel.engine.base import Feature
    from cellhold_kernel.engine.session import Session
    from cellhold_kernel.protocol.messages import Message

HOLD, SEND, ANSWER, READ = Verdict.HOLD, Verdict.SEND, Verdict.ANSWER, Verdict.READ
SITUATIONS = {
    Phase.ABSENT: Situation(),
    Phase.STARTING: Situation(is_coming=True),
    Phase.RUNNING: Situation(has_container=True),
    Phase.REPLACING: Situation(has_container=True, is_coming=True, is_replacing=True),
    Phase.WORKING: Situation(has_container=True, is_working=True),
    Phase.STOPPING: Situation(has_container=True, is_stopping=True),
    Phase.CLOSING: Situation(has_container=True, is_closing=True),
}
QUESTIONS = ("execute", "kernel_info", "comm_info", "complete", "inspect", "is_complete", "history", "connect")
ORDERS = ("interrupt", "shutdown", "usage", "debug", "create_subshell", "nonsuch")
TYPES = (*(f"{what}_request" for what in (*QUESTIONS, *ORDERS)), "comm_open", "comm_msg", "comm_close")
QUEUED = {
    Phase.ABSENT: ANSWER,
    Phase.STARTING: HOLD,
    Phase.RUNNING: SEND,
    Phase.REPLACING: HOLD,
    Phase.WORKING: HOLD,
    Phase.STOPPING: HOLD,
    Phase.CLOSING: HOLD,
}
INTERRUPT = {
    Phase.ABSENT: Verdict.ABORT,
    Phase.STARTING: Verdict.ABORT,
    Phase.RUNNING: SEND,
    Phase.REPLACING: Verdict.CANCEL_START,
    Phase.WORKING: Verdict.CANCEL_JOB,
    Phase.STOPPING: SEND,
    Phase.CLOSING: SEND,
}
WITHOUT_CONTAINER = {Phase.ABSENT, Phase.STARTING}


@pytest.mark.parametrize("phase", Phase)
def test_each_phase_is_read_from_its_situation(phase: Phase) -> None:
    assert SITUATIONS[phase].phase is phase


def test_every_situation_is_a_phase_and_the_cell_that_waits_comes_first() -> None:
    for facts in product((False, True), repeat=6):
        situation = Situation(*facts)
        has_container, is_coming, is_replacing, is_working, is_stopping, is_closing = facts
        holds = {
            Phase.WORKING: is_working,
            Phase.REPLACING: is_replacing,
            Phase.CLOSING: is_closing,
            Phase.STOPPING: is_stopping,
            Phase.RUNNING: has_container,
            Phase.STARTING: is_coming,
            Phase.ABSENT: True,
        }
        assert situation.phase is next(phase for phase, is_so in holds.items() if is_so)


def arriving(phase: Phase, channel: str, kind: str) -> Verdict:
    """What the table says of a message that has just come."""
    if channel == "shell":
        return HOLD
    if kind == "shutdown_request":
        return Verdict.SHUT_DOWN
    if kind == "interrupt_request":
        return INTERRUPT[phase]
    return HOLD if phase in WITHOUT_CONTAINER else SEND


@pytest.mark.parametrize(("phase", "channel", "kind"), list(product(Phase, ("shell", "control"), TYPES)))
def test_every_message_has_an_answer_in_every_phase(phase: Phase, channel: str, kind: str) -> None:
    asking = Asking(channel, kind)
    assert decide(SITUATIONS[phase], asking, is_queued=False) is arriving(phase, channel, kind)
    assert decide(SITUATIONS[phase], asking, is_queued=True) is QUEUED[phase]


@pytest.mark.parametrize("phase", Phase)
def test_a_cell_with_a_magic_is_read_once_no_cell_runs_before_it(phase: Phase) -> None:
    first = Asking("shell", "execute_request", is_magic=True)
    behind = first._replace(behind_cell=True)
    assert decide(SITUATIONS[phase], first, is_queued=True) is (HOLD if QUEUED[phase] is HOLD else READ)
    assert decide(SITUATIONS[phase], behind, is_queued=True) is HOLD


@pytest.mark.parametrize("phase", Phase)
def test_only_an_action_alone_overtakes_the_cell_that_runs(phase: Phase) -> None:
    action = Asking("shell", "execute_request", is_magic=True, is_action=True)
    assert decide(SITUATIONS[phase], action, is_queued=False) is HOLD
    assert decide(SITUATIONS[phase], action._replace(behind_cell=True), is_queued=False) is Verdict.PERFORM
    assert decide(SITUATIONS[phase], action._replace(behind_cell=True, is_action=False), is_queued=False) is HOLD


@pytest.mark.parametrize("phase", Phase)
def test_a_subshell_waits_for_nothing_but_a_container(phase: Phase) -> None:
    subshell = Asking("shell", "execute_request", in_subshell=True)
    assert decide(SITUATIONS[phase], subshell, is_queued=False) is (HOLD if phase in WITHOUT_CONTAINER else SEND)


@pytest.mark.parametrize(("phase", "channel"), list(product(Phase, ("shell", "control"))))
def test_what_a_paused_kernel_is_gets_answered_for_it(phase: Phase, channel: str) -> None:
    paused = SITUATIONS[phase]._replace(is_paused=True)
    assert decide(paused, Asking(channel, "kernel_info_request"), is_queued=False) is Verdict.INFORM


@pytest.mark.parametrize("phase", Phase)
def test_an_interrupt_is_a_signal_where_the_kernel_wants_one(phase: Phase) -> None:
    asking = Asking("control", "interrupt_request")
    expected = Verdict.SIGNAL if INTERRUPT[phase] is SEND else INTERRUPT[phase]
    assert decide(SITUATIONS[phase]._replace(takes_signals=True), asking, is_queued=False) is expected


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.STOPPING, Phase.CLOSING])
def test_an_interrupt_while_a_fresh_container_comes_up_ends_what_waits(phase: Phase) -> None:
    coming = SITUATIONS[phase]._replace(is_coming=True)
    assert decide(coming, Asking("control", "interrupt_request"), is_queued=False) is Verdict.ABORT


# ---------------------------------------------------------------------------------------------- from phase to phase


class Containers:
    """As much of a session as the relay asks for; its containers are words."""

    def __init__(self) -> None:
        self.missing: dict[Feature, str] = {}
        self.current: Any = None
        self.coming: Any = None
        self.stopped: Any = None
        self.failure: CellholdError | None = None
        self.cell_limits = CellLimits()
        self.settings = Settings()
        self.policy = Policy

    @property
    def is_coming(self) -> bool:
        return self.coming is not None

    def subscribe(self, listener: Any) -> None:
        self.listener = listener

    def open(self) -> None:
        self.begin()

    def begin(self, _words: object = None) -> None:
        self.coming = container()

    def arrive(self) -> Any:
        old, self.current, self.coming, self.failure = self.current, self.coming, None, None
        return old

    def cancel(self) -> None:
        self.coming = None

    def let_go(self, kernel: Any) -> None:
        self.current = None if kernel is self.current else self.current

    def park(self, kernel: Any) -> None:
        self.current, self.stopped = None, kernel

    def remove_stopped(self) -> None:
        self.stopped = None

    def tick(self) -> None:
        return

    def close(self) -> None:
        self.current = self.coming = None


def container() -> Any:
    """One that hears nothing, says nothing, and ends when it is killed."""
    box = SimpleNamespace(id="ab12", state=State.RUNNING, kill=lambda _number=9: None, poll=lambda: 0)
    return SimpleNamespace(sandbox=box, backend=None, words=None, files=None, interrupts_by_signal=False, ready_after=None)


class Answered(Frontend):
    """One that nobody is connected to. replies: what was answered, as (type of the request, status)."""

    def __init__(self, connection: Connection, signer: Signer) -> None:
        super().__init__(connection, signer)
        self.replies: list[tuple[str, str]] = []

    def reply(self, channel: str, request: Message, content: Mapping[str, Any]) -> None:
        self.replies.append((request.type, content["status"]))
        super().reply(channel, request, content)


class Kernel:
    """A host kernel with such containers."""

    def __init__(self, directory: Path) -> None:
        connection = Connection(
            transport="ipc", ip=str(directory / "s"), ports={channel: at for at, channel in enumerate(CHANNELS)}, key="k"
        )
        self.signer = Signer("k")
        self.frontend = Answered(connection, self.signer)
        self.replies = self.frontend.replies
        self.containers = Containers()
        self.loop = Loop()
        self.host = HostKernel(self.frontend, cast("Session", self.containers), self.loop, self.signer)

    @property
    def phase(self) -> Phase:
        return self.host._queue.situation.phase

    def hear(self, kind: str, *, channel: str = "shell", **content: Any) -> Message:
        message = parse([b"client", *self.signer.make(kind, content)])
        assert message is not None
        self.host._route(channel, message)
        self.host._queue.pump()
        return message

    def begin_job(self) -> None:
        """As %%run does."""
        message = parse([b"client", *self.signer.make("execute_request", {"code": "%%run busybox"})])
        assert message is not None
        job: Any = SimpleNamespace(fileno=lambda: 0, close=lambda: None, interrupted_message="the container was removed")
        self.host._jobs.begin(message, job, "")

    def order_stop(self) -> None:
        """As `%container stop` does."""
        controls = self.host._parts.controls
        controls._kill_at = 1e12
        controls._order = Order(action="stop", message=None, until=1e12)

    def end(self, why: Why) -> None:
        self.containers.listener.ended(self.containers.current, Outcome(status=137, signal=9, seconds=1.0, why=why))

    def arrive(self) -> None:
        self.host._transitions._arrive()


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    made = Kernel(tmp_path)
    yield made
    made.host.close()
    made.frontend.close()


def replace(kernel: Kernel) -> None:
    kernel.hear("execute_request", code="%container memory=300m\n1")


def fail(kernel: Kernel) -> None:
    kernel.containers.cancel()
    kernel.containers.listener.failed(CellholdError("no"))


def interrupt(kernel: Kernel) -> None:
    kernel.hear("interrupt_request", channel="control")


def shut_down(kernel: Kernel) -> None:
    kernel.hear("shutdown_request", channel="control", restart=False)


EVENTS: dict[str, Callable[[Kernel], None]] = {
    "open": lambda kernel: kernel.containers.open(),
    "arrive": Kernel.arrive,
    "fail": fail,
    "replace": replace,
    "begin a job": Kernel.begin_job,
    "interrupt": interrupt,
    "stop": Kernel.order_stop,
    "is killed": lambda kernel: kernel.end(Why.MEMORY),
    "shutdown": shut_down,
}


@pytest.mark.parametrize(
    ("events", "phases"),
    [
        (["open"], [Phase.STARTING]),
        (["open", "fail"], [Phase.STARTING, Phase.ABSENT]),
        (["open", "arrive"], [Phase.STARTING, Phase.RUNNING]),
        (["open", "arrive", "replace", "arrive"], [Phase.STARTING, Phase.RUNNING, Phase.REPLACING, Phase.RUNNING]),
        (["open", "arrive", "replace", "fail"], [Phase.STARTING, Phase.RUNNING, Phase.REPLACING, Phase.RUNNING]),
        (["open", "arrive", "replace", "interrupt"], [Phase.STARTING, Phase.RUNNING, Phase.REPLACING, Phase.RUNNING]),
        (["replace", "arrive"], [Phase.REPLACING, Phase.RUNNING]),
        (["replace", "fail"], [Phase.REPLACING, Phase.ABSENT]),
        (["open", "arrive", "begin a job", "interrupt"], [Phase.STARTING, Phase.RUNNING, Phase.WORKING, Phase.RUNNING]),
        (["begin a job", "interrupt"], [Phase.WORKING, Phase.ABSENT]),
        (["open", "arrive", "is killed"], [Phase.STARTING, Phase.RUNNING, Phase.STARTING]),
        (["open", "arrive", "stop", "is killed"], [Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.ABSENT]),
        (
            ["open", "arrive", "begin a job", "is killed", "interrupt"],
            [*[Phase.STARTING, Phase.RUNNING], *[Phase.WORKING] * 2, Phase.STARTING],
        ),
        (["open", "arrive", "shutdown"], [Phase.STARTING, Phase.RUNNING, Phase.CLOSING]),
        (
            ["open", "arrive", "begin a job", "shutdown", "interrupt"],
            [*[Phase.STARTING, Phase.RUNNING], *[Phase.WORKING] * 2, Phase.CLOSING],
        ),
    ],
    ids=lambda value: ", ".join(map(str, value)) if value and isinstance(value[0], str) else "",
)
def test_each_transition_is_drawn_from_events(events: list[str], phases: list[Phase], kernel: Kernel) -> None:
    seen = []
    for event in events:
        EVENTS[event](kernel)
        seen.append(kernel.phase)
    assert seen == phases
    assert kernel.loop.running


def test_cells_wait_for_the_first_container_and_an_interrupt_aborts_them_alone(kernel: Kernel) -> None:
    kernel.containers.open()
    kernel.hear("execute_request", code="1")
    kernel.hear("complete_request", code="1", cursor_pos=1)
    assert kernel.replies == []
    kernel.hear("interrupt_request", channel="control")
    assert kernel.replies == [("execute_request", "aborted"), ("interrupt_request", "ok")]
    fail(kernel)
    assert kernel.replies[2:] == [("complete_request", "ok")]


def test_a_cell_that_gives_up_its_container_takes_the_cells_behind_it_with_it(kernel: Kernel) -> None:
    replace(kernel)
    kernel.hear("execute_request", code="1")
    kernel.hear("interrupt_request", channel="control")
    assert kernel.replies == [("execute_request", "error"), ("execute_request", "aborted"), ("interrupt_request", "ok")]


def test_a_removed_container_is_followed_by_a_fresh_one_for_the_next_cell(kernel: Kernel) -> None:
    kernel.containers.open()
    kernel.arrive()
    kernel.order_stop()
    kernel.end(Why.KILLED)
    kernel.hear("execute_request", code="%container remove")
    assert (kernel.phase, kernel.replies) == (Phase.ABSENT, [("execute_request", "ok")])
    kernel.hear("execute_request", code="1")
    assert (kernel.phase, len(kernel.replies)) == (Phase.STARTING, 1)


def test_without_a_container_jupyters_end_is_the_end_at_once(kernel: Kernel) -> None:
    shut_down(kernel)
    assert not kernel.loop.running
    assert kernel.replies == [("shutdown_request", "ok")]
