"""The confinement of the process that reads hostile content.

It is what a fresh clone does to itself before it reads the first byte: a user namespace
whose ids are nobody's on the host, no process, network or IPC of anybody else, one
directory as the whole file system, a handful of capabilities over the files in it,
limits on memory and file size, no way to gain privileges, and the seccomp filter that a
container has. A layer that takes over the unpacker can spoil its own directory.
"""

from __future__ import annotations

import os
import resource

from cellhold.linux import mount, process

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from cellhold.layer.worker.job import Job

NAMESPACES = (
    process.CLONE_NEWUSER
    | process.CLONE_NEWNS
    | process.CLONE_NEWNET
    | process.CLONE_NEWIPC
    | process.CLONE_NEWPID
    | process.CLONE_NEWUTS
    | process.CLONE_NEWCGROUP
)
# capabilities(7), by number: own, reach and change files whatever their mode and owner
# are, keep set-id bits, set file capabilities.
_CHOWN, _DAC_OVERRIDE, _DAC_READ_SEARCH, _FOWNER, _FSETID, _SETFCAP = 0, 1, 2, 3, 4, 31
_WRITING = (_CHOWN, _DAC_OVERRIDE, _FOWNER, _FSETID, _SETFCAP)
_READING = (_DAC_READ_SEARCH,)
_STAGING = "/tmp"  # noqa: S108  # only a mount point, seen by this process alone, and covered at once
_SIGKILL = 9
_MOST_DESCRIPTORS = 1024


def confine(job: Job, tree: int) -> None:
    """Confine this process. Raises OSError.

    tree: the detached mount that becomes its root directory.
    """
    become_nobody(single=job["single"])
    change_root(tree)
    limit(job)
    capabilities = sum(1 << number for number in (_WRITING if job["writable"] else _READING))
    process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
    process.set_capabilities(bounding=capabilities, permitted=capabilities)
    if job["seccomp"]:
        process.seccomp(job["seccomp"])


def become_nobody(*, single: bool) -> None:
    """Become root of the new user namespace, which is nobody on the host.

    End with the supervisor (a change of ids forgets that).
    """
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    if not single:  # a namespace of one id has no setgroups(2)
        os.setgroups([])
    process.prctl(process.PR_SET_PDEATHSIG, _SIGKILL)


def change_root(tree: int) -> None:
    """Make the tree the whole file system.

    pivot_root(2), "pivot_root(".", ".")".
    """
    place = os.open(_STAGING, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    mount.move_mount(tree, place)
    os.close(place)
    os.fchdir(tree)
    mount.pivot_root(".", ".")
    mount.umount2(".")
    os.chdir("/")
    os.close(tree)


def limit(job: Job) -> None:
    """Limit memory, the size of a file, open files, core dumps."""
    for kind, value in (
        (resource.RLIMIT_AS, job["memory_bytes"]),
        (resource.RLIMIT_FSIZE, job["file_bytes"]),
        (resource.RLIMIT_CORE, 0),
    ):
        _soft, hard = resource.getrlimit(kind)
        wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (wanted, wanted))
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_MOST_DESCRIPTORS, hard), min(_MOST_DESCRIPTORS, hard)))


def no_more_processes() -> None:
    """Forbid new processes and threads: those that are needed have been started."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
