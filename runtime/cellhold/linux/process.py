"""Calls on processes.

clone3(2), unshare(2), prctl(2), capget(2), capset(2), seccomp(2), keyctl(2),
signalfd(2), close_range(2).
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_long, c_size_t, c_uint, c_uint64, c_ulong, c_ushort, c_void_p
from struct import pack, unpack

from cellhold.linux.libc import function, syscall

CLONE_NEWTIME = 0x80
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
NAMESPACES = {  # by their names in /proc/PID/ns, without the cgroup namespace, which a process of ours unshares by itself
    "user": CLONE_NEWUSER,
    "pid": CLONE_NEWPID,
    "net": CLONE_NEWNET,
    "mnt": CLONE_NEWNS,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "time": CLONE_NEWTIME,
}
_CLONE_PIDFD = 0x1000
_CLONE_INTO_CGROUP = 0x200000000
_SIGCHLD = 17

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 40
_SECCOMP_SET_MODE_FILTER = 1
_KEYCTL_JOIN_SESSION_KEYRING = 1
_SFD_CLOEXEC = 0o2000000
_CLOSE_RANGE_CLOEXEC = 4

unshare = function("unshare", c_int)
_setns = function("setns", c_int, c_int)
_sethostname = function("sethostname", c_char_p, c_size_t)
_prctl = function("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_capget = function("capget", c_char_p, c_char_p)
_capset = function("capset", c_char_p, c_char_p)
_signalfd = function("signalfd", c_int, c_void_p, c_int)
_close_range = syscall("close_range", c_uint, c_uint, c_uint)
_keyctl = syscall("keyctl", c_int, c_char_p)


class _Arguments(Structure):
    """struct clone_args of clone(2)."""

    _fields_ = tuple(
        (name, c_uint64) for name in "flags pidfd child_tid parent_tid exit_signal stack stack_size tls set_tid set_tid_size cgroup".split()
    )


class _Program(Structure):
    """struct sock_fprog of seccomp(2)."""

    _fields_ = (("len", c_ushort), ("filter", c_char_p))


_clone3 = syscall("clone3", POINTER(_Arguments), c_size_t, hold_gil=True)
_seccomp = syscall("seccomp", c_uint, c_uint, POINTER(_Program))
_before_fork = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_child = ctypes.pythonapi.PyOS_AfterFork_Child
_after_fork_parent = ctypes.pythonapi.PyOS_AfterFork_Parent
for _hook in (_before_fork, _after_fork_child, _after_fork_parent):
    _hook.restype = None
    _hook.argtypes = ()


def clone3(flags: int, *, cgroup_fd: int = -1) -> tuple[int, int]:
    """clone3(2) as a fork into new namespaces.

    Returns (pid, pidfd) in the parent, (0, -1) in the child. Only for a process with
    one thread. libc's own at-fork handlers do not run (it does not know of the call),
    Python's do.
    """
    pidfd = c_int(-1)
    arguments = _Arguments(flags=flags | _CLONE_PIDFD, pidfd=ctypes.addressof(pidfd), exit_signal=_SIGCHLD)
    if cgroup_fd >= 0:
        arguments.flags |= _CLONE_INTO_CGROUP
        arguments.cgroup = cgroup_fd
    _before_fork()
    try:
        pid = _clone3(byref(arguments), ctypes.sizeof(arguments))
    except OSError:
        _after_fork_parent()
        raise
    if pid == 0:
        _after_fork_child()
        return 0, -1
    _after_fork_parent()
    return pid, pidfd.value


def setns(descriptor: int, kind: int) -> None:
    """Move the calling thread into a namespace of that kind (CLONE_NEW*)."""
    _setns(descriptor, kind)


def sethostname(name: str) -> None:
    """sethostname(2)."""
    encoded = name.encode()
    _sethostname(encoded, len(encoded))


def prctl(option: int, argument: int = 0) -> None:
    """prctl(2) with one argument."""
    _prctl(option, argument, 0, 0, 0)


def set_capabilities(*, bounding: int, permitted: int) -> None:
    """Cut the bounding set to the bits of `bounding`.

    Permitted and effective become `permitted`, the other sets empty.
    """
    for number in range(_LAST_CAPABILITY + 1):
        if not bounding >> number & 1:
            prctl(PR_CAPBSET_DROP, number)
    prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    capset(permitted)


def capget() -> int:
    """capget(2) of the calling thread: the permitted set."""
    sets = ctypes.create_string_buffer(24)
    _capget(pack("Ii", _LINUX_CAPABILITY_VERSION_3, 0), sets)
    _, low, _, _, high, _ = unpack("6I", sets.raw)
    permitted: int = low | high << 32
    return permitted


def capset(permitted: int) -> None:
    """capset(2) of the calling thread: set permitted and effective.

    Nothing is inheritable.
    """
    low, high = permitted & 0xFFFFFFFF, permitted >> 32
    _capset(pack("Ii", _LINUX_CAPABILITY_VERSION_3, 0), pack("6I", low, low, 0, high, high, 0))


def seccomp(program: bytes) -> None:
    """seccomp(2) SECCOMP_SET_MODE_FILTER.

    program: an array of struct sock_filter (8 bytes each).
    """
    _seccomp(_SECCOMP_SET_MODE_FILTER, 0, byref(_Program(len(program) // 8, program)))


def join_session_keyring() -> None:
    """keyctl(2) KEYCTL_JOIN_SESSION_KEYRING with a new anonymous keyring."""
    _keyctl(_KEYCTL_JOIN_SESSION_KEYRING, None)


def signalfd(numbers: tuple[int, ...]) -> int:
    """signalfd(2) of blocked signals.

    Reading returns struct signalfd_siginfo, 128 bytes, the number in the first four.
    """
    mask = (c_ulong * (128 // ctypes.sizeof(c_long)))()
    for number in numbers:
        mask[0] |= 1 << (number - 1)
    return _signalfd(-1, byref(mask), _SFD_CLOEXEC)


def close_range(first: int, last: int) -> None:
    """close_range(2)."""
    _close_range(first, last, 0)


def close_on_exec(first: int) -> None:
    """close_range(2) CLOSE_RANGE_CLOEXEC of every descriptor from `first` on."""
    _close_range(first, 0xFFFFFFFF, _CLOSE_RANGE_CLOEXEC)
