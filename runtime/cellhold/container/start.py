"""Around the start of a container: what to check before, what to hand over, and what it means when it does not come up."""

from __future__ import annotations

import os
import re
import resource
from typing import TYPE_CHECKING, Any, NamedTuple

from cellhold.errors import CommandNotRun, InvalidSpec, NotSupported, SetupFailed
from cellhold.init import shares
from cellhold.linux.process import NAMESPACES
from cellhold.store import subids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.cgroups.base import Cgroup
    from cellhold.container.launcher import Channel
    from cellhold.errors import CellholdError
    from cellhold.spec.spec import Spec

_NOT_FOUND = 127  # as POSIX shells have it; 126: found, not executable
_UNLIMITED = 1 << 63
_ROOT = ("0", "0:0", "root", "root:root", "0:root", "root:0")
_ESCAPE = re.compile(r"\\([0-7]{3})")
_SECONDS = 60.0  # longer than any set-up takes on a machine that still works


class Started(NamedTuple):
    """PID 1's pid on the host, and (name, start, seconds) of every step that the launcher and PID 1 took."""

    pid: int
    timings: list[tuple[str, float, float]]


def check(spec: Spec) -> None:
    """Raise NotSupported for a user that no id is there for."""
    if subids.is_rootless() and spec.user not in (None, *_ROOT) and subids.delegation().ids.count == 1:
        raise NotSupported(
            f"cannot use user={spec.user}: without subordinate ids the container's only user is root",
            hint=subids.REMEDY.format(user=subids.user_name(os.geteuid())),
        )


def mount_points() -> tuple[str, ...]:
    """Without root: where something is mounted, as a directory may not be looked under that has a mount (proc_pid_mountinfo(5))."""
    if not subids.is_rootless():
        return ()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return tuple(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), line.split(" ")[4]) for line in file)


def namespaces() -> tuple[str, ...]:
    """The namespaces that this kernel has (time came with Linux 5.6)."""
    return tuple(name for name in NAMESPACES if os.path.exists(f"/proc/self/ns/{name}"))


def maxima() -> dict[str, int]:
    """Without root: what the container's user namespace may have of what is counted for the user."""
    return shares.maxima() if subids.is_rootless() else {}


def rlimits(wanted: Mapping[str, tuple[int, int]]) -> tuple[tuple[int, int, int], ...]:
    """(resource, soft, hard) of setrlimit(2): those that are wanted, clamped; without root, a share of the others that are the user's."""
    found = clamped(wanted)
    taken = {number for number, _soft, _hard in found}
    own = (one for one in shares.rlimits() if one[0] not in taken) if subids.is_rootless() else ()
    return (*found, *own)


def clamped(rlimits: Mapping[str, tuple[int, int]]) -> tuple[tuple[int, int, int], ...]:
    """(resource, soft, hard) of setrlimit(2), cut to what the host's hard limits allow: raising them needs CAP_SYS_RESOURCE.

    Raises InvalidSpec for a name that setrlimit(2) does not know.
    """
    found = []
    for name, wanted in rlimits.items():
        number: Any = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            raise InvalidSpec(f"cannot use ulimit={name}: not a resource of setrlimit(2)", hint="nofile, nproc, core, stack ...")
        most = resource.getrlimit(number)[1]
        soft, hard = (cut(value, most) for value in wanted)
        found.append((number, min(soft, hard) if hard >= 0 else soft, hard))
    return tuple(found)


def beyond_host(rlimits: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    """One sentence for each resource limit that clamped() lowers, for the user who asked for more."""
    granted = {number: hard for number, _soft, hard in clamped(rlimits)}
    sentences = []
    for name, (_soft, wanted) in rlimits.items():
        hard = granted[getattr(resource, f"RLIMIT_{name.upper()}")]
        if hard != resource.RLIM_INFINITY and (wanted > hard or wanted < 0):
            asked = "unlimited" if wanted < 0 else str(wanted)
            sentences.append(f"ulimit {name}={asked} is lowered to {hard}, the hard limit of this host for us (getrlimit(2))")
    return tuple(sentences)


def cut(value: int, most: int) -> int:
    """`value`, at most `most`, where -1 (RLIM_INFINITY) and what a signed number cannot hold mean no limit."""
    if not 0 <= value < _UNLIMITED:
        return most
    return value if most == resource.RLIM_INFINITY else min(value, most)


def await_start(channel: Channel, cgroup: Cgroup, name: str, command: str, *, oom_kills_before: int) -> Started:
    """Wait until the program is exec'd. oom_kills_before: of earlier runs in the same group.

    Raises SetupFailed or CommandNotRun; then nothing of the container runs any more.
    """
    message = channel.receive(_SECONDS)
    if message is not None and message[0] == "handed":
        message = channel.receive(_SECONDS)
    if message is not None and message[0] == "started":
        return Started(message[1], message[2])
    oom_kills = cgroup.usage().oom_kills - oom_kills_before
    cgroup.kill()
    last = message
    while last is not None and last[0] not in ("ended", "lost"):
        last = channel.receive(_SECONDS)
    raise failure(message, name, command, oom_kills=oom_kills)


def failure(message: tuple[Any, ...] | None, name: str, command: str, *, oom_kills: int) -> CellholdError:
    """The error for the first message of a container that did not start."""
    subject = f"cannot start container {name}"
    doctor = "`cellhold doctor` tells what this host can do"
    if message is None:
        return SetupFailed(f"{subject}: no answer within {_SECONDS:.0f} s", step="launch", hint=doctor)
    if message[0] == "notrun" and message[1] == _NOT_FOUND:
        return CommandNotRun(
            f"cannot run {command!r}: not found in the container", status=_NOT_FOUND, hint="give a path, or a name in the image's PATH"
        )
    if message[0] == "notrun":
        return CommandNotRun(
            f"cannot run {command!r}: {message[2]}", status=message[1], hint="it is there, but is not a program that can be executed"
        )
    if oom_kills:
        return SetupFailed(f"{subject}: its memory limit is too small to start in", step="launch", hint="give it more memory, 16m at least")
    if message[0] == "failed":
        return SetupFailed(f"{subject}: step {message[1]} failed: {message[3]}", step=message[1], errno=message[2], hint=doctor)
    return SetupFailed(f"{subject}: it ended while it was being made", step="launch", hint=doctor)
