"""Overlays by fuse-overlayfs(1), for users to whom the kernel refuses its own.

It does for an upper directory on an overlay or NFS, or if it permits overlays to root
only.

Called by rootless.py, in the launcher's user namespace. The mount is made here and
never attached here: once the container's mount namespace is gone, so is the mount, and
with it the process that serves it, whichever other process was killed before.
"""

from __future__ import annotations

import os

from cellhold.linux import mount
from cellhold.linux.pidfd import pidfd_send_signal

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "fuse-overlayfs"
DEVICE = "/dev/fuse"
_SIGKILL = 9
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Served:
    """A mounted overlay: its detached mount, and the process that serves it.

    The process has a pidfd, which is readable once it has ended.
    """

    __slots__ = ("mount", "pid", "pidfd")

    def __init__(self, mount_fd: int, pid: int) -> None:
        """Take over the descriptor."""
        self.mount = mount_fd
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)

    def close(self) -> None:
        """Close the mount; it stays where it was attached, or ends."""
        os.close(self.mount)

    def reap(self) -> None:
        """Reap the process, which has ended or ends now."""
        pidfd_send_signal(self.pidfd, _SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)


def overlay(program: str, *, lowers: Sequence[str | int], upper: str, work: str, volatile: bool) -> Served:
    """Start `program` for read-only directories and a writable layer's two.

    lowers: paths, or descriptors that stay the caller's; topmost first.

    Directories are passed as descriptors, since a path may contain characters that mean
    something else in an option. volatile: as with the kernel's overlay, nothing is
    synced. The kernel checks permissions, by the modes and owners that the program
    reports. Raises OSError.
    """
    opened = [os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)]
    try:
        options: dict[str, str | None] = {
            "fd": str(opened[0]),
            "rootmode": "40000",
            "user_id": "0",
            "group_id": "0",
            "allow_other": None,
            "default_permissions": None,
        }
        made = mount.new_filesystem("fuse", options, attributes=mount.MOUNT_ATTR_NODEV, source=PROGRAM)
        try:
            for directory in (*lowers, upper, work):
                opened.append(_open_directory(directory))  # noqa: PERF401  # what is open already is closed when the next one fails
            first = max(opened) + 1  # above all others, so that dup2 overwrites none that is still to be passed
            numbers = [f"/proc/self/fd/{first + place}" for place in range(1, len(opened))]
            words = f"lowerdir={':'.join(numbers[:-2])},upperdir={numbers[-2]},workdir={numbers[-1]}{',volatile' if volatile else ''}"
            arguments = [program, "-f", "-o", words, f"/dev/fd/{first}"]  # libfuse's way to pass the mount (fuse.h)
            moves = [(os.POSIX_SPAWN_DUP2, fd, first + place) for place, fd in enumerate(opened)]
            quiet = [(os.POSIX_SPAWN_DUP2, 0, 2)]  # its messages about options are of no use to whoever runs a container
            return Served(made, os.posix_spawn(program, arguments, {}, file_actions=moves + quiet))
        except OSError:
            os.close(made)
            raise
    finally:
        for fd in opened:
            os.close(fd)


def _open_directory(directory: str | int) -> int:
    return os.dup(directory) if isinstance(directory, int) else os.open(directory, _DIRECTORY)
