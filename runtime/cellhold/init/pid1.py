"""PID 1 of a container: becomes it, starts the program, reaps, forwards signals.

A signal goes on to the program; one that was queued with the value TO_GROUP
(linux/pidfd.py), to all of the program's process group, as a terminal's Ctrl-C does.

Reports are lines of text, tab-separated, one message each, on a SOCK_SEQPACKET pair
whose other end is the launcher's:

    handed                         with the descriptors of the directories that the
                                   caller is to have; before the next one
    ready  name:start:seconds ...  all steps done, the program is exec'd; with the other
                                   end of its terminal if it has one
    failed step errno text         a step failed; nothing runs
    notrun status text             126 or 127: the program could not be started
    exited status signal           the program ended

When that socket closes, the launcher is gone, and PID 1 ends: the kernel then kills
every process of the container.

What comes on it asks for one more process in here (`docker exec`), as descriptors: what
differs from the program's plan (a memfd), a channel of its own for the same reports,
and its 0, 1, 2 and so on, none for a terminal. On that channel a signal is a byte. With
"carry" in the plan the process is one of ours (file_transfer.py). A plan without args
has no program: PID 1 waits until it is killed.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the C half of signal: the other half costs an import of enum, 4 ms
import _socket
import errno
import fcntl
import gc
import marshal
import os
import select
import time
from struct import pack, unpack, unpack_from

from cellhold.init import file_transfer, terminal
from cellhold.init.steps import PID1_STEPS, program
from cellhold.init.steps.step import StepFailed, format_failure, perform
from cellhold.linux import process
from cellhold.linux.pidfd import SI_QUEUE, TO_GROUP

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from typing import NoReturn

    from cellhold.init.plan import Plan
    from cellhold.init.steps.root import ContainerSetup

_SIGKILL, _SIGPIPE, _SIGCHLD, _SIGSTOP, _SIGXFSZ = 9, 13, 17, 19, 25
_ALL_SIGNALS = tuple(number for number in range(1, 65) if number not in (_SIGKILL, _SIGSTOP, 32, 33))  # 32, 33: libc's own
_SIGINFO_SIZE = 128
_NOBODY = 0
_SIGINFO_WORDS = "I4xi32xi"  # signalfd(2): the number, ssi_code, ssi_int


def main(setup: ContainerSetup, report: _socket.socket, stdio: list[int]) -> NoReturn:
    """Become the container and stay until the program has ended; never return."""
    status = 125
    try:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _ALL_SIGNALS)
        timings = perform(PID1_STEPS, setup)
        process.prctl(process.PR_SET_DUMPABLE, 0)  # no /proc/1/fd, mem or environ for root inside (CVE-2016-9962)
        started = time.monotonic()
        pid, words, master = start(setup.plan, stdio) if setup.plan["args"] else (_NOBODY, b"", -1)
        if words:
            report.send(words)
        else:
            timings.append((program.EXEC.name, started, time.monotonic() - started))
            if setup.handed:
                send_report(report, "handed", *setup.handed)
            send_report(report, "\t".join(["ready", *(f"{name}:{start:.6f}:{seconds:.6f}" for name, start, seconds in timings)]), master)
            for fd in stdio:
                os.close(fd)
            status = Watch(setup.plan, pid, report).run()
    except StepFailed as failed:
        send_failure(report, failed.step, failed.reason)
    except BaseException as error:  # noqa: BLE001  # the border: whatever it is, it must be told and must not return
        send_failure(report, "init", error)
    os._exit(status)


def send_failure(report: _socket.socket, step: str, error: BaseException) -> None:
    """Send the step's name and the reason."""
    number, text = format_failure(error)
    report.send(f"failed\t{step}\t{number}\t{text}"[:4096].encode())


def send_report(report: _socket.socket, words: str, *wanted: int) -> None:
    """Send a report with descriptors, which are closed here; -1 is none."""
    fds = [fd for fd in wanted if fd >= 0]
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack(f"{len(fds)}i", *fds))] if fds else []
    report.sendmsg([words.encode()], ancillary)
    for fd in fds:
        os.close(fd)


def start(plan: Plan, stdio: list[int]) -> tuple[int, bytes, int]:
    """Fork a process and wait until it is exec'd.

    The close-on-exec pipe ends without a word then, or says what failed. Returns its
    pid, those words, and the other end of its terminal, -1 without one.
    """
    master, slave = terminal.open_pair(*plan["terminal"]) if plan["terminal"] else (-1, -1)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        run_program(plan, writing, stdio if slave < 0 else [slave] * 3)
    os.close(writing)
    if slave >= 0:
        os.close(slave)
    words = b""
    while part := os.read(reading, 4096):
        words += part
    os.close(reading)
    if words:
        os.waitpid(pid, 0)
        if master >= 0:
            os.close(master)
            master = -1
    return pid, words, master


def run_program(plan: Plan, failure: int, stdio: list[int]) -> NoReturn:
    """Become the program, in the child.

    What fails before or at the exec is written to `failure`.
    """
    stage = "program.prepare"
    failure, *stdio = (
        fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, len(stdio)) for fd in (failure, *stdio)
    )  # none has a number that another one is moved to
    try:
        for number in (_SIGPIPE, _SIGXFSZ):  # Python ignores these two, and an ignored signal stays so over exec
            _signal.signal(number, _signal.SIG_DFL)
        program.become(plan, terminal=stdio[0] if plan["terminal"] else -1)
        for number, fd in enumerate(stdio):
            os.dup2(fd, number, inheritable=True)
        process.close_on_exec(len(stdio))
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, _ALL_SIGNALS)
        stage = program.EXEC.name
        program.EXEC.perform(plan)
    except OSError as error:
        if stage == program.EXEC.name:
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            text = f"notrun\t{127 if missing else 126}\t{error.strerror}"
        else:
            text = f"failed\t{stage}\t{error.errno}\t{error.strerror}{f': {error.filename}' if error.filename else ''}"
    except BaseException as error:  # noqa: BLE001  # the border before exec
        text = f"failed\t{stage}\t0\t{error}"
    os.write(failure, text[:4096].encode(errors="replace"))
    os._exit(127)


def start_file_transfer(plan: Plan, stdio: list[int]) -> int:
    """Fork a process of ours that copies files.

    It stays as inaccessible to others as PID 1.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = file_transfer.serve(plan["carry"], stdio)
        finally:
            os._exit(status)
    return pid


class Watch:
    """What PID 1 does as long as the program runs."""

    def __init__(self, plan: Plan, program_pid: int, report: _socket.socket) -> None:
        """Start with signals blocked."""
        self.plan, self.program_pid, self.report = plan, program_pid, report
        self.entered: dict[int, _socket.socket] = {}  # the channels of those that came later, by pid
        self.signals = process.signalfd(_ALL_SIGNALS)
        self.poll = select.poll()
        self.poll.register(self.signals, select.POLLIN)
        self.poll.register(report, select.POLLIN)

    def run(self) -> int:
        """Reap and forward until the program ends or the launcher is gone.

        Returns the exit status.
        """
        while True:
            for fd, _events in self.poll.poll():
                if fd == self.report.fileno():
                    if not self.start_requested():
                        return 128 + _SIGKILL
                elif fd != self.signals:
                    self.forward_signal(fd)
                elif (code := self.read_signal()) is not None:
                    status = code if code >= 0 else 128 - code
                    self.report.send(f"exited\t{status}\t{max(-code, 0)}".encode())
                    return status

    def read_signal(self) -> int | None:
        """Read a signal; return the program's exit code once it has ended.

        Negative: a signal.
        """
        number, code, value = unpack_from(_SIGINFO_WORDS, os.read(self.signals, _SIGINFO_SIZE))
        if number != _SIGCHLD:
            if self.program_pid != _NOBODY:
                (os.killpg if (code, value) == (SI_QUEUE, TO_GROUP) else os.kill)(self.program_pid, number)
            return None
        ended = reap_all()
        for pid in self.entered.keys() & ended.keys():
            channel = self.entered.pop(pid)
            self.unregister(channel.fileno())
            send_if_open(channel, f"exited\t{ended[pid] if ended[pid] >= 0 else 128 - ended[pid]}\t{max(-ended[pid], 0)}".encode())
            channel.close()
        return ended.get(self.program_pid)

    def start_requested(self) -> bool:
        """Start what the launcher asks for; return False once it is gone."""
        words, ancillary, _flags, _address = self.report.recvmsg(16, _socket.CMSG_SPACE(64 * 4), _socket.MSG_CMSG_CLOEXEC)
        fds = [fd for _level, _kind, data in ancillary for fd in unpack(f"{len(data) // 4}i", data)]
        if not fds:
            return bool(words)
        wanted, channel_fd, *stdio = fds
        channel = _socket.socket(fileno=channel_fd)
        try:
            plan: Plan = {**self.plan, **marshal.loads(os.pread(wanted, os.fstat(wanted).st_size, 0))}  # noqa: S302  # from our own caller
            plan["env"] = {**self.plan["env"], **plan["env"]}
            pid, failure, master = start(plan, stdio) if "carry" not in plan else (start_file_transfer(plan, stdio), b"", -1)
            if failure:
                channel.send(failure)
                channel.close()
            else:
                self.entered[pid] = channel
                self.poll.register(channel, select.POLLIN)
                send_report(channel, "ready", master)
        except Exception as error:  # noqa: BLE001  # who asked is told; the container goes on
            send_if_open(channel, f"failed\tprogram.enter\t0\t{error}"[:4096].encode(errors="replace"))
        finally:
            for fd in (wanted, *stdio):
                os.close(fd)
        return True

    def forward_signal(self, fd: int) -> None:
        """Send a signal to the process that the channel belongs to.

        Unless it has just ended; whoever asked for it may also be gone.
        """
        for pid, channel in self.entered.items():
            if channel.fileno() == fd:
                try:
                    number = channel.recv(1, _socket.MSG_DONTWAIT)
                except BlockingIOError:  # the event was of one that had this number before
                    continue
                except OSError:
                    number = b""
                if number:
                    os.kill(pid, number[0])
                else:
                    self.unregister(fd)

    def unregister(self, fd: int) -> None:
        """Stop polling a channel."""
        try:
            self.poll.unregister(fd)
        except KeyError:
            return


def send_if_open(channel: _socket.socket, words: bytes) -> None:
    """Send a report if the other end is open."""
    try:
        channel.send(words, _socket.MSG_DONTWAIT)
    except OSError:
        return


def reap_all() -> dict[int, int]:
    """Reap every ended child: exit codes (negative: a signal) by pid."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = os.waitstatus_to_exitcode(status)
