"""Container: created, started, paused, unpaused, stopped, removed; and why it ended.

Used by the CLI, the kernel and anybody else's Python. A container belongs to the process that made it: when that process ends,
however it ends, the container does too, and what it had is cleared.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cellhold import cgroups, events, image, seccomp, storage, story
from cellhold.errors import CellholdError, CommandNotRun, InvalidSpec, NotAllowed, SetupFailed

from cellhold.launch import Channel, deadline, launch
from cellhold.lifecycle import Action, State, after
from cellhold.linux.capabilities import DEFAULT
from cellhold.linux.pidfd import pidfd_send_signal
from cellhold.outcome import Outcome, Why
from cellhold.rootfs import NAMESPACES, plan
from cellhold.store import ids
from cellhold.store.home import Home, open_home
from cellhold.store.record import Record
from cellhold.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from cellhold.cgroups.base import Cgroup, Usage
    from cellhold.image.model import Image
    from cellhold.init.plan import Plan
    from cellhold.spec import Limits, Spec
    from cellhold.storage import Storage

LOST_STATUS = 137
NOT_FOUND = 127  # as POSIX shells have it; 126: found, not executable
_swept: set[Path] = set()
_START_SECONDS = 60.0  # longer than any set-up takes on a machine that still works


class Container:
    """One container. Make it with Container.create(); use it as a context manager to have it removed in the end.

    id: twelve hexadecimal digits. name: the spec's, else the id. timings: every step so far (cellhold.events.Step).
    """

    def __init__(self, spec: Spec, home: Home, image_: Image) -> None:
        """Only remember what it will be; create() makes it."""
        self.spec = spec
        self.image = image_
        self.state = State.CREATED
        self.outcome: Outcome | None = None
        self.timings: list[events.Step] = []
        self.pid: int | None = None
        self._home = home
        self._undo = ExitStack()  # what remove() does, in reverse order of making
        self._channel: Channel | None = None
        self._killed = self._timed_out = False
        self._receiving = threading.RLock()
        self._started = 0.0
        self._last_usage: Usage | None = None

    @classmethod
    def create(cls, spec: Spec, *, home: Home | None = None) -> Self:
        """Make a container that has everything but a process: directory, ids, group with limits, writable layer.

        Raises InvalidSpec, ImageNotFound, or NotSupported for a limit that this host cannot enforce; then nothing is left behind.
        """
        home = home or open_home()
        if home.root not in _swept:
            _swept.add(home.root)
            sweep(home)
        start = time.monotonic()
        made = cls(spec, home, image.find(spec.image, home))
        made._told("image.find", f"{made.image.name}: {', '.join(stack.target for stack in made.image.stacks)}", start)
        check_mounts(spec)
        try:
            made._make()
        except BaseException as error:
            made._undo_all(error)
            raise
        return made

    def _make(self) -> None:
        self._undo.callback(self._close_channel)
        with self._step("store.create") as detail:
            self.id, self._lock = self._make_directory()
            self.name = self.spec.name or self.id
            self.hostname = self.spec.hostname or self.id
            self._record = Record(
                id=self.id, name=self.name, image=self.spec.image, args=list(self.spec.args), state=self.state, created=time.time(),
                storage=self.spec.storage,
            )
            self._record.write(self._directory)
            detail.append(str(self._directory))
        with self._step("ids.claim") as detail:
            self.id_base = ids.claim(self._home.ids, self.id)
            self._undo.callback(ids.release, self._home.ids, self.id_base)
            detail.append(f"{ids.COUNT} ids of its own, from {self.id_base}")
        with self._step("cgroup.create") as detail:
            self._cgroup: Cgroup = cgroups.create(self.id, self.spec.limits)
            self._undo.callback(self._cgroup.remove)
            detail.append("; ".join(self._cgroup.describe()))
        with self._step("storage.create") as detail:
            self._storage: Storage = storage.create(
                self._directory / "storage", overlays=len(self.image.stacks), owner=self.id_base,
                limit_bytes=self.spec.limits.disk_bytes, kind=self.spec.storage, templates=self._home.templates,
            )
            self._undo.callback(self._storage.remove)
            detail.append(self._storage.describe())

    def _make_directory(self) -> tuple[str, int]:
        """A directory that is locked before a sweep can take it for an abandoned one."""
        while True:
            name = os.urandom(6).hex()
            self._directory = self._home.container(name)
            self._directory.mkdir(mode=0o700)
            lock = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.stat(self._directory).st_ino == os.fstat(lock).st_ino:
                    self._undo.callback(self._remove_directory, lock)
                    return name, lock
            os.close(lock)

    def _remove_directory(self, lock: int) -> None:
        with suppress(FileNotFoundError):
            for name in ("record.json", "record.new"):
                with suppress(FileNotFoundError):
                    (self._directory / name).unlink()
            self._directory.rmdir()
        os.close(lock)

    def start(self, *, stdin: int | None = None, stdout: int | None = None, stderr: int | None = None) -> None:
        """Start the program, and return once it is exec'd. stdin, stdout, stderr: descriptors; None is /dev/null.

        Raises SetupFailed with the step that failed, CommandNotRun (126, 127), or NotAllowed.
        """
        state = after(self.state, Action.START, container=self.name)
        if not (self.spec.args or self.image.args):
            raise InvalidSpec(f"cannot start container {self.name}: no command, and the image names none")
        if self.state is State.STOPPED:
            self._storage.prepare_restart()
        self._close_channel()
        self._killed = self._timed_out = False
        self.outcome = None
        with self._step("seccomp.compile") as detail:
            capabilities = DEFAULT if self.spec.capabilities is None else self.spec.capabilities
            program = seccomp.cached_program(capabilities, self._home.seccomp)
            detail.append(f"docker's default profile, {len(program) // 8} instructions")
        todo = plan(
            replace(self.spec, args=self.spec.args or self.image.args), self.image, hostname=self.hostname,
            init_layer=self._home.init_layer(), id_base=self.id_base, id_count=ids.COUNT, views=self._cgroup.views(), seccomp=program,
            namespaces=namespaces(), rlimits=clamped(self.spec.limits.rlimits),
        )
        self._started = time.monotonic()
        with ExitStack() as closing:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            closing.callback(os.close, null)
            writable = self._storage.open()
            closing.callback(os.close, writable)
            join = self._cgroup.join()
            for fd in (*join.tasks, *((join.into,) if join.into >= 0 else ())):
                closing.callback(os.close, fd)
            stdio = (null if stdin is None else stdin, null if stdout is None else stdout, null if stderr is None else stderr)
            self._channel = launch(todo, lock=self._lock, stdio=stdio, storage=writable, join=join)
        self._await_start(todo)
        self.state = state
        self._write_record()

    def _await_start(self, todo: Plan) -> None:
        channel = self._channel
        if channel is None:
            return
        words = story.details(todo)
        message = channel.receive(_START_SECONDS)
        if message is not None and message[0] == "started":
            self.pid = message[1]
            for name, begin, seconds in message[2]:
                where = "host" if name.startswith("launch.") else "container"
                self._tell(events.Step(name, words.get(name, ""), begin, seconds, where))
            return
        oom = self._cgroup.usage().oom_kills
        self._cgroup.kill()
        last = message
        while last is not None and last[0] not in ("ended", "lost"):
            last = channel.receive(_START_SECONDS)
        self._close_channel()
        self.state = State.STOPPED
        if message is None:
            raise SetupFailed(f"cannot start container {self.name}: no answer within {_START_SECONDS:.0f} s", step="launch")
        raise start_error(self, message, oom_kills=oom)

    def fileno(self) -> int:
        """A descriptor to poll: readable when poll() may have news. Raises NotAllowed before the first start."""
        if self._channel is None:
            raise NotAllowed(f"cannot watch container {self.name}: it does not run")
        return self._channel.socket.fileno()

    def poll(self) -> Outcome | None:
        """How it ended, or None as long as it runs."""
        with suppress(TimeoutError):
            return self.wait(timeout=0)
        return None

    def wait(self, timeout: float | None = None) -> Outcome:
        """Wait until the program has ended. timeout: seconds.

        Raises TimeoutError, or NotAllowed if it was never started.
        """
        end = deadline(timeout)
        with self._receiving:
            while self.outcome is None:
                if self._channel is None:
                    raise NotAllowed(f"cannot wait for container {self.name}: it does not run")
                message = self._channel.receive(None if end is None else end - time.monotonic())
                if message is None:
                    raise TimeoutError(f"container {self.name} still runs")
                if message[0] == "timeout":
                    self._timed_out = True
                    if self.state is State.PAUSED:
                        self._cgroup.thaw()  # a process frozen by cgroup v1 does not even die
                elif message[0] == "ended":
                    self._end(status=message[1], number=message[2])
                elif message[0] == "lost":
                    self._end(status=LOST_STATUS, number=signal.SIGKILL, lost=True)
            return self.outcome

    def _end(self, *, status: int, number: int, lost: bool = False) -> None:
        if lost:
            self._cgroup.kill()
        usage = self.usage()
        self._close_channel()
        why = Why.EXITED
        if self._timed_out:
            why = Why.TIME
        elif self._killed:
            why = Why.KILLED
        elif usage.oom_kills and number == signal.SIGKILL:
            why = Why.MEMORY
        elif lost:
            why = Why.LOST
        self._last_usage = usage
        self.outcome = Outcome(
            status=status, signal=number or None, why=why, seconds=time.monotonic() - self._started, oom_kills=usage.oom_kills,
            memory_limit_bytes=self.spec.limits.memory_bytes, memory_peak_bytes=usage.memory_peak_bytes,
            cpu_seconds=usage.cpu_seconds or 0.0, time_limit_seconds=self.spec.limits.seconds,
        )
        self._tell(events.Step("program.wait", self.outcome.sentence(), self._started, self.outcome.seconds))
        self.state = after(self.state, Action.END, container=self.name)
        self.pid = None
        self._write_record()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the program (SIGKILL: to all of the container). Raises NotAllowed unless it runs."""
        after(self.state, Action.KILL, container=self.name)
        self._killed = self._killed or number in (signal.SIGKILL, signal.SIGTERM)
        if self._channel is not None and self._channel.pidfd >= 0:
            pidfd_send_signal(self._channel.pidfd, number)
        if self.state is State.PAUSED and number == signal.SIGKILL:
            self._cgroup.kill()
            self._cgroup.thaw()

    def stop(self, grace_seconds: float = 10.0) -> Outcome:
        """SIGTERM, and SIGKILL after the grace period; returns how it ended. Raises NotAllowed if it was never started."""
        after(self.state, Action.STOP, container=self.name)
        if self.outcome is not None:
            return self.outcome
        self.kill(signal.SIGTERM)
        if self.state is State.PAUSED:
            self.unpause()
        try:
            return self.wait(grace_seconds)
        except TimeoutError:
            self.kill(signal.SIGKILL)
            return self.wait()

    def pause(self) -> None:
        """Freeze every process where it is. Raises NotAllowed unless it runs."""
        self.poll()
        state = after(self.state, Action.PAUSE, container=self.name)
        self._cgroup.freeze()
        self.state = state
        self._write_record()

    def unpause(self) -> None:
        """Let it go on. Raises NotAllowed unless it is paused."""
        state = after(self.state, Action.UNPAUSE, container=self.name)
        self._cgroup.thaw()
        self.state = state
        self._write_record()

    def update(self, limits: Limits) -> None:
        """Set new limits while it runs. Raises InvalidSpec (memory below present use) or NotSupported."""
        self._cgroup.update(limits)
        self.spec = replace(self.spec, limits=limits)

    def usage(self) -> Usage:
        """What it has used; after its end, what it had used then."""
        return self._last_usage or self._cgroup.usage()

    def remove(self, *, force: bool = False) -> None:
        """Remove the container and all it had; force: kill it first if it runs. Removing twice is no error."""
        if force and self.state in (State.RUNNING, State.PAUSED):
            self.kill(signal.SIGKILL)
            self.wait()
        state = after(self.state, Action.REMOVE, container=self.name)
        start = time.monotonic()
        self._undo_all(None)
        if self.state is not State.REMOVED:
            self._told("container.remove", "group, writable layer, ids and directory are gone", start)
        self.state = state

    def describe(self) -> dict[str, str]:
        """The container in words, for people."""
        limits = self.spec.limits
        return {
            "id": self.id,
            "name": self.name,
            "image": self.image.name,
            "state": str(self.state),
            "limits": story.limits_text(limits.memory_bytes, limits.cpus, limits.pids),
            "network": self.spec.network,
            "storage": self._storage.describe(),
            "ids": f"{self.id_base}-{self.id_base + ids.COUNT - 1} on the host",
        }

    def __enter__(self) -> Self:
        """The container itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remove it, running or not."""
        self.remove(force=True)

    @contextmanager
    def _step(self, name: str) -> Iterator[list[str]]:
        """Time a step; the list it yields collects the words of its detail."""
        start = time.monotonic()
        words: list[str] = []
        yield words
        self._told(name, "; ".join(words), start)

    def _told(self, name: str, detail: str, start: float) -> None:
        self._tell(events.Step(name, detail, start, time.monotonic() - start))

    def _tell(self, step: events.Step) -> None:
        self.timings.append(step)
        events.emit(step)

    def _close_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _undo_all(self, first: BaseException | None) -> None:
        """Undo what was made; a failing undo is added to the first error as a note, never put in its place."""
        try:
            self._undo.close()
        except OSError as error:
            if first is None:
                raise
            first.add_note(f"while clearing up: {error}")

    def _write_record(self) -> None:
        self._record.state = self.state
        self._record.pid = self.pid
        if self.outcome is not None:
            self._record.status = self.outcome.status
            self._record.why = self.outcome.why
        self._record.write(self._directory)


def check_mounts(spec: Spec) -> None:
    """Raise InvalidSpec for a bind whose source is not there."""
    for entry in spec.mounts:
        if entry.source is not None and not os.path.exists(entry.source):
            raise InvalidSpec(f"cannot bind {entry.source} to {entry.target}: no such file or directory on the host")


def namespaces() -> tuple[str, ...]:
    """The namespaces that this kernel has (time came with Linux 5.6)."""
    return tuple(name for name in NAMESPACES if os.path.exists(f"/proc/self/ns/{name}"))


def clamped(rlimits: Mapping[str, tuple[int, int]]) -> tuple[tuple[int, int, int], ...]:
    """(resource, soft, hard) of setrlimit(2), cut to what the host's hard limits allow: raising them needs CAP_SYS_RESOURCE.

    Raises InvalidSpec for a name that setrlimit(2) does not know.
    """
    found = []
    for name, (soft, hard) in rlimits.items():
        number: Any = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            raise InvalidSpec(f"cannot use ulimit={name}: not a resource of setrlimit(2)", hint="nofile, nproc, core, stack ...")
        most = resource.getrlimit(number)[1]
        ceiling = [value if most == resource.RLIM_INFINITY else min(value, most) for value in (soft, hard)]
        found.append((number, ceiling[0], ceiling[1]))
    return tuple(found)


def start_error(container: Container, message: tuple[Any, ...], *, oom_kills: int) -> CellholdError:
    """The error for the first message of a container that did not start."""
    subject = f"cannot start container {container.name}"
    if message[0] == "notrun":
        command = (container.spec.args or container.image.args)[0]
        if message[1] == NOT_FOUND:
            return CommandNotRun(f"cannot run {command!r}: not found in the container", status=message[1], hint=f"the image {container.image.name} has no such program in its PATH")
        return CommandNotRun(f"cannot run {command!r}: {message[2]}", status=message[1], hint="it exists in the image, but is not an executable program")
    if oom_kills:
        return SetupFailed(f"{subject}: its memory limit is too small to start in", step="launch", hint="give it more memory, 16m at least")
    if message[0] == "failed":
        return SetupFailed(f"{subject}: step {message[1]} failed: {message[3]}", step=message[1], errno=message[2], hint="`cellhold doctor` tells what this host can do")
    return SetupFailed(f"{subject}: it ended with status {message[1]} while it was being made", step="launch")


