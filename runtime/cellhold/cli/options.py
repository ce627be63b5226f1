"""docker's flags of `run`, turned into a Spec. What the flags mean is docker's documentation; differences are in the help."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellhold import network
from cellhold.container.rlimits import beyond_host
from cellhold.errors import InvalidSpec
from cellhold.linux.capabilities import DEFAULT, mask
from cellhold.network import ports
from cellhold.rootfs.volumes import mount, tmpfs, volume
from cellhold.spec import bundle, fields
from cellhold.spec.limits import Limits
from cellhold.spec.spec import Device, Health, Spec, check_hostname
from cellhold.spec.units import COUNT_MAXIMUM, parse_count, parse_seconds, parse_signal, parse_size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from cellhold.spec.spec import Mount

_ENV_FILE_MAXIMUM = 4 << 20  # bytes
_NOT_GIVEN: tuple[Any, ...] = (None, [], False, "none", "disk", "no", "auto")  # the defaults below


def add(command: Any) -> None:
    """Add the flags to a parser."""
    add_limits(command)
    view = command.add_argument_group("what it sees")
    _add_network_and_environment(view)
    _add_files(view)
    _add_rights(view)
    _add_life(command.add_argument_group("its life"))


def _add_network_and_environment(view: Any) -> None:
    view.add_argument(
        "--network",
        "--net",
        metavar="NET",
        help="none (loopback only), bridge, one of your own, host, or container:NAME (default: bridge where that can be had)",
    )
    view.add_argument("--network-alias", metavar="NAME", action="append", default=[], help="one more name that others on it know it by")
    view.add_argument(
        "-p",
        "--publish",
        metavar="[IP:][HOST:]PORT[/udp]",
        action="append",
        default=[],
        help="answer for it on the host's loopback, or on IP",
    )
    view.add_argument(
        "--egress",
        metavar="POLICY",
        help="whom it may talk to: all, internet (public addresses), none, allow=NAME[:PORT],NETWORK (default: all)",
    )
    view.add_argument("--hostname", metavar="NAME", help="its host name (default: its id)")
    view.add_argument("--name", metavar="NAME", help="a name for people")
    view.add_argument("-e", "--env", metavar="NAME[=VALUE]", action="append", default=[], help="environment; without a value, the caller's")
    view.add_argument("--env-file", metavar="FILE", action="append", default=[], help="a file of NAME=VALUE lines")
    view.add_argument("-l", "--label", metavar="NAME[=VALUE]", action="append", default=[], help="a note on it, for people and programs")
    view.add_argument("-w", "--workdir", metavar="DIR", help="working directory, made if missing")
    view.add_argument("-u", "--user", metavar="USER[:GROUP]", help="ids, or names of the image's /etc/passwd (default: the image's)")
    view.add_argument("--group-add", metavar="GROUP", action="append", default=[], help="one more group of the user")
    view.add_argument("--add-host", metavar="NAME:IP", action="append", default=[], help="a line of its /etc/hosts")
    view.add_argument("--entrypoint", metavar="PROGRAM", help='run before the arguments, instead of the image\'s; "" for none')


def _add_files(view: Any) -> None:
    view.add_argument(
        "-v",
        "--volume",
        metavar="[HOST:|NAME:]DIR[:ro|rw|O]",
        action="append",
        default=[],
        help="show a directory or file of the host (O: changes are thrown away), or a volume, made if missing",
    )
    view.add_argument("--mount", metavar="type=...,target=DIR,...", action="append", default=[], help="the same, or a tmpfs, in more words")
    view.add_argument(
        "--device", metavar="DEVICE[:PATH][:rwm]", action="append", default=[], help="a device node of the host that it may use"
    )
    view.add_argument("--shm-size", metavar="SIZE", help="of /dev/shm (default: half of the memory limit, 64m without one)")
    view.add_argument(
        "--tmpfs", metavar="DIR[:size=SIZE,nr_inodes=FILES,mode=MODE]", action="append", default=[], help="an empty file system in memory"
    )
    view.add_argument("--storage", choices=("disk", "tmpfs"), default="disk", help="where the writable layer lies (tmpfs counts as memory)")
    view.add_argument("--read-only", action="store_true", help="no writable root file system")


def _add_rights(view: Any) -> None:
    view.add_argument("--cap-drop", metavar="CAP", action="append", default=[], help="a capability to take away, or ALL")
    view.add_argument("--cap-add", metavar="CAP", action="append", default=[], help="one to give (inside its own user namespace only)")
    view.add_argument("--security-opt", metavar="OPT", action="append", default=[], help="no-new-privileges: always so; others are refused")
    view.add_argument("--userns", metavar="MODE", default="auto", help="auto: ids of its own (the only one)")
    view.add_argument("--rootfs", metavar="DIR", help="a directory as the root file system, instead of IMAGE")
    view.add_argument("--bundle", metavar="DIR", help="an OCI bundle (config.json and its root file system), instead of IMAGE")


def _add_life(life: Any) -> None:
    life.add_argument("-t", "--tty", action="store_true", help="its standard streams are a terminal")
    life.add_argument("--init", action="store_true", help="always so: its PID 1 is ours, forwards signals and reaps")
    life.add_argument("--stop-signal", metavar="SIGNAL", help="what stop sends (default: the image's, else TERM)")
    life.add_argument("--stop-timeout", metavar="SECONDS", help="that stop waits before SIGKILL (default: 10)")
    life.add_argument("--restart", metavar="POLICY", default="no", help="no, always, unless-stopped, on-failure[:TIMES] (default: no)")
    life.add_argument("--health-cmd", metavar="COMMAND", help="run now and then by its shell: 0 is healthy (default: the image's)")
    life.add_argument("--health-interval", metavar="TIME", help="between two checks (default: 30s)")
    life.add_argument("--health-timeout", metavar="TIME", help="that one may take (default: 30s)")
    life.add_argument("--health-start-period", metavar="TIME", help="in which failures do not count (default: none)")
    life.add_argument("--health-retries", metavar="N", help="failures in a row that make it unhealthy (default: 3)")
    life.add_argument("--no-healthcheck", action="store_true", help="none, whatever the image says")
    life.add_argument("--cidfile", metavar="FILE", help="write its id there, to a file that is not there yet")


def add_limits(command: Any) -> None:
    """Add the flags of the limits alone (cellhold.spec.fields)."""
    limits = command.add_argument_group("limits (refused where this host cannot enforce them)")
    for field in fields.FIELDS:
        several = {"action": "append", "default": []} if field.is_repeated else {}
        for flag in field.flags:
            names = (flag.short, flag.name) if flag.short else (flag.name,)
            limits.add_argument(*names, metavar=field.metavar, help=field.flag_help(flag), **several)


def spec(arguments: argparse.Namespace) -> Spec:
    """The Spec of a parsed command line; raises InvalidSpec, ImageNotFound or NotSupported."""
    if arguments.bundle:
        refuse_beside_bundle(arguments)
        return bundle.spec(Path(arguments.bundle))
    check_security(arguments)
    words = list(arguments.command)
    if not arguments.rootfs and not words:
        raise InvalidSpec("cannot run: no image given", hint="cellhold run host true, or --rootfs DIR COMMAND")
    image = str(Path(arguments.rootfs).absolute()) if arguments.rootfs else words.pop(0)
    return Spec(
        image=image,
        entrypoint=None if arguments.entrypoint is None else (arguments.entrypoint,) if arguments.entrypoint else (),
        args=tuple(words),
        env={**dict(variable for path in arguments.env_file for variable in env_file(path)), **environment(arguments.env)},
        cwd=arguments.workdir,
        user=arguments.user,
        hostname=arguments.hostname,
        name=arguments.name,
        limits=limits(arguments),
        mounts=mounts(arguments),
        devices=tuple(map(device, arguments.device)),
        groups=tuple(arguments.group_add),
        hosts=tuple(map(host, arguments.add_host)),
        shm_bytes=None if arguments.shm_size is None else parse_size(arguments.shm_size, key="shm-size"),
        labels=dict(label(text) for text in arguments.label),
        terminal=arguments.tty,
        stdin=arguments.interactive,
        stop_signal=None if arguments.stop_signal is None else parse_signal(arguments.stop_signal),
        stop_seconds=None if arguments.stop_timeout is None else parse_seconds(arguments.stop_timeout, key="stop-timeout", or_none=True),
        restart=arguments.restart,
        health=health(arguments),
        network=arguments.network or network.default(),
        ports=tuple(port for text in arguments.publish for port in ports.parse(text)),
        aliases=tuple(arguments.network_alias),
        egress=arguments.egress,
        storage=arguments.storage,
        read_only=arguments.read_only,
        capabilities=capabilities(arguments.cap_drop, arguments.cap_add),
    )


def notes(arguments: argparse.Namespace) -> Iterator[str]:
    """What is accepted and does nothing, or less than was asked for, in a sentence each. Raises InvalidSpec."""
    if any({"z", "Z"} & {*text.split(":")[-1].split(",")} for text in arguments.volume):
        yield "volume options z and Z do nothing here: Cellhold sets no SELinux labels"
    if any(option.startswith("label") for option in arguments.security_opt):
        yield "security-opt label does nothing here: Cellhold sets no SELinux labels"
    yield from beyond_host(dict(fields.parse_ulimit(text) for text in arguments.ulimit))


def mounts(arguments: argparse.Namespace) -> tuple[Mount, ...]:
    """-v, --mount and --tmpfs. Raises InvalidSpec, also for two at one place."""
    found = (*map(volume, arguments.volume), *map(mount, arguments.mount), *map(tmpfs, arguments.tmpfs))
    targets = [entry.target.rstrip("/") for entry in found]
    if twice := [target for target in targets if targets.count(target) > 1]:
        raise InvalidSpec(f"cannot mount twice on {twice[0]}")
    return found


def device(text: str) -> Device:
    """DEVICE[:PATH][:ACCESS]; raises InvalidSpec."""
    source, *rest = text.split(":")
    access = rest.pop() if rest and not rest[-1].startswith("/") else "rwm"
    if len(rest) > 1 or not source.startswith("/"):
        raise InvalidSpec(f"cannot use device={text!r}: not DEVICE[:PATH][:rwm]", hint="/dev/fuse, for example")
    return Device(source=source, target=rest[0] if rest else source, access=access)


def host(text: str) -> tuple[str, str]:
    """NAME:IP as (name, address); raises InvalidSpec."""
    name, _, address = text.partition(":")
    try:
        return check_hostname(name), str(ipaddress.ip_address(address.strip("[]")))
    except ValueError as error:
        raise InvalidSpec(f"cannot use add-host={text!r}: not NAME:IP", hint="db:10.0.0.2, for example") from error


def label(text: str) -> tuple[str, str]:
    """NAME[=VALUE]; raises InvalidSpec for none."""
    name, _, value = text.partition("=")
    if not name or "\0" in text:
        raise InvalidSpec(f"cannot use label={text!r}: not NAME or NAME=VALUE")
    return name, value


def env_file(path: str) -> Iterator[tuple[str, str]]:
    """The lines of an --env-file: NAME=VALUE, NAME for the caller's own value, # for people. Raises InvalidSpec."""
    try:
        with open(path, "rb") as file:  # a pipe, of a shell's <(...), too
            data = file.read(_ENV_FILE_MAXIMUM + 1)
        text = data.decode()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte, too
        raise InvalidSpec(f"cannot read env-file={path}: {getattr(error, 'strerror', None) or 'it is no text'}") from error
    if len(data) > _ENV_FILE_MAXIMUM:
        raise InvalidSpec(f"cannot read env-file={path}: it is larger than {_ENV_FILE_MAXIMUM >> 20} MiB")
    for line in text.splitlines():
        words = line.lstrip()
        if words and not words.startswith("#"):
            if " " in words.partition("=")[0].rstrip():
                raise InvalidSpec(f"cannot use env-file={path}: {words[:40]!r} is not NAME=VALUE")
            yield from environment([words]).items()


def check_security(arguments: argparse.Namespace) -> None:
    """Raise InvalidSpec for what would make the walls other than they are: nothing that was asked for is dropped in silence."""
    for option in arguments.security_opt:
        name = option.partition("=")[0].partition(":")[0]
        if name not in ("no-new-privileges", "label") or option.endswith(("=false", ":false")):
            raise InvalidSpec(
                f"cannot use security-opt={option}: the filter of system calls and no_new_privs are always on",
                hint="leave it out; --cap-add gives capabilities inside of its own user namespace",
            )
    if arguments.userns not in ("auto", "private"):
        raise InvalidSpec(
            f"cannot use userns={arguments.userns}: every container has ids of its own", hint="--userns auto, or leave it out"
        )


def health(arguments: argparse.Namespace) -> Health | None:
    """--health-cmd and its sisters; None for the image's."""
    if arguments.no_healthcheck:
        return Health()
    times = {"interval": "interval_seconds", "timeout": "timeout_seconds", "start_period": "start_seconds"}
    given: dict[str, Any] = {
        field: parse_seconds(text, key=f"health-{flag.replace('_', '-')}")
        for flag, field in times.items()
        if (text := getattr(arguments, f"health_{flag}")) is not None
    }
    if arguments.health_retries is not None:
        given["retries"] = parse_count(arguments.health_retries, key="health-retries", maximum=COUNT_MAXIMUM)
    if arguments.health_cmd is None:
        if given:
            raise InvalidSpec(
                f"cannot use health-{next(iter(given)).partition('_')[0]}: there is no --health-cmd", hint="add --health-cmd COMMAND"
            )
        return None
    return Health(args=("/bin/sh", "-c", arguments.health_cmd), **given)


def refuse_beside_bundle(arguments: argparse.Namespace) -> None:
    """Raise InvalidSpec for what would be ignored: a limit or a wall that was asked for is never dropped."""
    ours = {"bundle", "run", "rm", "interactive", "trace", "pull", "detach", "cidfile", "detach_keys"}
    given = [name for name, value in vars(arguments).items() if name not in ours and value not in _NOT_GIVEN]
    if given:
        name = "a command" if given[0] == "command" else f"--{given[0].replace('_', '-')}"
        raise InvalidSpec(f"cannot use {name} with --bundle: the bundle's config.json says everything", hint="write it there")


def limits(arguments: argparse.Namespace) -> Limits:
    """Parse the limits of a command line; raises InvalidSpec."""
    return Limits(**fields.parse_flags(vars(arguments)))


def environment(entries: Iterable[str]) -> dict[str, str]:
    """-e NAME=VALUE, and -e NAME for the caller's own value (nothing if the caller has none, as docker does)."""
    found = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if equals or name in os.environ:
            found[name] = value if equals else os.environ[name]
    return found


def capabilities(drop: list[str], add: list[str]) -> frozenset[str] | None:
    """The set left of the default; None if nothing was said."""
    if not drop and not add:
        return None
    gone = {full(name) for name in drop if name.upper() != "ALL"}
    more = {full(name) for name in add}
    mask(gone | more)  # a mistyped one is refused: dropping nothing would be a hole
    wanted = (set() if "ALL" in (name.upper() for name in drop) else set(DEFAULT) - gone) | more
    return frozenset(wanted)


def full(name: str) -> str:
    """CAP_CHOWN for chown, CHOWN and CAP_CHOWN, as docker takes them."""
    upper = name.upper()
    return upper if upper.startswith("CAP_") else f"CAP_{upper}"
