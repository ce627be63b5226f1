"""A rootless container's share of what the kernel counts for its user.

The rest is left to the user's other processes.

As root a container has a range of users of its own, and takes from nobody (cloning.py).
Without root all that it takes is charged to the user who started it: a container gets a
share. Two settings hold it to that, because the kernel counts in each user namespace
for each of its users, and then for the owner of the namespace in the one above:

    maxima      user.max_* of the container's namespace, written by PID 1: for each user
                in it; of the launcher's: for the owner of each container's namespace,
                with subordinate ids another one each (cloning.py)
    rlimits     of the container's processes: for each user in it; of the launcher while
                it clones: for all of them together

What the kernel counts by the user's number alone cannot be shared out: pages in pipes,
watches of epoll(7), descriptors in flight, locked System V memory.
"""

from __future__ import annotations

import os
import resource

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterator

_SHARE = 4  # a quarter: 32 inotify instances where there are 128, two message queues of the usual size
_MAXIMA = "/proc/sys/user"
# The host's own maxima of the same, which a user namespace below the initial one does
# not repeat.
_OF_THE_HOST = {
    "max_inotify_instances": "/proc/sys/fs/inotify/max_user_instances",
    "max_inotify_watches": "/proc/sys/fs/inotify/max_user_watches",
    "max_fanotify_groups": "/proc/sys/fs/fanotify/max_user_groups",
    "max_fanotify_marks": "/proc/sys/fs/fanotify/max_user_marks",
}
COUNTED = (resource.RLIMIT_SIGPENDING, resource.RLIMIT_MSGQUEUE)  # per user, not per process (getrlimit(2))


def maxima() -> dict[str, int]:
    """Return name in /proc/sys/user -> a container's share of this user's.

    Raises OSError.
    """
    return {name: max(min(_values(name)) // _SHARE, 1) for name in sorted(os.listdir(_MAXIMA))}


def _values(name: str) -> Iterator[int]:
    for path in (f"{_MAXIMA}/{name}", _OF_THE_HOST.get(name)):
        if path is not None and os.path.exists(path):
            with open(path, "rb") as file:
                yield int(file.read())


def rlimits() -> list[tuple[int, int, int]]:
    """Return (resource, soft, hard): a container's share of this user's.

    What has no limit is left out.
    """
    ours = ((number, resource.getrlimit(number)[1]) for number in COUNTED)
    return [(number, most // _SHARE, most // _SHARE) for number, most in ours if most != resource.RLIM_INFINITY]


def hold(values: dict[str, int]) -> None:
    """Set the maxima of our user namespace, which takes CAP_SYS_RESOURCE there.

    Raises OSError.
    """
    for name, value in values.items():
        fd = os.open(f"{_MAXIMA}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(value).encode())
        finally:
            os.close(fd)


def lower(wanted: list[tuple[int, int, int]]) -> None:
    """Lower our own soft limits of what is counted per user, as far as listed.

    A clone's namespace inherits them.
    """
    for number, _soft, hard in wanted:
        if number in COUNTED:
            resource.setrlimit(number, (hard, resource.getrlimit(number)[1]))
