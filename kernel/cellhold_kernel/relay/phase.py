"""May this message go now? One enum, one function, and nothing that does anything.

What holds the cells back is read from what is there (`Situation`), and is not kept
beside it: so it cannot be forgotten to be changed. cell_queue.py asks, relay.py does
what comes of it.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple


class Phase(Enum):
    """What the notebook's container is doing, as far as cells have to wait for it.

    ::

                  open              arrive
        ABSENT -----------> STARTING ----------> RUNNING <---------------+
         ^  ^                |   ^               | | | |                 |
         |  +----------------+   |               | | | |                 |
         |        fail           |     lose      | | | |                 |
         |                       +---------------+ | | |   done, cancel  |
         |                                         | | +--> WORKING -----+
         |                                         | |    arrive, fail   |
         |                                         | +----> REPLACING ---+
         |              end                  stop  |  ask
         +---------------------- STOPPING <--------+

        any of them that has a container -- shutdown_request --> CLOSING --> the end

    Who moves it: `open` is Session.open (at the start, behind a lost container, for the
    next cell after a removal). `arrive`, `fail`, `lose` and `end` are what Session
    calls transitions.py for. `ask` is a cell's `%container key=value`, `start` or
    `restart`, and WORKING is begun by `%%run`, `%%dockerfile` and `%container commit`
    (commands.py), also where there is no container; then they lead back to ABSENT.
    `done` and `cancel` are cell_jobs.py's. `stop` is Controls' (`%container stop` and
    `kill`, the panel's buttons). The shutdown_request comes to relay.py.

    Where several hold at once, the cell that waits comes first: WORKING, REPLACING,
    CLOSING, STOPPING, and then what is there.
    """

    ABSENT = auto()  # no container and none on its way: everything is answered here
    STARTING = auto()  # the first one, or one in the place of a lost one, comes up
    RUNNING = auto()  # one answers; another may come up behind it, for which no cell waits
    REPLACING = auto()  # a cell waits for the container that it has asked for
    WORKING = auto()  # a cell waits for a process: a build, a run, a commit
    STOPPING = auto()  # the container was told to end, and has its grace period
    CLOSING = auto()  # Jupyter has asked for the end, and the cell kernel may end by itself


class Verdict(Enum):
    """What is to be done with a message."""

    HOLD = auto()  # it joins the queue, or stays in it
    SEND = auto()  # to the cell kernel
    READ = auto()  # it mentions a magic: do what its lines ask, or send it
    PERFORM = auto()  # its one action, at once: it would wait for the cell that runs
    ANSWER = auto()  # in the place of a cell kernel that is not there
    INFORM = auto()  # in the place of one that is paused: Jupyter would take it for dead
    SIGNAL = auto()  # interrupt the cell kernel by a signal
    CANCEL_JOB = auto()  # an interrupt: the cell that waits for a job gives up
    CANCEL_START = auto()  # an interrupt: the cell that waits for a container gives up
    ABORT = auto()  # an interrupt: the cells in the queue give up
    SHUT_DOWN = auto()


class Situation(NamedTuple):
    """What the phase is read from, and what else a message has to wait for."""

    has_container: bool = False
    is_coming: bool = False
    is_replacing: bool = False
    is_working: bool = False
    is_stopping: bool = False
    is_closing: bool = False
    is_paused: bool = False
    takes_signals: bool = False  # the cell kernel is interrupted by SIGINT, not by a message

    @property
    def phase(self) -> Phase:
        """The phase, by the precedence that Phase says."""
        if self.is_working:
            return Phase.WORKING
        if self.is_replacing:
            return Phase.REPLACING
        if self.is_closing:
            return Phase.CLOSING
        if self.is_stopping:
            return Phase.STOPPING
        if self.has_container:
            return Phase.RUNNING
        return Phase.STARTING if self.is_coming else Phase.ABSENT


class Asking(NamedTuple):
    """What is decisive in a message.

    in_subshell: it has a `subshell_id` (JEP 91). is_magic: it mentions a magic.
    behind_cell: a cell runs in the main shell, or is on its way there; only said of one
    that mentions a magic. is_action: it is a `%container` action alone, which
    overtakes.
    """

    channel: str
    type: str
    in_subshell: bool = False
    is_magic: bool = False
    behind_cell: bool = False
    is_action: bool = False


_QUEUED = {
    Phase.ABSENT: Verdict.ANSWER,
    Phase.STARTING: Verdict.HOLD,
    Phase.RUNNING: Verdict.SEND,
    Phase.REPLACING: Verdict.HOLD,
    Phase.WORKING: Verdict.HOLD,
    Phase.STOPPING: Verdict.HOLD,
    Phase.CLOSING: Verdict.HOLD,
}


def decide(situation: Situation, asking: Asking, *, is_queued: bool) -> Verdict:
    """Say what is to be done with a message now.

    is_queued: it is the first of the queue; otherwise it has just come from Jupyter.
    """
    if is_queued:
        verdict = _QUEUED[situation.phase]
        if verdict is Verdict.HOLD or not asking.is_magic:
            return verdict
        return Verdict.HOLD if asking.behind_cell else Verdict.READ
    if asking.type == "kernel_info_request" and situation.is_paused:
        return Verdict.INFORM
    if asking.channel == "control":
        return _decide_control(situation, asking.type)
    if asking.in_subshell and situation.has_container:
        return Verdict.SEND
    return Verdict.PERFORM if asking.is_action and asking.behind_cell else Verdict.HOLD


def _decide_control(situation: Situation, kind: str) -> Verdict:
    """Say it of the control channel, which waits for no cell."""
    if kind == "shutdown_request":
        return Verdict.SHUT_DOWN
    if kind != "interrupt_request":
        return Verdict.SEND if situation.has_container else Verdict.HOLD
    if situation.is_working:
        return Verdict.CANCEL_JOB
    if situation.is_replacing:
        return Verdict.CANCEL_START
    if situation.is_coming or not situation.has_container:
        return Verdict.ABORT
    return Verdict.SIGNAL if situation.takes_signals else Verdict.SEND
