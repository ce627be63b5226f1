"""The host kernel: which message goes where.

Towards the container everything goes on as it came (the key is the same on both sides, nothing is signed twice), in the order in
which it came. What is held back: everything while a container comes up; what follows a `%container` cell until that is done.
What is answered here: `%container`, a container's end, and everything while there is no container.

    Jupyter -> _from_front (shell, control), _from_stdin        container -> received
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError
from cellhold.spec.lifecycle import State
from cellhold_kernel.engine import controls, diagnosis
from cellhold_kernel.engine.controls import Controls
from cellhold_kernel.engine.usage import UsageMeter
from cellhold_kernel.protocol import messages
from cellhold_kernel.relay.backpressure import Flow
from cellhold_kernel.relay.cell_monitor import CellMonitor, Counters
from cellhold_kernel.relay.left_out import LeftOuts
from cellhold_kernel.relay.pending import Requests
from cellhold_kernel.relay.progress import Progress
from cellhold_kernel.relay.replies import RESULTS, Answers, is_kernel_info, is_silent, stops
from cellhold_kernel.transport.backend import CHANNELS
from cellhold_kernel.transport.large import Incoming, LeftOut, Surroundings
from cellhold_kernel.transport.loop import guarded
from cellhold_kernel.transport.spool import Spools
from cellhold_kernel.widgets import lazy_panel, saved
from cellhold_kernel.widgets.lazy_panel import LazyPanel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellhold.spec.outcome import Outcome
    from cellhold_kernel.engine.controls import Order
    from cellhold_kernel.engine.diagnosis import Diagnosis
    from cellhold_kernel.engine.local.cell_kernel import CellKernel
    from cellhold_kernel.engine.session import Session
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.magics.lines import Asked
    from cellhold_kernel.relay.cell_monitor import Due
    from cellhold_kernel.relay.pending import Fates, Request
    from cellhold_kernel.settings.notebook import Notebook
    from cellhold_kernel.transport.backend import Backend
    from cellhold_kernel.transport.frontend import Frontend
    from cellhold_kernel.transport.loop import Loop

_MAGICS = (b"%container", b"%limits", b"%network", b"%%dockerfile", b"%%run")
_OUTPUT = frozenset({"stream", "display_data", "update_display_data", "execute_result"})
_SHUTDOWN_SECONDS = 1.5
_DRAIN_SECONDS, _DRAIN_OVER_SECONDS = 0.5, 5.0
_QUIET_SECONDS = 0.01
_KILL_SECONDS = 2.0  # that a container takes to end once it is killed
_BROKEN_SECONDS = 10.0  # a busy machine takes 3 to say that a container has ended
_HELD_MOST = 1000  # messages that wait for the container to come
_HELD_BYTES_MOST = 16 << 20
_READ_MOST = 64 << 10  # bytes of JSON from the container that we look into
_COMMS_MOST = 1 << 20  # the same, of those that it has
_OURS = frozenset({"iopub_welcome"})  # what only the host kernel says
_OK = {"status": "ok", "user_expressions": {}, "payload": []}
_STATES = ("busy", "idle", "starting")  # the others ("dead", "restarting") are the server's words


class HostKernel:
    """Relays between a front and a session's containers. `status` is what the process is to exit with."""

    def __init__(self, frontend: Frontend, session: Session, loop: Loop, signer: messages.Signer, notebook: Notebook | None = None) -> None:
        """Wait for what Jupyter sends; nothing is started yet. notebook: its file, where that is known."""
        self.status = 0
        self._frontend = frontend
        self._session = session
        self._loop = loop
        self._signer = signer
        self._requests = Requests()
        self._held: deque[tuple[str, messages.Message]] = deque()
        self._replacing: tuple[messages.Message, Asked] | None = None  # the %container cell that waits for its container
        self._outputs: dict[str, list[tuple[str, dict[str, Any]]]] = {}  # request id -> what to publish once its cell has begun
        self._progress = Progress(frontend)
        self._working: tuple[messages.Message, Job] | None = None  # the cell that waits for an image: %%dockerfile, %container commit
        self._notice: Diagnosis | None = None  # of a container that ended: told in the next cell
        self._watch: CellMonitor | None = None  # the cell that runs in the main shell
        self._seen: Counters | None = None  # the present container's, before its first cell and after each
        self._controls = Controls(session)
        self._panel = LazyPanel(frontend, signer, session, self._controls, loop, notebook)
        self._answers = Answers(frontend)
        self._leftouts = LeftOuts(frontend, signer, self._answers, self._requests)
        self._spools = Spools()
        self._meter = UsageMeter()
        self._flow = Flow(frontend, session, loop)
        self._broken_since: float | None = None  # a cell kernel's socket
        self._deadline: float | None = None  # of a shutdown
        session.subscribe(self)
        loop.add(frontend.sockets["hb"], frontend.echo)
        loop.add(frontend.sockets["iopub"], frontend.greet)
        loop.add(frontend.sockets["shell"], partial(self._from_front, "shell"))
        loop.add(frontend.sockets["control"], partial(self._from_front, "control"))
        loop.add(frontend.sockets["stdin"], self._from_stdin)

    def tick(self) -> float | None:
        """What is due now; gives the seconds until something is due again. Called before every wait."""
        if self._deadline is not None and self._deadline <= time.monotonic():
            if (current := self._session.current) is not None:
                self._finish_off(current)
                self._session.let_go(current)
            self._loop.stop()
        crowded = len(self._held) > _HELD_MOST or sum(messages.size_of(message.frames) for _, message in self._held) > _HELD_BYTES_MOST
        due = [
            self._session.tick() if self._deadline is None else self._deadline - time.monotonic(),
            self._look_at_cell() if self._deadline is None else None,
            self._controls.tick(),
            self._panel.tick(),
            self._flow.regulate(is_crowded=crowded),
            self._look_at_sockets(),
            self._progress.catch_up(),
            self._spools.release(),
        ]
        return min((seconds for seconds in due if seconds is not None), default=None)

    # ------------------------------------------------------------------------------------- containers come and go (Listener)

    def nudge(self, kernel: CellKernel) -> None:
        """An ipykernel before 7 does not greet: let it publish that it is busy with a question."""
        if kernel.backend is not None:
            kernel.backend.send("shell", self._signer.make("kernel_info_request", {}))

    def _arrived(self) -> None:
        """The coming container speaks: it is the present one from now on."""
        old = self._session.arrive()
        if old is not None:
            self.displaced(old)
        self._seen = None
        self._leftouts.forget()
        if self._replacing is not None:
            from cellhold_kernel.magics import container  # noqa: PLC0415  # imported when a cell asks for it, not at every start

            message, asked = self._replacing
            self._replacing = None
            self._say(message, "stream", {"name": "stdout", "text": container.summary(self._session) + "\n"})
            self._pass_on("shell", message, self._signer.with_content(message, {**message.content, "code": asked.code}))
        self._pump()

    def displaced(self, kernel: CellKernel) -> None:
        """End the container that another one takes the place of, and let go of it; what it has said until then arrives."""
        self._finish_off(kernel)
        self._lost(lambda cell: controls.replaced(cell=cell))
        self._notice = None
        self._session.let_go(kernel)

    def progressed(self, job: Job) -> None:
        """Show how far the image is, in the cell that waits for it."""
        message = self._replacing[0] if self._replacing is not None else self._first_waiting()
        if message is not None:
            self._progress.show(message, job)

    def _first_waiting(self) -> messages.Message | None:
        """The first cell that waits for the first container."""
        return next((message for _channel, message in self._held if message.type == "execute_request" and not is_silent(message)), None)

    def failed(self, error: CellholdError) -> None:
        """The cell that asked for the container is told, or every cell if there is none now."""
        if self._session.current is None:
            self._session.failure = error
        self._panel.say(str(error))
        if self._replacing is not None:
            message, _ = self._replacing
            self._replacing = None
            self._refuse(message, error)
        self._pump()

    def ended(self, kernel: CellKernel, outcome: Outcome) -> None:
        """Killed: the cell is told and a fresh container made. Ended by itself: so does this process, with the same status."""
        self._drain(kernel, is_over=True)
        self._pass_on_last_words(kernel)
        order = self._controls.ended()
        if self._watch is None and self._seen is not None and self._requests.cell_runs():  # killed before it could say that it runs
            self._panel.cell_began(self._answers.cells + 1, self._seen.usage)
        self._panel.container_ended(outcome)
        if self._deadline is None and order is not None and not self._session.is_coming:
            self._stopped(kernel, order, outcome)
        elif self._deadline is None and (diagnosis.is_survived(outcome) or self._session.is_coming):
            self._replace(kernel, lambda cell: diagnosis.of_end(outcome, cell=cell))
        else:
            self.status = outcome.status if self._deadline is None else 0
            self._loop.stop()

    def _stopped(self, kernel: CellKernel, order: Order, outcome: Outcome) -> None:
        """It has ended as somebody wished: it is kept as it is, for `start`, `commit`, `remove`."""
        self._lost(lambda cell: controls.diagnose(order, outcome, cell=cell))
        self._notice = None
        self._session.park(kernel)
        self._session.failure = controls.stopped_error()
        if order.message is not None:
            text = f"container {kernel.box.id} is stopped: {controls.summary(outcome)}\n"
            self._answers.cell(order.message, [("stream", {"name": "stdout", "text": text})], _OK)
        self._pump()

    def _replace(self, kernel: CellKernel, tell: Callable[[int | None], Diagnosis]) -> None:
        """Take away a container that is lost, and have another. tell: why, given the number of the cell that ran."""
        self._lost(tell)
        self._session.let_go(kernel)
        if not self._session.is_coming:
            self._session.open()
        self._pump()

    def _look_at_sockets(self) -> float | None:
        """A cell kernel without its sockets is lost, although its process lives; one that ends loses them, too, a moment before."""
        kernel = self._session.coming or self._session.current
        broken = kernel.backend.broken if kernel is not None and kernel.backend is not None else None
        if kernel is None or broken is None or self._deadline is not None:
            self._broken_since = None
            return None
        now = time.monotonic()
        self._broken_since = self._broken_since or now
        left = self._broken_since + _BROKEN_SECONDS - now
        if left > 0:
            return left
        self._broken_since = None
        if kernel is self._session.coming:
            self._session.cancel()
            self.failed(CellholdError(f"cannot start a cell kernel: its socket for {broken}"))
        else:
            self._finish_off(kernel)
            self._replace(kernel, lambda cell: _of_broken(broken, cell))
        return 0

    def _drain(self, kernel: CellKernel, *, is_over: bool) -> None:
        """Pass on what a cell kernel has sent.

        is_over: it has ended. What is left of it is no more than its sockets hold, so it need not wait for clients.
        """
        until = time.monotonic() + (_DRAIN_SECONDS if not is_over else _DRAIN_OVER_SECONDS)
        while kernel.backend is not None and time.monotonic() < until and kernel.backend.wait(_QUIET_SECONDS):
            for channel in CHANNELS:
                self._receive(kernel, kernel.backend, channel, is_over=is_over)
            if not is_over and not self._frontend.takes("iopub"):
                time.sleep(_QUIET_SECONDS)  # a client is behind, and reads

    def _finish_off(self, kernel: CellKernel) -> None:
        """End a container that is to go. What it says while it is read out is said, too: so it is read again once it says nothing more."""
        self._drain(kernel, is_over=False)
        with suppress(CellholdError):  # it has just ended by itself
            kernel.box.kill()
        until = time.monotonic() + _KILL_SECONDS
        while kernel.box.poll() is None and time.monotonic() < until:
            time.sleep(_QUIET_SECONDS)
        self._drain(kernel, is_over=kernel.box.poll() is not None)
        self._pass_on_last_words(kernel)

    def _pass_on_last_words(self, kernel: CellKernel) -> None:
        """What it has said and not sent; to be asked once, of one that has ended."""
        for message in kernel.words.messages(self._signer, self._header_of) if kernel.words is not None else ():
            self._published(kernel, message)

    def _header_of(self, message_id: str) -> Mapping[str, Any]:
        """The header of a request, as it was or could have been; with "" of the cell that runs."""
        running = self._watch.message_id if self._watch is not None and not message_id else message_id
        request = self._requests.get(running)
        return {**self._signer.header("execute_request"), "msg_id": running} if request is None else request.message.header

    def _lost(self, tell: Callable[[int | None], Diagnosis]) -> None:
        """Tell everybody who waits for an answer of a container that is gone."""
        fates = self._requests.settle()
        stop = fates.stop
        watch, self._watch = self._watch, None
        if not self._session.is_coming:
            count = fates.ran[0].count or self._answers.cells + 1 if fates.ran else None
            told = tell(count)
            if watch is not None and watch.reached is not None and watch.is_killed:
                told = diagnosis.of_overdue(watch.reached)
            for request in fates.ran:
                number = request.count or self._answers.cells + 1
                self._panel.refresh(parent=request.message.header)
                self._answers.killed(request.channel, request.message, name=told.name, lines=told.lines, count=number)
            self._notice = diagnosis.of_past(told) if fates.ran else told
            fates.ran.clear()
        self._settle(fates)
        if stop:
            self._abort_held()

    def _settle(self, fates: Fates) -> None:
        self._outputs.clear()
        for request in (*fates.ran, *fates.aborted):
            self._answers.abort(request.channel, request.message)
        self._held.extendleft((request.channel, request.message) for request in reversed(fates.again))

    # --------------------------------------------------------------------------------------------------------- from Jupyter

    def _from_front(self, channel: str) -> None:
        for parts in self._frontend.receive(channel):
            message = messages.parse(parts)
            if message is None or not self._signer.verify(message):
                continue  # ipykernel drops such as well
            self._see_to(channel, message, self._take)
        self._pump()

    def _see_to(self, channel: str, message: messages.Message, how: Callable[[str, messages.Message], None]) -> None:
        """Do that with one of Jupyter's messages; whoever asked is answered, also where that fails in a way that nobody foresaw."""
        if not guarded(partial(how, channel, message)):
            error = CellholdError("cannot do what was asked: the Jupyter server's log says why")
            if message.type == "execute_request":
                self._refuse(message, error)
            else:
                self._answers.question(channel, message, error=error)

    def _take(self, channel: str, message: messages.Message) -> None:
        if message.type == "kernel_info_request" and self._is_paused():
            self._answers.info(channel, message)
        elif message.type.startswith("comm_") and self._is_for_panel(channel, message):
            pass
        elif channel == "control":
            self._control(message)
        elif message.header.get("subshell_id") and self._session.current is not None:
            self._pass_on(channel, message)
        elif action := self._urgent(message):
            self._act(message, action, "")
        else:
            self._hold(channel, message)

    def _hold(self, channel: str, message: messages.Message) -> None:
        self._held.append((channel, message))

    def _control(self, message: messages.Message) -> None:
        if message.type == "shutdown_request":
            self._shut_down(message)
        elif message.type == "interrupt_request" and (self._working or self._session.is_coming or self._session.current is None):
            self._interrupt_start(message)
        elif message.type == "interrupt_request" and self._session.current is not None and self._session.current.interrupts_by_signal:
            if self._requests.cell_runs():  # a kernel that waits for a cell might end by it
                self._session.current.interrupt()
            self._answers.ok("control", message)
        elif self._session.current is not None:
            self._pass_on("control", message)
        else:
            self._hold("control", message)

    def _is_for_panel(self, channel: str, message: messages.Message) -> bool:
        """Whether a message about comms is dealt with: it is for one of ours, or only we can answer it."""
        if not self._panel.looks_at(message):
            return False
        if message.type == "comm_info_request" and (self._is_paused() or not (self._session.current or self._session.is_coming)):
            self._answers.comms(channel, message, self._panel.list_comms(message.content))
            return True
        return self._panel.takes(message)

    def _urgent(self, message: messages.Message) -> tuple[str, ...]:
        """What a cell asks to be done to the container, and nothing else, while another cell runs: it would wait for that one."""
        if message.type != "execute_request" or not message.mentions(b"%container") or not self._requests.cell_runs():
            return ()
        from cellhold_kernel.magics import lines  # noqa: PLC0415  # imported when a cell asks for one

        action = lines.alone(str(message.content.get("code", "")))
        return action if self._is_paused() or not {*action[:1]} & {*lines.SHOWING} else ()

    def _is_paused(self) -> bool:
        """A frozen cell kernel answers nothing; without an answer to this one, Jupyter takes the kernel for dead."""
        return self._session.current is not None and self._session.current.box.state is State.PAUSED

    def _from_stdin(self) -> None:
        for parts in self._frontend.receive("stdin"):
            current = self._session.current
            if current is not None and current.backend is not None:
                current.backend.send("stdin", parts)

    def _pump(self) -> None:
        """Let go on what was held back, as far as it may."""
        while self._held and not (self._replacing or self._working or self._deadline or self._controls.is_stopping):
            channel, message = self._held[0]
            if self._session.current is None and self._session.is_coming:
                return
            asks = channel == "shell" and message.type == "execute_request" and any(map(message.mentions, _MAGICS))
            if asks and self._requests.cell_runs():
                return
            self._held.popleft()
            self._see_to(channel, message, self._ask_us_first if asks else self._pass_on)

    def _ask_us_first(self, channel: str, message: messages.Message) -> None:
        if not self._asks_us(message):
            self._pass_on(channel, message)

    def _say(self, message: messages.Message, kind: str, content: dict[str, Any]) -> None:
        """Publish something of our own in a cell of the cell kernel's, once that has begun."""
        if not is_silent(message):
            self._outputs.setdefault(message.id, []).append((kind, content))

    def _pass_on(self, channel: str, message: messages.Message, parts: list[messages.Part] | None = None) -> None:
        current = self._session.current
        if current is None or current.backend is None:
            if message.type == "execute_request" and self._controls.take_removed():
                self._session.open()
                self._notice = controls.FRESH
                self._held.appendleft((channel, message))
            else:
                self._answer(channel, message)
            return
        if channel == "control" and message.type == "usage_request":
            self._answers.say(message, self._meter.read(current))
            return
        if message.type == "execute_request" and self._notice is not None and not is_silent(message):
            self._say(message, *_warning(self._notice))
            self._notice = None
        if message.type == "execute_request" and self._seen is None:
            self._seen = Counters.of(current)
        self._requests.add(channel, message)
        current.backend.send(channel, parts or message.frames)

    # ----------------------------------------------------------------------------------------------------- from the container

    def received(self, kernel: CellKernel, channel: str) -> None:
        """A cell kernel's socket can be read, or written (Listener): pass on what came, as far as those who get it have read."""
        if kernel.backend is not None:
            self._receive(kernel, kernel.backend, channel)

    def _receive(self, kernel: CellKernel, backend: Backend, channel: str, *, is_over: bool = False) -> None:
        backend.streams[channel].flush()
        if not self._flow.takes(kernel, channel, is_over=is_over):
            return
        for message in self._incoming(kernel, backend, channel).messages():
            if isinstance(message, LeftOut):
                self._left_out(kernel, channel, message)
            elif channel == "iopub":
                if kernel.words is not None:
                    kernel.words.hear(message)
                self._published(kernel, message)
            elif channel == "stdin":
                self._asked(message)
            else:
                self._replied(channel, message)
            if not self._flow.takes(kernel, channel, is_over=is_over):
                return

    def _incoming(self, kernel: CellKernel, backend: Backend, channel: str) -> Incoming:
        if channel not in backend.incoming:
            around = Surroundings(
                signer=self._signer,
                spools=self._spools,
                directory=kernel.socket_directory.path,
                most_bytes=lambda: self._session.cell_limits.message_bytes,
            )
            backend.incoming[channel] = Incoming(backend.streams[channel], channel, around)
        return backend.incoming[channel]

    def _published(self, kernel: CellKernel, message: messages.Message) -> None:
        if kernel is self._session.coming:
            self._arrived()
            return
        if message.type in _OURS or (message.type == "status" and message.content_up_to(_READ_MOST).get("execution_state") not in _STATES):
            return
        if saved.forges(message):
            return
        if self._watch is not None and message.parent_id == self._watch.message_id and self._is_left_out(self._watch, message):
            return
        self._frontend.pass_on(self._leftouts.substitute(message))
        if message.type == "execute_input" and self._signer.verify(message):
            self._began(kernel, message)

    def _began(self, kernel: CellKernel, message: messages.Message) -> None:
        """A cell runs: watch it, and publish what we have to say in it."""
        count = message.content_up_to(_READ_MOST).get("execution_count")
        if isinstance(count, int) and 0 <= count < 1 << 53:
            self._answers.cells = count
            request = self._requests.started(message.parent_id, count)
            if request is not None and request.on_main_shell and self._seen is not None:
                self._watch = CellMonitor(message.parent_id, count, kernel, self._session.cell_limits, self._seen)
                self._panel.cell_began(count, self._seen.usage)
        for kind, content in self._outputs.pop(message.parent_id, ()):
            self._frontend.publish(kind, content, parent=message.parent)

    def _asked(self, message: messages.Message) -> None:
        """A cell's input(): only for somebody whose cell runs."""
        if message.type == "input_request" and self._requests.is_from(message.identities):
            self._frontend.send("stdin", message.frames)

    def _left_out(self, kernel: CellKernel, channel: str, left: LeftOut) -> None:
        if kernel is not self._session.current:
            return
        cell = self._watch.result if self._watch is not None and left.message.parent_id == self._watch.message_id else None
        if (answered := self._leftouts.answer(channel, left, result=cell)) is not None:
            self._follow(answered[0], failed=answered[1])

    def _replied(self, channel: str, message: messages.Message) -> None:
        """Pass on an answer to the one who asked; what nobody asked is dropped."""
        if not self._signer.verify(message):
            return
        request = self._requests.answered(channel, message.parent_id)
        if request is None or message.identities != request.message.identities:
            return
        ours = self._panel.list_comms(request.message.content) if request.message.type == "comm_info_request" else {}
        if (flaw := message.flaw) is not None:
            self._unreadable(request, flaw, ours)
            return
        content = message.content_up_to(_READ_MOST)
        if request.message.type == "kernel_info_request" and not is_kernel_info(content):
            self._answers.question(channel, request.message, error=CellholdError("the cell kernel does not say what it is"))
            return
        if request.message.type == "kernel_info_request":
            self._answers.kernel_info = content
        if ours and (theirs := message.content_up_to(_COMMS_MOST)):  # more comms than that are told without ours
            comms = theirs["comms"] if isinstance(theirs.get("comms"), dict) else {}
            self._frontend.send(channel, self._signer.with_content(message, {**theirs, "comms": {**comms, **ours}}))
            return
        if self._watch is not None and request.message.id == self._watch.message_id and content.get("status") in RESULTS:
            self._watch.result = content["status"]
        self._frontend.send(channel, message.frames)
        self._follow(request, failed=content.get("status") == "error")

    def _unreadable(self, request: Request, flaw: str, ours: Mapping[str, Any]) -> None:
        """Answer in place of a cell kernel whose answer no front end could read. ours: our part of it, if it has one."""
        error = CellholdError(f"cannot pass on the cell kernel's answer: {flaw}")
        if ours:
            self._answers.comms(request.channel, request.message, ours)
        elif request.is_cell:
            self._answers.unanswered(request.channel, request.message, error, count=request.count)
        else:
            self._answers.question(request.channel, request.message, error=error)
        self._follow(request, failed=True)

    def _follow(self, request: Request, *, failed: bool) -> None:
        """Go on behind a cell that was answered."""
        if request.is_cell and request.on_main_shell and self._held:
            if failed and stops(request.message):
                self._abort_held()
            self._pump()

    # ------------------------------------------------------------------------------------------------- the limits of a cell

    def _is_left_out(self, watch: CellMonitor, message: messages.Message) -> bool:
        """Look at what the watched cell publishes: whether it is more output than it may have. At its end, tell the limits that it met."""
        if message.type == "error":
            watch.result = message.type  # the reply says so, too, on another socket: before this one's "idle" or after it
        if message.type in _OUTPUT:
            self._enforce(watch.wrote(messages.size_of(message.frames)), message.parent)
            return watch.is_cut
        if message.type == "status" and message.content_up_to(_READ_MOST).get("execution_state") == "idle" and self._signer.verify(message):
            self._watch = None
            for told in watch.met():
                self._frontend.publish(*_warning(told), parent=message.parent)
            self._seen = watch.seen
            self._panel.cell_ended(watch.result, parent=message.parent)
        return False

    def _look_at_cell(self) -> float | None:
        """Enforce the time limit of the cell that runs; gives the seconds until that is due."""
        if self._watch is None:
            return None
        request = self._requests.get(self._watch.message_id)
        self._enforce(self._watch.due(), request.message.header if request is not None else {})
        return self._watch.left()

    def _enforce(self, due: Due | None, header: Mapping[str, Any]) -> None:
        current = self._session.current
        if due is None or current is None or current.backend is None:
            return
        if due.what == "kill":
            current.box.kill()
            return
        self._frontend.publish(*_warning(due.why), parent=header)
        if due.what == "interrupt" and current.interrupts_by_signal:
            current.interrupt()
        elif due.what == "interrupt":
            current.backend.send("control", self._signer.make("interrupt_request", {}))
        elif due.what == "pause":
            with suppress(CellholdError):
                current.box.pause()

    # ------------------------------------------------------------------------------------------------------------ answered here

    def _asks_us(self, message: messages.Message) -> bool:
        """Do what a cell's %container, %limits and %network lines, or its %%dockerfile or %%run, ask for; False where it has none."""
        from cellhold_kernel.magics import cells, container, limits, lines, network  # noqa: PLC0415  # imported when a cell asks
        from cellhold_kernel.magics.lines import encodable  # noqa: PLC0415

        try:
            code = encodable(str(message.content.get("code", "")))
            if (begun := cells.start(self._session, code)) is not None:
                self._begin_job(message, *begun)
                return True
            asked = lines.read(code)
            if asked is None:
                return False
            if asked.action and asked.action[0] not in lines.SHOWING:
                self._act(message, asked.action, asked.code)
                return True
            wanted, changed, connected = (asked.magics.get(name) for name in lines.NAMES)
            if wanted:
                self._session.begin({**wanted, **(changed or {}), **(connected or {})})
                self._answers.busy(message)
                self._replacing = (message, asked)
                return True
            outputs: list[tuple[str, dict[str, Any]]] = []
            if asked.action:
                outputs += self._shown(message, asked.action)
            if wanted is not None:
                outputs.append(_display(container.mime_bundle(self._session)))
            for magic, texts in ((limits, changed), (network, connected)):
                if texts is not None:
                    outputs.append(_changed(magic.change(self._session, texts)) if texts else _display(magic.mime_bundle(self._session)))
        except (CellholdError, OSError) as error:
            self._refuse(message, diagnosis.as_answer(error))
            return True
        self._finish(message, outputs, asked.code)
        return True

    def _shown(self, message: messages.Message, action: tuple[str, ...]) -> list[tuple[str, dict[str, Any]]]:
        from cellhold_kernel.magics import showing  # noqa: PLC0415  # as above

        if action[0] in {lazy_panel.PANEL, lazy_panel.FOOTER}:
            return self._panel.show(action, parent=message.header)
        return [_display(showing.mime_bundle(self._session, action))]

    def _act(self, message: messages.Message, action: tuple[str, ...], code: str) -> None:
        """Do to the container what a cell asks for. code: for the cell kernel, once there is one again."""
        from cellhold_kernel.magics.lines import SHOWING, Asked  # noqa: PLC0415  # as above

        word, *arguments = action
        try:
            if word in SHOWING:
                self._answers.cell(message, self._shown(message, action), _OK)
                return
            if word == controls.COMMIT:
                self._begin_job(message, self._controls.commit(arguments), code)
                return
            said = self._controls.perform(word, arguments, message)
            if said is not None:
                self._answers.cell(message, [("stream", {"name": "stdout", "text": f"{said}\n"})], _OK)
                return
            self._answers.busy(message)
            if self._session.is_coming:
                self._replacing = (message, Asked({}, code))
        except (CellholdError, OSError) as error:
            self._refuse(message, diagnosis.as_answer(error))

    def _finish(self, message: messages.Message, outputs: list[tuple[str, dict[str, Any]]], code: str) -> None:
        """Let the rest of a cell run in the container, with our outputs before its own; without one, or in a paused one, that is all."""
        if self._session.current is None or self._is_paused():
            self._answers.cell(message, outputs, _OK)
            return
        for output in outputs:
            self._say(message, *output)
        self._pass_on("shell", message, self._signer.with_content(message, {**message.content, "code": code}))

    def _begin_job(self, message: messages.Message, job: Job, code: str) -> None:
        self._answers.busy(message)
        self._working = (message, job)
        self._loop.add(job.fileno(), partial(self._on_job, message, job, code))

    def _on_job(self, message: messages.Message, job: Job, code: str) -> None:
        """The job has said something, or has ended."""
        try:
            try:
                goes_on = job.drain()
            finally:
                for output in job.take_outputs():
                    self._frontend.publish(*output, parent=message.header, is_output=True)
            if job.shows_progress or not goes_on:
                self._progress.show(message, job, now=not goes_on)
            if goes_on:
                return
            self._end_job()
            self._finish(message, [], code)
        except (CellholdError, OSError) as error:
            self._end_job()
            self._progress.show(message, job)
            self._refuse(message, diagnosis.as_answer(error))
        self._pump()

    def _end_job(self) -> None:
        if self._working is not None:
            _message, job = self._working
            self._working = None
            self._progress.forget()
            self._loop.remove(job.fileno())
            job.close()

    def close(self) -> None:
        """End what works for cells, the container included."""
        self._end_job()
        self._panel.close()
        self._session.close()

    def _answer(self, channel: str, message: messages.Message) -> None:
        """Answer in place of the cell kernel that there is not."""
        error = self._session.failure or CellholdError("no container runs")
        if message.type == "execute_request":
            self._refuse(message, error)
        else:
            self._answers.question(channel, message, error=error)

    def _refuse(self, message: messages.Message, error: CellholdError) -> None:
        """Answer a cell with an error, and the cells that wait behind it as ipykernel does."""
        self._answers.refuse(message, error)
        if stops(message):
            self._abort_held()

    def _abort_held(self) -> None:
        """Abort the cells that wait; everything else goes on waiting."""
        waiting, self._held = self._held, deque()
        for channel, message in waiting:
            if message.type == "execute_request":
                self._answers.abort(channel, message)
            else:
                self._held.append((channel, message))

    def _interrupt_start(self, message: messages.Message) -> None:
        """Interrupt while a container comes up: the cell that waits for it gives up, the old container stays."""
        if self._working is not None:
            waiting, job = self._working
            self._end_job()
            self._refuse(waiting, CellholdError(f"interrupted: {job.interrupted_message}"))
            self._pump()
        elif self._replacing is not None:
            self._session.cancel()
            self.failed(CellholdError("interrupted: the container was not replaced"))
        else:
            self._abort_held()
        self._answers.ok("control", message)

    def _shut_down(self, message: messages.Message) -> None:
        """Let the cell kernel end, for a while; without one, end at once."""
        if self._session.current is None:
            self._answer("control", message)
            self._loop.stop()
        else:
            self._pass_on("control", message)
            self._deadline = time.monotonic() + _SHUTDOWN_SECONDS


def _warning(told: Diagnosis) -> tuple[str, dict[str, Any]]:
    """What is told in a cell that goes on, as a message of standard error."""
    return "stream", {"name": "stderr", "text": "\n".join(told.lines) + "\n"}


def _changed(sentence: str) -> tuple[str, dict[str, Any]]:
    return "stream", {"name": "stdout", "text": f"{sentence}\n"}


def _display(data: dict[str, str]) -> tuple[str, dict[str, Any]]:
    return "display_data", {"data": data, "metadata": {}, "transient": {}}


def _of_broken(reason: str, cell: int | None) -> Diagnosis:
    whose = "the cell kernel" if cell is None else f"cell {cell} was lost: the cell kernel"
    hint = "the container was replaced by a fresh one and its variables are gone"
    return diagnosis.Diagnosis("ContainerLost", f"{whose} cannot be reached any more, its socket for {reason}", hint)
