"""`%%run [FLAGS] IMAGE [COMMAND]`: the rest of the cell runs in a container of its own, and nothing of that is left.

Without a command the cell's lines are a script for the image's `sh`; with one they are its standard input. The flags are `docker run`'s;
the notebook's limits hold where none is given, and the machine's policy in any case. With -d it goes on by itself, until it is removed.
"""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from cellhold import image
from cellhold.cli import options
from cellhold.errors import InvalidSpec, NotAllowed
from cellhold.spec import LOOPBACK
from cellhold_kernel.config import KEYS, Trust
from cellhold_kernel.running import Run
from cellhold_kernel.tail import plain

if TYPE_CHECKING:
    from cellhold.spec import Limits, Spec
    from cellhold_kernel.session import Session

_LINE = re.compile(r"%%run(?![\w.])(.*)")
_SHOWN = 64
_USAGE = "write %%run --memory 64m busybox, and its lines below"
_LIMITS = {  # docker's flag -> the notebook's word
    "memory": "memory",
    "memory_swap": "memory-swap",
    "cpus": "cpus",
    "cpuset_cpus": "cpuset",
    "pids_limit": "pids",
    "disk": "disk",
    "time": "time",
    "network": "network",
    "egress": "egress",
    "net_ingress": "net-ingress",
    "net_egress": "net-egress",
    "storage": "storage",
    "hostname": "hostname",
}
_ITS_OWN = ("mounts", "ports")  # of the notebook's container
_NEVER = ("rootfs", "bundle", "tty", "interactive", "cidfile", "env_file")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A cell that asks for it. lines: below its first."""

    arguments: argparse.Namespace
    lines: str


def read(code: str) -> Wanted | None:
    """What a cell asks for; None if it is no such cell. Raises InvalidSpec."""
    first, _, rest = code.lstrip("\n").partition("\n")
    match = _LINE.fullmatch(first.rstrip())
    if match is None:
        return None
    try:
        words = shlex.split(match[1])
    except ValueError as error:
        raise InvalidSpec(f"cannot read %%run{plain(match[1], most=_SHOWN)}: {error}", hint="close the quotation mark") from error
    arguments = _parser().parse_args(words)
    if not arguments.command:
        raise InvalidSpec("cannot run: no image given", hint=_USAGE)
    if given := [name for name in _NEVER if getattr(arguments, name) not in (None, False, [])]:
        raise InvalidSpec(f"cannot use --{given[0].replace('_', '-')} with %%run", hint="cellhold run has it, in a terminal")
    return Wanted(arguments=arguments, lines=rest)


class _Parser(argparse.ArgumentParser):
    """One that nobody exits for."""

    def error(self, message: str) -> NoReturn:
        """Raise InvalidSpec."""
        raise InvalidSpec(f"cannot read %%run: {plain(message, most=200)}", hint=_USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="%%run", add_help=False)
    parser.add_argument("-d", "--detach", action="store_true")
    parser.add_argument("--rm", action="store_true")  # it is so anyway
    parser.add_argument("-i", "--interactive", action="store_true")
    parser.add_argument("--pull", choices=("always", "missing", "never"), default="missing")
    options.add(parser)
    parser.add_argument("command", nargs="...")
    return parser


def start(session: Session, wanted: Wanted) -> Run:
    """Begin to run it. Raises CellholdError for what the policy refuses, and for what is wrong."""
    asked = spec(session, wanted)
    if wanted.arguments.pull == "always" or (wanted.arguments.pull == "missing" and not image.is_here(asked.image)):
        session.policy().check_image(asked.image)
    return Run(asked, wanted.lines, pull=wanted.arguments.pull, detached=wanted.arguments.detach)


def spec(session: Session, wanted: Wanted) -> Spec:
    """The container that is asked for, within the policy's ceilings."""
    arguments, lines = wanted.arguments, wanted.lines
    image_name, *command = arguments.command
    texts = {word: str(getattr(arguments, flag)) for flag, word in _LIMITS.items() if getattr(arguments, flag) is not None}
    texts = {word: text for word, text in texts.items() if (word, text) != ("storage", "disk")}
    if texts.get("pids") == "-1":
        texts["pids"] = "none"
    rules = session.policy()
    if arguments.detach:
        rules.check_detached()
    settings = session.settings.over("", {**texts, "image": image_name, "mount": "none"}, trust=Trust.CELL)
    within = replace(settings, said={key: said for key, said in settings.said.items() if KEYS[key].field not in _ITS_OWN}).spec(rules)
    arguments.network = within.network
    flags = options.spec(arguments)
    if flags.devices:
        raise NotAllowed(f"cannot use device={flags.devices[0].source} with %%run: a cell cannot use the host's devices")
    if beyond := next((port for port in flags.ports if port.address != LOOPBACK), None):
        raise NotAllowed(f"cannot publish on {beyond.address} with %%run: a notebook publishes on {LOOPBACK} only")
    for entry in flags.mounts:
        if entry.kind in ("bind", "overlay"):
            raise NotAllowed(
                f"cannot use volume={entry.source}:{entry.target} with %%run: a cell cannot show the host's directories",
                hint=f"a volume keeps files: -v NAME:{entry.target}",
            )
        if entry.kind == "volume":
            rules.check_volume(entry)
    script = not command and flags.entrypoint is None
    return replace(
        flags,
        image=within.image,
        entrypoint=() if script else flags.entrypoint,
        args=("sh", "-c", lines) if script else flags.args,
        limits=_limits(within.limits, flags.limits),
        network=within.network,
        egress=within.egress,
        storage=within.storage,
        owner=session.owner,
        stdin=False,
    )


def _limits(within: Limits, flags: Limits) -> Limits:
    """The notebook's words within the ceilings, and what only docker's flags say."""
    return replace(within, io=flags.io, rlimits=flags.rlimits, reservation_bytes=flags.reservation_bytes)
