"""The flags of `cellhold run` that a cell has with %%run, one row each; what has no row is not to be had.

A flag that `cellhold run` gets later is refused here until somebody gives it a row. A row says why
a stranger's cell may have it. A limit's row is in cellhold.spec.fields: a cell has its flag where a
notebook has a key for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cellhold.errors import InvalidSpec
from cellhold.spec.fields import BY_KEY, FIELDS
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SHOWN = 64
_OURS = "cellhold."  # labels that begin so are ours
# Of setrlimit(2), those whose use is charged to the container's own group, or ends there. Not nice,
# rtprio and rttime, which take the processors from others, nor sigpending and msgqueue, which are
# shared by all that a host's user runs.
_ULIMITS = ("as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "rss", "stack")


class Flag(NamedTuple):
    """One flag. why: it can be had; key: the notebook's own word for it; check: raises InvalidSpec for a value."""

    why: str
    key: str | None = None
    check: Callable[[Any], None] | None = None


def _with_values(entries: list[str]) -> None:
    for entry in entries:
        if "=" not in entry:
            name = escape(entry, most=_SHOWN)
            raise InvalidSpec(
                f"cannot use -e {name}: without a value it is this machine's own, and nothing of that gets into a cell",
                hint=f"-e {name}=VALUE",
            )


def _not_ours(entries: list[str]) -> None:
    if ours := next((entry for entry in entries if entry.lower().startswith(_OURS)), None):
        raise InvalidSpec(f"cannot use --label {escape(ours, most=_SHOWN)}: labels that begin with {_OURS} are ours")


def _without_dot(names: str | list[str]) -> None:
    for name in [names] if isinstance(names, str) else names:
        if "." in name:
            raise InvalidSpec(
                f"cannot use the name {escape(name, most=_SHOWN)}: with a dot in it it could be somebody's on the internet",
                hint=escape(name, most=_SHOWN).replace(".", "-"),
            )


def _listed(limits: list[str]) -> None:
    for limit in limits:
        name = limit.partition("=")[0]
        if name not in _ULIMITS:
            raise InvalidSpec(
                f"cannot use --ulimit {escape(limit, most=_SHOWN)}: of {escape(name, most=_SHOWN)} others have a share",
                hint=f"a cell can limit {', '.join(_ULIMITS)}",
            )


FLAGS: dict[str, Flag] = {  # by argparse's names
    **{
        flag.dest: Flag("a limit, within its ceiling" if field.is_amount else "a part of what there is", field.key)
        for field in BY_KEY.values()
        for flag in field.flags
    },
    "network": Flag("one of the policy's", "network"),
    "egress": Flag("within its ceiling", "egress"),
    "storage": Flag("memory, where that is limited", "storage"),
    "hostname": Flag("its own", "hostname"),
    "ulimit": Flag("what is charged to itself", check=_listed),
    "shm_size": Flag("memory, where that is limited"),
    "tmpfs": Flag("memory, where that is limited"),
    "volume": Flag("volumes of the user's store, within the policy's list; no directories"),
    "mount": Flag("the same in other words"),
    "publish": Flag("on this host's loopback, from 1024 on"),
    "network_alias": Flag("on a network of one's own, where no public name can be taken", check=_without_dot),
    "name": Flag("for people, and others on its network", check=_without_dot),
    "env": Flag("variables with a value", check=_with_values),
    "label": Flag("words for people", check=_not_ours),
    "workdir": Flag("a path inside"),
    "user": Flag("an id inside, which is one of its own range outside"),
    "add_host": Flag("a line of its own /etc/hosts"),
    "entrypoint": Flag("a program inside"),
    "read_only": Flag("it can write less"),
    "cap_drop": Flag("it can do less"),
    "cap_add": Flag("those of the default set, and of the policy's list"),
    "init": Flag("it is so anyway"),
    "rm": Flag("it is so anyway; with -d it goes with its end"),
    "detach": Flag("counted with the notebook, where the policy has not detached = false"),
    "restart": Flag("with -d: it is counted as long as it may run again"),
    "pull": Flag("an image that the policy lists"),
    "stop_signal": Flag("to itself"),
    "stop_timeout": Flag("who stops it may kill it at any time"),
    "health_cmd": Flag("a program inside, within its limits"),
    "health_interval": Flag("how often"),
    "health_timeout": Flag("how long"),
    "health_start_period": Flag("when"),
    "health_retries": Flag("how often"),
    "no_healthcheck": Flag("nothing is run"),
}

REFUSED = {  # of the flags that docker users know, why not; those of which there is no more to say are not here
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
    "--oom-kill-disable": "a memory limit that kills nothing stops everything",
    "--oom-score-adj": "it has others killed in its place",
    "--cpu-rt-runtime": "it takes processors from everybody else on this machine",
    "--privileged": "there is no container without walls",
    "--security-opt": "the filter of system calls and no_new_privs are always on",
    "--group-add": "--user UID:GID says the same of one group",
    "--userns": "it has one of its own",
    "--pid": "it has one of its own",
    "--ipc": "it has one of its own",
    "--uts": "it has one of its own",
    "--sysctl": "kernel parameters are the host's",
    "--interactive": "its input is the cell's lines",
    "--tty": "its output is the cell's, which is no terminal",
}


def check(given: Mapping[str, Any]) -> None:
    """Raise InvalidSpec for a flag without a row, or with a value that its row refuses."""
    if missing := [f"--{name.replace('_', '-')}" for name in given if name not in FLAGS]:
        raise refused(*missing)
    for name, value in given.items():
        if (flag := FLAGS[name]).check is not None:
            flag.check(value)


def refused(*flags: str) -> InvalidSpec:
    """The error for flags that are not to be had."""
    reason = REFUSED.get(flags[0].partition("=")[0], "there is no such flag here")
    return InvalidSpec(
        f"cannot use {', '.join(escape(flag, most=_SHOWN) for flag in flags)} with %%run: {reason}",
        hint="cellhold run --help lists what there is in a terminal",
    )
