"""End a helper with its starter: a pipe whose writing end only the starter has.

However the starter ends, by SIGKILL too, the kernel closes that end, and then sends
SIGKILL to the helper's process group: fcntl(2), F_SETOWN and F_SETSIG on the reading
end, which the helper keeps open. (PR_SET_PDEATHSIG comes when the *thread* that forked
ends, reaches one process, and not what that has started.) What has left the group, a
daemon, is not reached.

Called by helper.start() and, in a helper that is a Python of ours, before anything else
there. Any other program is tied once it has been started: a starter that is killed in
that moment leaves it. The small Pythons start with this: it loads next to nothing.
"""

from __future__ import annotations

import fcntl
import os

VARIABLE = "CELLHOLD_LIFELINE"  # a helper's environment: the number of its reading end
_F_SETSIG = 10
_SIGKILL = 9


def tie(reading: int, owner: int) -> None:
    """Have the kernel kill `owner` when the last writing end of the pipe is closed.

    owner: a process or (negative) a group.
    """
    fcntl.fcntl(reading, _F_SETSIG, _SIGKILL)
    fcntl.fcntl(reading, fcntl.F_SETOWN, owner)
    fcntl.fcntl(reading, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)


def cut(reading: int, writing: int) -> None:
    """Close both ends, in the order that kills what is left of the group.

    It does so also if the helper itself has ended.
    """
    os.close(writing)
    os.close(reading)


def hold() -> None:
    """Take over the lifeline, in the helper.

    The starter may have ended before it could `tie`, and our own children do not
    inherit it.
    """
    number = os.environ.pop(VARIABLE, "")
    if not number:
        return
    reading, pid = int(number), os.getpid()
    os.set_inheritable(reading, False)
    tie(reading, -pid if os.getpgrp() == pid else pid)
    try:
        os.read(reading, 1)
    except BlockingIOError:
        return
    os.kill(pid, _SIGKILL)
