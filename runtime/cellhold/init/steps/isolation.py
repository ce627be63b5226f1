"""Steps of PID 1: what separates it from the host, but for its mounts.

Its groups, ids and namespaces, its network, its capabilities and the seccomp filter.
"""

from __future__ import annotations

import _socket
import os

from cellhold.init import shares
from cellhold.init.prepare import OWN, SHARED, WIRED, send_descriptors
from cellhold.init.steps.step import Step
from cellhold.linux import process
from cellhold.linux.netdevice import set_up

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.init.plan import Plan
    from cellhold.init.steps.root import ContainerSetup

_ECONNABORTED = 103
_FIRST_PORT = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
_HANDED_OUT = ("/proc/self/ns/net", "/proc/self/ns/user")
# What PID 1 itself needs beyond the program's set: signals to it, and to give the
# program another user (capabilities(7)).
_CAP_KILL, _CAP_SETGID, _CAP_SETUID = 5, 6, 7


def _join_cgroups(setup: ContainerSetup) -> None:
    """Enter the v1 groups.

    PID 1 does it itself: unlike the write of a pid, that of "0" does not wait for an
    RCU grace period.
    """
    for fd in setup.tasks:
        os.write(fd, b"0")
        os.close(fd)


JOIN_CGROUPS = Step(
    "cgroup.join",
    _join_cgroups,
    lambda _plan: 'write "0" to its own groups\' tasks',
    lambda _plan: ['write("tasks", "0")  in each v1 hierarchy; on v2 clone3 has put it into its group'],
)


def _become_root(setup: ContainerSetup) -> None:
    """Become uid and gid 0 of the new user namespace.

    On the host that is the first id of the range.
    """
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    if setup.plan["id_count"] > 1:  # a namespace of one id has no setgroups(2)
        os.setgroups([])


BECOME_ROOT = Step(
    "user.root",
    _become_root,
    lambda plan: f"setresuid, setresgid: root inside, {'nobody' if plan['id_base'] else 'you'} on the host",
    lambda plan: ["setresgid(0, 0, 0)", "setresuid(0, 0, 0)", *(["setgroups(0, [])"] if plan["id_count"] > 1 else [])],
)


def _unshare_cgroup(_setup: ContainerSetup) -> None:
    """Create a cgroup namespace whose root is the group that we have just entered."""
    process.unshare(process.CLONE_NEWCGROUP)


UNSHARE_CGROUP = Step(
    "cgroup.namespace",
    _unshare_cgroup,
    lambda _plan: "unshare: its group looks like the root of the cgroup tree",
    lambda _plan: ["unshare(CLONE_NEWCGROUP)"],
)


def _set_hostname(setup: ContainerSetup) -> None:
    process.sethostname(setup.plan["hostname"])


SET_HOSTNAME = Step(
    "uts.hostname",
    _set_hostname,
    lambda plan: f"sethostname {plan['hostname']}",
    lambda plan: [f'sethostname("{plan["hostname"]}")'],
)


def _take_shares(setup: ContainerSetup) -> None:
    """Without root: take a share of what the kernel counts for the user (shares.py)."""
    shares.hold(setup.plan["maxima"])
    shares.lower(setup.plan["rlimits"])


def _describe_shares(plan: Plan) -> str:
    return "a share of what the kernel counts for you" if plan["maxima"] else "nobody else's ids: nothing to share"


TAKE_SHARES = Step(
    "user.shares",
    _take_shares,
    _describe_shares,
    lambda plan: [f'write("/proc/sys/user/{name}", "{value}")' for name, value in plan["maxima"].items()],
)


def _offer_network(setup: ContainerSetup) -> None:
    """Send our network namespace and the user namespace that owns it to our caller.

    The caller connects it while we go on.
    """
    if setup.gate < 0:
        return
    fds = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in _HANDED_OUT]
    send_descriptors(_socket.socket(fileno=os.dup(setup.gate)), fds, b"network")
    for fd in fds:
        os.close(fd)


OFFER_NETWORK = Step(
    "network.offer",
    _offer_network,
    lambda plan: {
        OWN: "nobody connects it",
        WIRED: "its network namespace, handed out to be connected",
        SHARED: "the network namespace is somebody else's",
    }[plan["network"]],
    lambda plan: ['sendmsg(gate, SCM_RIGHTS: "/proc/self/ns/net", "/proc/self/ns/user")'] if plan["network"] == WIRED else [],
)


def _set_up_loopback(setup: ContainerSetup) -> None:
    """Bring lo up: the debugger of a kernel and many tests talk to 127.0.0.1.

    Without a network there is no other device. Any port may be bound by anybody inside,
    as Docker does: those below 1024 are no privilege of a host's here.
    """
    if setup.plan["network"] == SHARED:
        return
    set_up("lo")
    try:
        fd = os.open(_FIRST_PORT, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # before Linux 4.11
        return
    os.write(fd, b"0")
    os.close(fd)


def _loopback_syscalls(plan: Plan) -> list[str]:
    if plan["network"] == SHARED:
        return []
    return ['ioctl(SIOCSIFFLAGS, {ifr_name="lo", ifr_flags=IFF_UP})', f'write("{_FIRST_PORT}", "0")']


SET_UP_LOOPBACK = Step(
    "network.loopback",
    _set_up_loopback,
    lambda plan: {
        OWN: "lo up; there is no other interface",
        WIRED: "lo up",
        SHARED: "nothing of it is changed",
    }[plan["network"]],
    _loopback_syscalls,
)


def _await_network(setup: ContainerSetup) -> None:
    """Wait until our caller has connected us.

    The gate stays open as long as we live: whoever holds its other end sees our end.
    """
    if setup.gate >= 0 and not os.read(setup.gate, 1):
        raise ConnectionAbortedError(_ECONNABORTED, "the container was not connected")


AWAIT_NETWORK = Step(
    "network.await",
    _await_network,
    lambda plan: "wait for the cable" if plan["network"] == WIRED else "nothing to wait for",
    lambda plan: ["read(gate, 1)"] if plan["network"] == WIRED else [],
)


def _drop_privileges(setup: ContainerSetup) -> None:
    """Join a session keyring of our own, set no_new_privs, and drop capabilities.

    Those of the plan are kept, and the three that PID 1 needs.
    """
    process.join_session_keyring()
    process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
    bounding = setup.plan["bounding"]
    process.set_capabilities(bounding=bounding, permitted=bounding | 1 << _CAP_KILL | 1 << _CAP_SETGID | 1 << _CAP_SETUID)


def _describe_privileges(plan: Plan) -> str:
    from cellhold.linux.capabilities import NUMBERS  # noqa: PLC0415  # names are for people: PID 1 does not pay for them

    kept = sorted(name.removeprefix("CAP_") for name, number in NUMBERS.items() if plan["bounding"] >> number & 1)
    return f"no_new_privs; new session keyring; {len(kept)} of {len(NUMBERS)} capabilities kept: {' '.join(kept)}"


def _privilege_syscalls(plan: Plan) -> Iterator[str]:
    from cellhold.linux.capabilities import NUMBERS  # noqa: PLC0415  # as above

    yield "keyctl(KEYCTL_JOIN_SESSION_KEYRING)"
    yield "prctl(PR_SET_NO_NEW_PRIVS, 1)"
    for name, number in NUMBERS.items():
        if not plan["bounding"] >> number & 1:
            yield f"prctl(PR_CAPBSET_DROP, {name})"
    yield "capset(permitted = those that are left)"


DROP_PRIVILEGES = Step("security.capabilities", _drop_privileges, _describe_privileges, _privilege_syscalls)


def _filter_syscalls(setup: ContainerSetup) -> None:
    """Load the seccomp filter.

    From here on PID 1 can do no more than the program, except for signals and users.
    """
    process.seccomp(setup.plan["seccomp"])


def _count_instructions(plan: Plan) -> int:
    """How many instructions of BPF the filter has, of eight bytes each (seccomp(2))."""
    return len(plan["seccomp"]) // 8


FILTER_SYSCALLS = Step(
    "security.seccomp",
    _filter_syscalls,
    lambda plan: f"a filter of {_count_instructions(plan)} instructions decides about every system call from here on",
    lambda plan: [f"seccomp(SECCOMP_SET_MODE_FILTER, {{len={_count_instructions(plan)}}})"],
)
