"""The start of a container: checks, plan, launch, and errors if it fails.

Called by container.py, and by kept.py for a container that gets a monitor. Nothing is
recorded here: the caller does that.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from cellhold import seccomp
from cellhold.container import rlimits, trace
from cellhold.container.launcher import launch
from cellhold.errors import CommandNotRun, NotSupported, SetupFailed
from cellhold.init import shares
from cellhold.linux.process import NAMESPACES
from cellhold.rootfs import exposure, overlay, volumes
from cellhold.rootfs.plan import plan
from cellhold.spec import tracing
from cellhold.store import subids

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from cellhold.cgroups.base import Cgroup
    from cellhold.container.launcher import ContainerChannel
    from cellhold.container.resources import Resources
    from cellhold.errors import CellholdError
    from cellhold.image.model import Image
    from cellhold.init.plan import Plan
    from cellhold.network import NetworkKind
    from cellhold.spec.spec import Spec
    from cellhold.spec.usage import Usage

_NOT_FOUND = 127  # as in POSIX shells; 126: found, not executable
_ROOT = ("0", "0:0", "root", "root:root", "0:root", "root:0")
_ESCAPE = re.compile(r"\\([0-7]{3})")
_SECONDS = 60.0  # longer than any set-up takes on a machine that still works


class Started(NamedTuple):
    """A container whose program is exec'd.

    pid: of PID 1, on the host. timings: (name, start, seconds) of every step that the
    launcher and PID 1 took. channel: its life as messages, closed by the caller.
    """

    pid: int
    timings: list[tuple[str, float, float]]
    channel: ContainerChannel
    plan: Plan

    def steps(self) -> Iterator[tracing.Step]:
        """Yield the steps with their descriptions, in order."""
        details = trace.describe_steps(self.plan)
        for name, begin, seconds in self.timings:
            yield tracing.Step(name, details.get(name, ""), begin, seconds, "host" if name.startswith("launch.") else "container")


class Launcher(Protocol):
    """Where the processes of a start come from.

    This process's launcher, or a monitor for the container alone.
    """

    @property
    def stdio(self) -> Sequence[int | None]:
        """Descriptors of the caller's that the program gets; None is /dev/null."""

    def begin(self) -> tuple[Sequence[int | None], socket.socket | None]:
        """Return the program's descriptors, and the control socket of the launcher.

        None: this process's own launcher. Called once per attempt, from
        StartAttempt.run(), on the thread that starts the container.
        """


class OwnLauncher:
    """This process's launcher, which ends with it and ends the container."""

    def __init__(self, *stdio: int | None) -> None:
        """Use these descriptors.

        stdio: as of Launcher.
        """
        self.stdio = stdio

    def begin(self) -> tuple[Sequence[int | None], None]:
        """Return the caller's own descriptors."""
        return self.stdio, None


class StartAttempt:
    """One start of a container: planned when it is made, performed by run().

    Called by container.py and kept.py.
    """

    def __init__(  # noqa: PLR0913  # what a start consists of
        self,
        resources: Resources,
        network: NetworkKind,
        launcher: Launcher,
        *,
        spec: Spec,
        image: Image,
        hostname: str,
        name: str,
        before: Usage,
    ) -> None:
        """Plan the start.

        name: for errors. before: what earlier runs in the same group had used.

        Raises InvalidSpec, NotSupported, SetupFailed.
        """
        self._resources, self._network, self._launcher = resources, network, launcher
        self._name, self._before = name, before
        self.layer = -1  # the writable layer, as run() has given it to `keep`
        self.plan = self._make_plan(spec, image, hostname)

    def _make_plan(self, spec: Spec, image: Image, hostname: str) -> Plan:
        resources = self._resources
        begin = time.monotonic()
        writable = resources.storage.request()
        exposes_host = exposure.exposes_host(spec, self._launcher.stdio)
        capabilities = exposure.capabilities(spec, exposes_host=exposes_host)
        program = seccomp.cached_program(capabilities, resources.home.seccomp, set_ids=not exposes_host)
        words = f"docker's default profile{', no set-user-id files' if exposes_host else ''}: {len(program) // 8} instructions"
        resources.report(tracing.Step("seccomp.compile", words, begin, time.monotonic() - begin))
        self._spec = volumes.open_volumes(spec, resources.home)  # kept: the plan names the volumes' descriptors by number
        return plan(
            replace(self._spec, capabilities=capabilities),
            image,
            hostname=hostname,
            init_layer=resources.home.init_layer(),
            ids=resources.ids,
            writable=writable,
            mounted=mount_points(),
            volatile=not resources.is_lasting,
            overlay_program=overlay.mount_program(writable),
            views=resources.cgroup.views(),
            seccomp=program,
            namespaces=namespaces(),
            rlimits=rlimits.effective(spec.limits.rlimits),
            maxima=maxima(),
            **self._network.plan_fields(),
        )

    def run(self, *, keep: ExitStack | None = None) -> Started:
        """Start the program; return once it is exec'd.

        If the kernel refuses the overlay, a program mounts it. keep: gets a descriptor
        of the writable layer. Raises SetupFailed, CommandNotRun, NotSupported; then
        nothing of the container runs.
        """
        try:
            return self._try(keep)
        except SetupFailed as error:
            self.plan["overlay_program"] = overlay.fallback(error, self.plan["writable"])
            return self._try(keep)

    def _try(self, keep: ExitStack | None) -> Started:
        stdio, control = self._launcher.begin()
        with self._network.descriptors() as of_network:
            channel = self._launch((*stdio, *of_network), control, keep)
            try:
                refused = self._network.attach()
                try:
                    pid, timings = await_start(
                        channel,
                        self._resources.cgroup,
                        self._name,
                        " ".join(self.plan["args"][:1]),
                        oom_kills_before=self._before.oom_kills,
                    )
                except SetupFailed as error:
                    raise refused or error from error
            except BaseException:
                channel.close()
                raise
        return Started(pid, timings, channel, self.plan)

    def _launch(self, wanted: Sequence[int | None], control: socket.socket | None, keep: ExitStack | None) -> ContainerChannel:
        with ExitStack() as closing:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            closing.callback(os.close, null)
            stdio = tuple(null if fd is None else fd for fd in wanted)
            writable = self._resources.storage.open()
            closing.callback(os.close, writable)
            if keep is not None:
                self.layer = os.dup(writable)
                keep.callback(os.close, self.layer)
            join = self._resources.cgroup.join()
            for fd in (*join.tasks, *((join.into,) if join.into >= 0 else ())):
                closing.callback(os.close, fd)
            return launch(self.plan, lock=self._resources.lock, stdio=stdio, storage=writable, join=join, by=control)


def check(spec: Spec) -> None:
    """Raise NotSupported for a user who has no id here."""
    if subids.is_rootless() and spec.user not in (None, *_ROOT) and subids.delegation().ids.count == 1:
        raise NotSupported(
            f"cannot use user={spec.user}: without subordinate ids the container's only user is root",
            hint=subids.REMEDY.format(user=subids.user_name(os.geteuid())),
        )


def mount_points() -> tuple[str, ...]:
    """Return the mount points, without root.

    Then a directory with a mount below may not be looked into (proc_pid_mountinfo(5)).
    """
    if not subids.is_rootless():
        return ()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return tuple(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), line.split(" ")[4]) for line in file)


def namespaces() -> tuple[str, ...]:
    """Return the namespaces that this kernel has (time came with Linux 5.6)."""
    return tuple(name for name in NAMESPACES if os.path.exists(f"/proc/self/ns/{name}"))


def maxima() -> dict[str, int]:
    """Return the maxima of the container's user namespace, without root.

    Of what the kernel counts per user.
    """
    return shares.maxima() if subids.is_rootless() else {}


def await_start(
    channel: ContainerChannel, cgroup: Cgroup, name: str, command: str, *, oom_kills_before: int
) -> tuple[int, list[tuple[str, float, float]]]:
    """Wait until the program is exec'd; return PID 1's pid and the timings.

    timings: as of Started. oom_kills_before: of earlier runs in the same group.

    Raises SetupFailed or CommandNotRun; then nothing of the container runs any more.
    """
    message = channel.receive(_SECONDS)
    if message is not None and message[0] == "handed":
        message = channel.receive(_SECONDS)
    if message is not None and message[0] == "started":
        return message[1], message[2]
    oom_kills = cgroup.usage().oom_kills - oom_kills_before
    cgroup.kill()
    last = message
    while last is not None and last[0] not in ("ended", "lost"):
        last = channel.receive(_SECONDS)
    raise failure(message, name, command, oom_kills=oom_kills)


def failure(message: tuple[Any, ...] | None, name: str, command: str, *, oom_kills: int) -> CellholdError:
    """Return the error for the first message of a container that did not start."""
    subject = f"cannot start container {name}"
    doctor = "`cellhold doctor` reports what this host can do"
    if message is None:
        return SetupFailed(f"{subject}: no answer within {_SECONDS:.0f} s", step="launch", hint=doctor)
    if message[0] == "notrun" and message[1] == _NOT_FOUND:
        return CommandNotRun(
            f"cannot run {command!r}: not found in the container", status=_NOT_FOUND, hint="give a path, or a name in the image's PATH"
        )
    if message[0] == "notrun":
        return CommandNotRun(f"cannot run {command!r}: {message[2]}", status=message[1], hint="it exists, but cannot be executed")
    if oom_kills:
        return SetupFailed(f"{subject}: its memory limit is too small to start", step="launch", hint="set a higher limit, at least 16m")
    if message[0] == "failed":
        return SetupFailed(f"{subject}: step {message[1]} failed: {message[3]}", step=message[1], errno=message[2], hint=doctor)
    return SetupFailed(f"{subject}: it ended during its set-up", step="launch", hint=doctor)
