"""Steps of the launcher: clone PID 1, map its ids, open what it gets of the host.

What it is asked for is a Request: descriptors, each by its name. The caller
(cellhold.container.launcher) encodes it into one message on the control socket, the
launcher decodes it. The message says how many descriptors of each name there are; they
come with it in the order of `_FIELDS`.
"""

from __future__ import annotations

import marshal
import os

from cellhold.init.prepare import SHARED, send_descriptors
from cellhold.init.steps.step import Step, format_flags
from cellhold.linux import mount, process

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, NoReturn

    from cellhold.init.plan import Plan
    from cellhold.init.prepare import Privileged

_FIELDS = ("plan", "channel", "lock", "storage", "network", "group", "stdio", "trees", "tasks")
_LISTS = _FIELDS[-3:]


class Request:
    """The descriptors of one request; -1 where there is none of a name.

    plan: a memfd with the marshalled plan. channel: the container's life as messages.
    lock: the container's, held as long as it lives. storage: of the writable layer.
    network: the gate that PID 1 is connected through, or the namespace that it shares,
    as plan["network"] says. group: a v2 cgroup to clone into. stdio: what become the
    program's 0, 1, 2 and so on. trees: what prepare.list_held() lists. tasks: files of
    v1 groups.
    """

    __slots__ = _FIELDS

    def __init__(  # noqa: PLR0913  # the descriptors of one request
        self,
        *,
        plan: int,
        channel: int,
        lock: int,
        storage: int,
        network: int = -1,
        group: int = -1,
        stdio: Sequence[int] = (),
        trees: Sequence[int] = (),
        tasks: Sequence[int] = (),
    ) -> None:
        self.plan = plan
        self.channel = channel
        self.lock = lock
        self.storage = storage
        self.network = network
        self.group = group
        self.stdio = list(stdio)
        self.trees = list(trees)
        self.tasks = list(tasks)

    def encode(self) -> tuple[bytes, list[int]]:
        """Return the message and the descriptors that are sent with it."""
        counts: dict[str, int] = {}
        fds: list[int] = []
        for name in _FIELDS:
            value: int | list[int] = getattr(self, name)
            named = [fd for fd in (value,) if fd >= 0] if isinstance(value, int) else value
            counts[name] = len(named)
            fds.extend(named)
        return marshal.dumps(counts), fds

    def close_used(self) -> None:
        """Close all but the channel and the lock, which belong to the watched container."""
        for fd in (self.plan, self.storage, self.network, self.group, *self.stdio, *self.trees, *self.tasks):
            if fd >= 0:
                os.close(fd)

    @classmethod
    def decode(cls, message: bytes, fds: Sequence[int]) -> Request:
        """Take over the descriptors of a message that encode() made.

        Raises ValueError where there are not as many as it says.
        """
        counts: dict[str, int] = marshal.loads(message)  # noqa: S302  # from our own caller
        if sum(counts.values()) != len(fds):
            raise ValueError(f"a request of {sum(counts.values())} descriptors came with {len(fds)}")
        values: dict[str, Any] = {}
        for name, count in counts.items():
            named, fds = fds[:count], fds[count:]
            values[name] = named if name in _LISTS else [*named, -1][0]
        return cls(**values)


class Launch:
    """A container that the launcher makes: its request, and what it has become."""

    def __init__(  # noqa: PLR0913  # what a clone is made of
        self,
        plan: Plan,
        request: Request,
        host: Privileged,
        *,
        overlays: list[int],
        report: _socket.socket,
        descend: Callable[[], NoReturn],
    ) -> None:
        """request: with its descriptors, which stay the launcher's.

        overlays: mounts that a program serves, where the kernel's are refused. report:
        our end of the clone's report socket. descend: called in the clone, never
        returns.
        """
        self.plan = plan
        self.request = request
        self.host = host
        self.overlays = overlays
        self.report = report
        self.descend = descend
        self.shared_network = request.network if plan["network"] == SHARED else -1  # a namespace
        self.pid = self.pidfd = -1


def _clone(launch: Launch) -> None:
    """Clone PID 1, in somebody else's network namespace if it is to share that one."""
    back = launch.host.enter_network(launch.shared_network)
    try:
        launch.pid, launch.pidfd = launch.host.clone(launch.plan, launch.request.group)
        if launch.pid == 0:
            launch.descend()
    finally:
        launch.host.leave_network(back)


def _describe_clone(plan: Plan) -> str:
    return f"clone3: new namespaces {', '.join(name for name, flag in process.NAMESPACES.items() if plan['namespaces'] & flag)}"


def _clone_syscalls(plan: Plan) -> list[str]:
    if plan["id_base"]:  # whoever makes a user namespace owns it (cloning.py)
        owner = f", with the effective user {plan['id_base']}"
    else:
        owner = ", with a subordinate id as the effective user" if plan["id_count"] > 1 else ""
    flags = format_flags(plan["namespaces"], process, "CLONE_NEW")
    return [f"clone3({{flags={flags}|CLONE_PIDFD, exit_signal=SIGCHLD}}) = PID 1{owner}"]


CLONE = Step("launch.clone", _clone, _describe_clone, _clone_syscalls)


def _map_ids(launch: Launch) -> None:
    launch.host.ids(launch.plan, launch.pid, launch.request.stdio)


def _describe_ids(plan: Plan) -> str:
    from cellhold.linux.id_map import format_rows  # noqa: PLC0415  # words are for people: the launcher does not pay for them

    return f"uid_map, gid_map: {format_rows(plan['id_rows'])}"


MAP_IDS = Step(
    "launch.map-ids",
    _map_ids,
    _describe_ids,
    lambda plan: [
        f'write("/proc/PID/{table}", "{" ".join(map(str, row))}")' for table in ("uid_map", "gid_map") for row in plan["id_rows"]
    ],
)


def _open_trees(launch: Launch) -> None:
    """Open the trees of the host as detached mounts and send them: PID 1's go."""
    plan, host = launch.plan, launch.host
    mounts: list[int] = []
    try:
        for tree in plan["trees"]:
            mounts.append(host.tree(tree, launch.pid))  # noqa: PERF401  # what is open already is closed when the next one fails
        mounts.append(host.dev(plan, launch.pid))
        if launch.shared_network >= 0:
            mounts.append(host.sysfs(launch.shared_network))
        send_descriptors(launch.report, [*launch.overlays, *mounts])
    finally:
        for fd in mounts:
            os.close(fd)


def _tree_syscalls(plan: Plan) -> Iterator[str]:
    for tree in plan["trees"]:
        recursive = "|AT_RECURSIVE" if tree["recursive"] else ""
        name = f'AT_FDCWD, "{tree["path"]}", ' if tree["held"] < 0 else f'fd of "{tree["path"]}", "", AT_EMPTY_PATH|'
        shifted = "|MOUNT_ATTR_IDMAP, userns of PID 1" if tree["idmap"] and plan["writable"] is None else ""
        yield f"open_tree({name}OPEN_TREE_CLONE{recursive})"
        yield f"mount_setattr({format_flags(tree['attributes'], mount, 'MOUNT_ATTR_')}{shifted})"


OPEN_TREES = Step(
    "launch.trees",
    _open_trees,
    lambda plan: f"open_tree, mount_setattr: {len(plan['trees'])} trees of the host, detached, read-only, ids shifted",
    _tree_syscalls,
)
