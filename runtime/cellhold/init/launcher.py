"""The launcher: a small single-threaded process that makes and watches containers.

Started by `cellhold.container.launcher` as `python -I -S`, because cloning the caller
itself would copy its page tables (100 ms for 2 GB) and fork its threads. It ends when
the caller does, takes its containers with it, and sweeps up after them.

    caller    --(control, SOCK_SEQPACKET: a Request with descriptors)-->     launcher
    launcher  --(clone3)-->                                                  PID 1
    PID 1     --(report: lines of text)-->                                   launcher
    launcher  --(channel, one per container: marshalled tuples)-->           caller

What a request consists of, and what is done for it, is in steps/launch.py. The channel
carries ("handed",) with directories for the caller (pid1.py), ("started", pid, timings)
with a pidfd and the other end of the program's terminal if it has one, ("failed", step,
errno, text), ("notrun", status, text), ("timeout",), ("ended", status, signal). What
the caller sends on it goes on to PID 1, with its descriptors. Closing the channel kills
the container.
"""

from __future__ import annotations

import _socket
import marshal
import os
import select
import sys
import time
from struct import pack, unpack

from cellhold.init import pid1, prepare
from cellhold.init.prepare import MOST_DESCRIPTORS
from cellhold.init.steps import LAUNCHER_STEPS
from cellhold.init.steps.launch import CLONE, Launch, Request
from cellhold.init.steps.root import ContainerSetup
from cellhold.init.steps.step import StepFailed, format_failure, perform
from cellhold.linux import process
from cellhold.linux.pidfd import pidfd_send_signal

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from cellhold.init.fuse import Served
    from cellhold.init.plan import Plan
    from cellhold.init.prepare import Privileged

_PREPARE = "launch.prepare"  # what fails between the clone and its start message is one step for the caller
_LONGEST_POLL = 1_000_000_000  # milliseconds; poll(2) counts them in 31 bits
_SIGKILL = 9
_SIGNALED = 128
_INT = 4
_PF_EXITING = 0x4  # linux/sched.h
_DYING_SECONDS = 60.0  # machines that pause for seconds have been seen


class Watched:
    """A container that was cloned.

    Its PID 1, the report socket from it, the channel to the caller, and its deadline.
    """

    def __init__(self, pid: int, pidfd: int, report: _socket.socket, channel: _socket.socket, lock: int) -> None:
        """Take over the descriptors.

        `lock` is only held, so that nobody sweeps the container while it runs.
        """
        self.pid = pid
        self.pidfd = pidfd
        self.report = report
        self.channel = channel
        self.lock = lock
        self.seconds: float | None = None
        self.deadline: float | None = None
        self.ended: tuple[int, int] | None = None
        self.timings: list[tuple[str, float, float]] = []

    def fail(self, step: str, reason: Exception) -> None:
        """Send the caller the name of the step that failed, and why."""
        self.send("failed", step, *format_failure(reason))

    def send(self, *message: Any, fds: tuple[int, ...] = ()) -> None:
        """Send the caller a tuple; that a caller is gone is noticed elsewhere."""
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack(f"{len(fds)}i", *fds))] if fds else []
        try:
            self.channel.sendmsg([marshal.dumps(message)], ancillary, _socket.MSG_DONTWAIT)
        except OSError:
            return


class Launcher:
    """The loop: requests, reports, exits, deadlines."""

    def __init__(self, control: _socket.socket, host: Privileged) -> None:
        """Serve the requests that come on `control`, with the help of `host`.

        host: prepares what they need of the host (prepare.py).
        """
        self.control = control
        self.host = host
        self.poll = select.poll()
        self.poll.register(control, select.POLLIN)
        self.watched: dict[int, Watched] = {}  # by each descriptor that is polled for it
        self.serving: dict[int, Served] = {}  # overlays' processes by pidfd
        self.caller_closed = False  # whether the caller closed the channel of a running container, as when it dies
        self.left: bool | None = None  # once there is nothing more to serve: whether there was something to sweep up

    def serve(self) -> bool:
        """Work until the caller closes its end, then kill what is left.

        Returns True if there was something left to sweep up.
        """
        while self.left is None:
            for fd, events in self.poll.poll(self.poll_timeout()):
                if fd == self.control.fileno():
                    if not self.request():
                        self.left = self.end_all()
                        break
                elif watched := self.watched.get(fd):
                    self.dispatch(watched, fd)
                elif served := self.serving.pop(fd, None):
                    self.poll.unregister(fd)
                    served.reap()
                else:
                    self.dispatch_other(fd, events)
            self.enforce_deadlines()
        return self.left

    def dispatch_other(self, fd: int, events: int) -> None:
        """Serve another ready descriptor: the monitor has some, the launcher none."""

    def poll_timeout(self) -> float | None:
        """Return the milliseconds until the next deadline; None where there is none."""
        deadlines = [watched.deadline for watched in self.watched.values() if watched.deadline is not None]
        return min(max((min(deadlines) - time.monotonic()) * 1000, 0) + 1, _LONGEST_POLL) if deadlines else None

    def enforce_deadlines(self) -> None:
        """Kill the containers whose wall time is up."""
        for watched in set(self.watched.values()):
            if watched.deadline is not None and watched.deadline <= time.monotonic():
                watched.deadline = None
                watched.send("timeout")
                pidfd_send_signal(watched.pidfd, _SIGKILL)

    def request(self) -> bool:
        """Take one request; return False when the caller has gone."""
        message, fds = receive(self.control)
        if not message:
            return False
        if not fds:  # there was no room for more descriptors; the caller sees its channel close
            return True
        request = Request.decode(message, fds)
        channel = _socket.socket(fileno=request.channel)
        overlays: list[Served] = []
        try:
            plan: Plan = marshal.loads(os.pread(request.plan, os.fstat(request.plan).st_size, 0))  # noqa: S302  # from our own caller
            prepare.adopt_held(plan, request.trees)
            request.storage = self.host.writable(plan, request.storage)
            overlays = self.host.overlays(plan)
            self.launch(plan, request, channel, [served.mount for served in overlays])
        except OSError as error:
            self.refuse(channel, request.lock, error)
        finally:
            request.close_used()
            for served in overlays:
                served.close()
                self.serving[served.pidfd] = served
                self.poll.register(served.pidfd, select.POLLIN)
        return True

    def refuse(self, channel: _socket.socket, lock: int, reason: Exception) -> None:
        """Tell the caller why there is no container, and close what it would have kept."""
        refused = Watched(-1, -1, channel, channel, lock)
        refused.fail(CLONE.name, reason)
        refused.send("ended", 125, 0)
        channel.close()
        os.close(lock)

    def launch(self, plan: Plan, request: Request, channel: _socket.socket, overlays: list[int]) -> None:
        """Perform the launcher's steps and watch the container from then on."""
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
        launch = Launch(plan, request, self.host, overlays=overlays, report=ours, descend=lambda: descend(plan, request, theirs))
        timings, failure = [], None
        try:
            timings = perform(LAUNCHER_STEPS, launch)
        except StepFailed as failed:
            failure = failed.reason
        theirs.close()
        if failure is not None and launch.pid < 0:
            ours.close()
            self.refuse(channel, request.lock, failure)
            return
        watched = Watched(launch.pid, launch.pidfd, ours, channel, request.lock)
        self.watched |= dict.fromkeys((launch.pidfd, ours.fileno(), channel.fileno()), watched)
        self.poll.register(ours, select.POLLIN)
        self.poll.register(channel, select.POLLIN)
        self.poll.register(launch.pidfd, select.POLLIN)
        watched.seconds = plan["seconds"]
        watched.timings = timings
        if failure is not None:
            watched.fail(_PREPARE, failure)
            pidfd_send_signal(launch.pidfd, _SIGKILL)

    def dispatch(self, watched: Watched, fd: int) -> None:
        """Serve a descriptor of a container: a report, its exit, or its caller's channel."""
        if fd == watched.report.fileno():
            self.read_reports(watched)
        elif fd == watched.pidfd:
            self.read_reports(watched)
            self.reap(watched)
        elif fd == watched.channel.fileno() and not self.forward_request(watched, watched.channel):
            self.unwatch(fd)
            self.caller_closed = True
            pidfd_send_signal(watched.pidfd, _SIGKILL)

    def forward_request(self, watched: Watched, channel: _socket.socket) -> bool:
        """Forward a request to PID 1 (pid1.py); return False if the channel closed."""
        words, fds = receive(channel)
        if fds:
            self.forward(watched, fds)
        return bool(words)

    def forward(self, watched: Watched, fds: list[int]) -> None:
        """Send PID 1 descriptors, which are closed here."""
        try:
            prepare.send_descriptors(watched.report, fds, flags=_socket.MSG_DONTWAIT)  # a frozen PID 1 holds nobody up
        except OSError:  # it is ending, or does not keep up: the caller sees that nobody has the other ends
            return
        finally:
            for fd in fds:
                os.close(fd)

    def read_reports(self, watched: Watched) -> None:
        """Forward the reports of PID 1 to the caller."""
        while True:
            try:
                message, fds = receive(watched.report, _socket.MSG_DONTWAIT)
            except OSError:
                return
            words = message.decode(errors="replace").split("\t")
            if words[0] == "ready":
                timings = watched.timings + [parse_timing(word) for word in words[1:]]
                watched.send("started", watched.pid, timings, fds=(watched.pidfd, *fds))
                self.program_started(fds)
                if watched.seconds is not None:
                    watched.deadline = time.monotonic() + watched.seconds
            elif words[0] == "handed":
                watched.send("handed", fds=tuple(fds))
                for fd in fds:
                    os.close(fd)
            elif words[0] == "failed":
                watched.send("failed", words[1], int(words[2]), words[3])
            elif words[0] == "notrun":
                watched.send("notrun", int(words[1]), words[2])
            elif words[0] == "exited":
                watched.ended = (int(words[1]), int(words[2]))
            else:
                self.unwatch(watched.report.fileno())
                return

    def program_started(self, terminal: list[int]) -> None:
        """Close our end of its terminal: the program runs, the caller has that end."""
        for fd in terminal:
            os.close(fd)

    def reap(self, watched: Watched) -> None:
        """Reap PID 1; send the reported exit, or the signal that ended it first."""
        _pid, status = os.waitpid(watched.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        watched.ended = watched.ended or ((_SIGNALED - code, -code) if code < 0 else (code, 0))
        watched.send("ended", *watched.ended)
        for fd in (watched.report.fileno(), watched.pidfd, watched.channel.fileno()):
            self.unwatch(fd)
        watched.report.close()
        watched.channel.close()
        os.close(watched.pidfd)
        os.close(watched.lock)

    def unwatch(self, fd: int) -> None:
        """Stop polling a descriptor."""
        if self.watched.pop(fd, None) is not None:
            self.poll.unregister(fd)

    def end_all(self) -> bool:
        """Kill every container and wait for it.

        Return False if there was none, and no caller has closed a channel before.
        """
        left = set(self.watched.values())
        for watched in left:
            pidfd_send_signal(watched.pidfd, _SIGKILL)
        for watched in left:
            os.waitpid(watched.pid, 0)
            os.close(watched.lock)
        for served in self.serving.values():
            served.reap()
        return bool(left) or self.caller_closed


def receive(channel: _socket.socket, flags: int = 0) -> tuple[bytes, list[int]]:
    """Receive the next message and its descriptors.

    There are none where not all had room, or the other end is gone.
    """
    try:
        words, ancillary, flags, _address = channel.recvmsg(
            16384, _socket.CMSG_SPACE(MOST_DESCRIPTORS * _INT), _socket.MSG_CMSG_CLOEXEC | flags
        )
    except ConnectionResetError:  # it was closed with a message of ours unread (unix(7)): an end like any other
        return b"", []
    fds = [fd for _level, _kind, data in ancillary for fd in unpack(f"{len(data) // _INT}i", data[: len(data) // _INT * _INT])]
    if flags & _socket.MSG_CTRUNC:
        for fd in fds:
            os.close(fd)
        return words, []
    return words, fds


def descend(plan: Plan, request: Request, report: _socket.socket) -> NoReturn:
    """Become PID 1: called in the clone, never returns.

    Drops every descriptor that is not its own, and waits until its ids are mapped and
    its mounts arrive.
    """
    try:
        os.dup2(0, 2)  # 0 and 1 are /dev/null already; none of the three may be free, or a pipe of PID 1 would get its number
        gate = request.network if plan["network"] == prepare.WIRED else -1
        keep = sorted({0, 1, 2, report.fileno(), request.storage, *request.stdio, *request.tasks, gate} - {-1})
        for before, after in zip([-1, *keep], [*keep, 1 << 30], strict=True):
            if after - before > 1:
                process.close_range(before + 1, after - 1)
        _word, ancillary, _flags, _address = report.recvmsg(16, _socket.CMSG_SPACE(256 * _INT), _socket.MSG_CMSG_CLOEXEC)
        mounts = [fd for _level, _kind, data in ancillary for fd in unpack(f"{len(data) // _INT}i", data)]
        if mounts:  # otherwise the launcher is gone, or its preparation failed
            overlays = len(plan["overlays"]) if plan["overlay_program"] else 0
            sysfs = mounts.pop() if plan["network"] == prepare.SHARED else -1
            dev = mounts.pop()
            setup = ContainerSetup(
                plan,
                tasks=request.tasks,
                storage=request.storage,
                overlays=mounts[:overlays],
                trees=mounts[overlays:],
                dev=dev,
                sysfs=sysfs,
                gate=gate,
            )
            pid1.main(setup, report, request.stdio)
    finally:
        os._exit(125)


def parse_timing(word: str) -> tuple[str, float, float]:
    """Parse "name:start:seconds" to (name, start, seconds)."""
    name, start, seconds = word.split(":")
    return name, float(start), float(seconds)


def is_dying(pid: int) -> bool:
    """Return whether a process is exiting (proc_pid_stat(5)).

    It closes its descriptors one by one then: first the socket, by which we hear of it,
    and later the locks of its containers.
    """
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        flags = os.read(fd, 4096).rpartition(b") ")[2].split()[6]
    except (OSError, IndexError):
        return False
    finally:
        os.close(fd)
    return bool(int(flags) & _PF_EXITING)


def main() -> None:
    """Run the launcher of a caller who is root; others start rootless.py."""
    begin()
    serve(prepare.Privileged())


def begin() -> None:
    """Drop what is not ours: descriptors, the caller's command line and umask."""
    process.close_range(4, 1 << 30)
    prepare.set_title(b"cellhold-init")
    os.umask(0o022)


def serve(host: Privileged) -> None:
    """Serve the caller on descriptor 3; in the end sweep up after its containers."""
    caller = os.getppid()
    if not Launcher(_socket.socket(fileno=3), host).serve():
        return
    until = time.monotonic() + _DYING_SECONDS
    while os.getppid() == caller and is_dying(caller) and time.monotonic() < until:
        time.sleep(0.001)
    path = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = f"import sys; sys.path.append({path!r}); from cellhold.container.recovery import sweep; sweep()"
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", code])
