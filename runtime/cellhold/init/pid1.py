"""PID 1 of a container: becomes it, starts the program, reaps what ends, forwards signals, and tells the launcher.

A signal goes on to the program; one that was queued with the value TO_GROUP (linux/pidfd.py), to all of the program's process group,
as a terminal's Ctrl-C does.

Reports are lines of text, tab-separated, one message each, on a SOCK_SEQPACKET pair whose other end is the launcher's:
    ready  name:start:seconds ...       all steps done, the program is exec'd
    failed step errno text              a step failed; nothing runs
    notrun status text                  126 or 127: the program could not be started
    exited status signal                the program ended
When that socket closes, the launcher is gone, and PID 1 ends: the kernel then kills every process of the container.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the C half of signal: the other half costs an import of enum, 4 ms
import errno
import fcntl
import gc
import os
import select
import time
from struct import unpack_from

from cellhold.init import program
from cellhold.init.steps import STEPS
from cellhold.linux import process
from cellhold.linux.pidfd import SI_QUEUE, TO_GROUP

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn

    from cellhold.init.steps import Becoming

_SIGKILL, _SIGPIPE, _SIGCHLD, _SIGSTOP, _SIGXFSZ = 9, 13, 17, 19, 25
_ALL_SIGNALS = tuple(number for number in range(1, 65) if number not in (_SIGKILL, _SIGSTOP, 32, 33))  # 32, 33: libc's own
_SIGINFO_SIZE = 128
_SIGINFO_WORDS = "I4xi32xi"  # signalfd(2): the number, ssi_code, ssi_int


def main(now: Becoming, report: _socket.socket, stdio: list[int]) -> NoReturn:
    """Become the container and stay until the program has ended; never returns."""
    status = 125
    try:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _ALL_SIGNALS)
        timings = perform(now, report)
        started = time.monotonic()
        pid = start(now, report, stdio)
        timings.append(f"program.exec:{started:.6f}:{time.monotonic() - started:.6f}")
        report.send("\t".join(["ready", *timings]).encode())
        for fd in stdio:
            os.close(fd)
        status = watch(pid, report)
    except SystemExit:
        pass
    except BaseException as error:  # noqa: BLE001  # the border: whatever it is, it must be told and must not return
        tell_failure(report, "init", error)
    os._exit(status)


def perform(now: Becoming, report: _socket.socket) -> list[str]:
    """Do the steps; a failing one is told by name, and ends the process."""
    timings = []
    for name, step in STEPS:
        start = time.monotonic()
        try:
            step(now)
        except Exception as error:  # noqa: BLE001  # the border before exec
            tell_failure(report, name, error)
            raise SystemExit from None
        timings.append(f"{name}:{start:.6f}:{time.monotonic() - start:.6f}")
    process.prctl(process.PR_SET_DUMPABLE, 0)  # no /proc/1/fd, mem or environ for root inside (CVE-2016-9962)
    return timings


def tell_failure(report: _socket.socket, step: str, error: BaseException) -> None:
    """Send the step's name and the reason."""
    number = error.errno or 0 if isinstance(error, OSError) else 0
    text = (error.strerror or str(error)) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    report.send(f"failed\t{step}\t{number}\t{text}"[:4096].encode())


def start(now: Becoming, report: _socket.socket, stdio: list[int]) -> int:
    """Fork the program and wait until it is exec'd: the close-on-exec pipe ends without a word, or says why not."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        os.close(told)
        run(now, tell, stdio)
    os.close(tell)
    words = b""
    while part := os.read(told, 4096):
        words += part
    os.close(told)
    if words:
        os.waitpid(pid, 0)
        report.send(words)
        raise SystemExit
    return pid


def run(now: Becoming, tell: int, stdio: list[int]) -> NoReturn:
    """The child: become the program; what fails before or at the exec is written to `tell`."""
    stage = "program.prepare"
    tell, *stdio = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, len(stdio)) for fd in (tell, *stdio))  # none has a number that another gets
    try:
        for number in (_SIGPIPE, _SIGXFSZ):  # Python ignores these two, and an ignored signal stays so over exec
            _signal.signal(number, _signal.SIG_DFL)
        program.become(now.plan)
        for number, fd in enumerate(stdio):
            os.dup2(fd, number, inheritable=True)
        process.close_on_exec(len(stdio))
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, _ALL_SIGNALS)
        stage = "program.exec"
        program.execute(now.plan)
    except OSError as error:
        if stage == "program.exec":
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            text = f"notrun\t{127 if missing else 126}\t{error.strerror}"
        else:
            text = f"failed\t{stage}\t{error.errno}\t{error.strerror}{f': {error.filename}' if error.filename else ''}"
    except BaseException as error:  # noqa: BLE001  # the border before exec
        text = f"failed\t{stage}\t0\t{error}"
    os.write(tell, text[:4096].encode(errors="replace"))
    os._exit(127)


def watch(program_pid: int, report: _socket.socket) -> int:
    """Reap and forward until the program ends or the launcher is gone; the status to exit with."""
    signals = process.signalfd(_ALL_SIGNALS)
    poll = select.poll()
    poll.register(signals, select.POLLIN)
    poll.register(report, select.POLLHUP)
    while True:
        for fd, _events in poll.poll():
            if fd != signals:
                return 128 + _SIGKILL
            number, code, value = unpack_from(_SIGINFO_WORDS, os.read(signals, _SIGINFO_SIZE))
            if number != _SIGCHLD:
                (os.killpg if (code, value) == (SI_QUEUE, TO_GROUP) else os.kill)(program_pid, number)
                continue
            code = reap(program_pid)
            if code is None:
                continue
            report.send(f"exited\t{code if code >= 0 else 128 - code}\t{max(-code, 0)}".encode())
            return code if code >= 0 else 128 - code


def reap(program_pid: int) -> int | None:
    """Collect every ended child; the program's exit code (negative: a signal) once it is among them."""
    ended = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        if pid == program_pid:
            ended = os.waitstatus_to_exitcode(status)
