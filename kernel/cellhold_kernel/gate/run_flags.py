"""The flags of `cellhold run` that %%run has, one row each; others are refused.

A new flag of `cellhold run` is refused here until it gets a row. A row says why a
stranger's cell may have it. A limit's row is in cellhold.spec.fields: a cell has its
flag if a notebook has a key for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cellhold.errors import InvalidSpec
from cellhold.spec.fields import BY_KEY, FIELDS
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SHOWN = 64
_OURS = "cellhold."  # prefix of reserved labels
# The limits of setrlimit(2) whose resource is charged to the container's own group, or
# local to it. Not nice, rtprio and rttime, which take processors from others, nor
# sigpending and msgqueue, which are shared by everything that a user of the host runs.
_ULIMITS = ("as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "rss", "stack")


class Flag(NamedTuple):
    """One flag.

    why: a cell may have it. key: the notebook's key for the same. check: raises
    InvalidSpec for a refused value.
    """

    why: str
    key: str | None = None
    check: Callable[[Any], None] | None = None


def _with_values(entries: list[str]) -> None:
    for entry in entries:
        if "=" not in entry:
            name = escape(entry, most=_SHOWN)
            raise InvalidSpec(
                f"cannot use -e {name}: without a value it means this machine's own, which a cell must not see",
                hint=f"-e {name}=VALUE",
            )


def _not_ours(entries: list[str]) -> None:
    if ours := next((entry for entry in entries if entry.lower().startswith(_OURS)), None):
        raise InvalidSpec(f"cannot use --label {escape(ours, most=_SHOWN)}: labels that begin with {_OURS} are reserved")


def _without_dot(names: str | list[str]) -> None:
    for name in [names] if isinstance(names, str) else names:
        if "." in name:
            raise InvalidSpec(
                f"cannot use the name {escape(name, most=_SHOWN)}: a name with a dot could be a host of the internet",
                hint=escape(name, most=_SHOWN).replace(".", "-"),
            )


def _listed(limits: list[str]) -> None:
    for limit in limits:
        name = limit.partition("=")[0]
        if name not in _ULIMITS:
            raise InvalidSpec(
                f"cannot use --ulimit {escape(limit, most=_SHOWN)}: {escape(name, most=_SHOWN)} is shared with others",
                hint=f"a cell can limit {', '.join(_ULIMITS)}",
            )


FLAGS: dict[str, Flag] = {  # by argparse's names
    **{
        flag.dest: Flag("a limit, within its ceiling" if field.is_amount else "a part of what there is", field.key)
        for field in BY_KEY.values()
        for flag in field.flags
    },
    "network": Flag("within the policy's list", "network"),
    "egress": Flag("within its ceiling", "egress"),
    "storage": Flag("memory, if that is limited", "storage"),
    "hostname": Flag("its own", "hostname"),
    "ulimit": Flag("what is charged to itself", check=_listed),
    "shm_size": Flag("memory, if that is limited"),
    "tmpfs": Flag("memory, if that is limited"),
    "volume": Flag("volumes of the user's store, within the policy's list; no directories"),
    "mount": Flag("as volume and tmpfs"),
    "publish": Flag("on this host's loopback, from 1024 on"),
    "network_alias": Flag("on a user's own network, and never a public name", check=_without_dot),
    "name": Flag("for people, and for others on its network", check=_without_dot),
    "env": Flag("variables with a value", check=_with_values),
    "label": Flag("words for people", check=_not_ours),
    "workdir": Flag("a path inside"),
    "user": Flag("an id inside, which is one of its own range outside"),
    "add_host": Flag("a line of its own /etc/hosts"),
    "entrypoint": Flag("a program inside"),
    "read_only": Flag("it can write less"),
    "cap_drop": Flag("it can do less"),
    "cap_add": Flag("those of the default set, and of the policy's list"),
    "init": Flag("always so"),
    "rm": Flag("always so; with -d it is removed when it exits"),
    "detach": Flag("counted with the notebook, unless the policy has detached = false"),
    "restart": Flag("with -d: it is counted as long as it may run again"),
    "pull": Flag("an image that the policy lists"),
    "stop_signal": Flag("to itself"),
    "stop_timeout": Flag("whoever stops it may kill it at any time"),
    "health_cmd": Flag("a program inside, within its limits"),
    "health_interval": Flag("how often"),
    "health_timeout": Flag("how long"),
    "health_start_period": Flag("when"),
    "health_retries": Flag("how often"),
    "no_healthcheck": Flag("nothing is run"),
}

REFUSED = {  # flags that docker users know: why they are refused, if there is more to say than that
    **{flag.name: field.withheld for field in FIELDS if field.withheld for flag in field.flags},
    "--bundle": "a cell cannot name directories of the host",
    "--rootfs": "a cell cannot name directories of the host",
    "--cidfile": "a cell cannot name files of the host",
    "--env-file": "a cell cannot name files of the host",
    "--label-file": "a cell cannot name files of the host",
    "--volumes-from": "a cell cannot have what other containers have",
    "--cgroup-parent": "the container's limits are in its own group",
    "--cgroupns": "it has one of its own",
    "--device": "a cell cannot use the host's devices",
    "--gpus": "a cell cannot use the host's devices",
    "--oom-kill-disable": "a memory limit that kills nothing blocks everything",
    "--oom-score-adj": "others would be killed in its place",
    "--cpu-rt-runtime": "it takes processors from everybody else on this machine",
    "--privileged": "every container is isolated",
    "--security-opt": "the filter of system calls and no_new_privs are always on",
    "--group-add": "--user UID:GID says the same of one group",
    "--userns": "it has one of its own",
    "--pid": "it has one of its own",
    "--ipc": "it has one of its own",
    "--uts": "it has one of its own",
    "--sysctl": "kernel parameters are the host's",
    "--interactive": "its input is the cell's lines",
    "--tty": "its output is the cell's, which is not a terminal",
}


def check(given: Mapping[str, Any]) -> None:
    """Raise InvalidSpec for a flag without a row, or a value that its row refuses."""
    if missing := [f"--{name.replace('_', '-')}" for name in given if name not in FLAGS]:
        raise refused(*missing)
    for name, value in given.items():
        if (flag := FLAGS[name]).check is not None:
            flag.check(value)


def refused(*flags: str) -> InvalidSpec:
    """Return the error for flags that are refused."""
    reason = REFUSED.get(flags[0].partition("=")[0], "there is no such flag here")
    return InvalidSpec(
        f"cannot use {', '.join(escape(flag, most=_SHOWN) for flag in flags)} with %%run: {reason}",
        hint="cellhold run, in a terminal, has more flags: see cellhold run --help",
    )
