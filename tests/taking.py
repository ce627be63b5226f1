"""`python -I -S taking.py WHAT [IDS]`: take all of WHAT that Linux allows.

Print how much it was, and hold it until stdin ends.

IDS: as so many users one after the other, each in a process of its own. A program of
its own, for containers and for the host alike.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
from errno import EAGAIN, EMFILE, ENOSPC

WHAT = ("inotify", "watches", "signals", "timers", "messages")
_FULL = (EAGAIN, EMFILE, ENOSPC)
_REALTIME = 40
_MOST_FILES = 3000

WATCHED = tempfile.TemporaryDirectory()  # until we end: what is removed is watched no more
libc = ctypes.CDLL(None, use_errno=True)


def failed() -> bool:
    """Return whether the last call met a limit."""
    number = ctypes.get_errno()
    if number not in _FULL:
        raise OSError(number, os.strerror(number))
    return True


def inotify() -> int:
    taken = 0
    while libc.inotify_init1(0) >= 0:
        taken += 1
    failed()
    return taken


def watches() -> int:
    """Take all inotify watches, over several instances: each watches a file once."""
    paths = [f"{WATCHED.name}/{number}".encode() for number in range(_MOST_FILES)]
    for path in paths:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
    taken = 0
    while (instance := libc.inotify_init1(0)) >= 0:
        for path in paths:
            if libc.inotify_add_watch(instance, path, 2) < 0 and failed():
                return taken
            taken += 1
    failed()
    return taken


def signals() -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, [_REALTIME])
    taken = 0
    while libc.sigqueue(os.getpid(), _REALTIME, None) == 0:
        taken += 1
    failed()
    return taken


def timers() -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, [_REALTIME])
    event = (ctypes.c_int * 16)(0, 0, _REALTIME, 0)  # struct sigevent: value, signo, notify = SIGEV_SIGNAL
    timer = ctypes.c_void_p()
    taken = 0
    while libc.timer_create(0, event, ctypes.byref(timer)) == 0:
        taken += 1
    failed()
    return taken


def messages() -> int:
    """Take queues of the usual size; their bytes are counted.

    A queue without a name exists as long as it is open.
    """
    taken = 0
    while True:
        name = f"/taking-{os.getpid()}-{taken}".encode()
        if libc.mq_open(name, os.O_CREAT | os.O_RDWR, 0o600, None) < 0:
            failed()
            return taken
        libc.mq_unlink(name)
        taken += 1


def as_others(take: str, ids: int) -> int:
    """Take what so many users can take together, each holding what it has."""
    taken = 0
    for number in range(1, ids + 1):
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.setgid(number)
            os.setuid(number)
            os.write(writing, b"%d" % globals()[take]())
            signal.pause()
        taken += int(os.read(reading, 16))
    return taken


def main(take: str, ids: str = "0") -> None:
    sys.stdout.write(f"{as_others(take, int(ids)) if int(ids) else globals()[take]()}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
