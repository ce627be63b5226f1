"""The flags of `docker run`, as a Spec.

Docker's documentation says what the flags mean; the help texts say what differs.
"""

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
from cellhold.spec.names import check_hostname
from cellhold.spec.spec import Device, Health, Spec
from cellhold.spec.units import COUNT_MAXIMUM, parse_count, parse_seconds, parse_signal, parse_size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from cellhold.spec.spec import Mount

_ENV_FILE_MAXIMUM = 4 << 20  # bytes
_DEFAULTS: tuple[Any, ...] = (None, [], False, "none", "disk", "no", "auto")  # of the flags below


def add(command: Any) -> None:
    """Add the flags to a parser."""
    add_limits(command)
    view = command.add_argument_group("network, environment, files and rights")
    _add_network_and_environment(view)
    _add_files(view)
    _add_rights(view)
    _add_life(command.add_argument_group("lifecycle"))


def _add_network_and_environment(view: Any) -> None:
    view.add_argument(
        "--network",
        "--net",
        metavar="NET",
        help="none (loopback only), bridge, a network of yours, host, or container:NAME (default: bridge if this host can make it)",
    )
    view.add_argument("--network-alias", metavar="NAME", action="append", default=[], help="one more name of the container on its network")
    view.add_argument(
        "-p",
        "--publish",
        metavar="[IP:][HOST:]PORT[/udp]",
        action="append",
        default=[],
        help="publish a port on the host's loopback, or on IP",
    )
    view.add_argument(
        "--egress",
        metavar="POLICY",
        help="egress policy, the allowed destinations: all, internet (public addresses), none, allow=NAME[:PORT],NETWORK (default: all)",
    )
    view.add_argument("--hostname", metavar="NAME", help="the host name (default: the container's id)")
    view.add_argument("--name", metavar="NAME", help="the name of the container")
    view.add_argument(
        "-e",
        "--env",
        metavar="NAME[=VALUE]",
        action="append",
        default=[],
        help="set an environment variable (without =VALUE: the caller's)",
    )
    view.add_argument(
        "--env-file", metavar="FILE", action="append", default=[], help="set the environment variables in a file of NAME=VALUE lines"
    )
    view.add_argument("-l", "--label", metavar="NAME[=VALUE]", action="append", default=[], help="set a label")
    view.add_argument("-w", "--workdir", metavar="DIR", help="the working directory, made if missing")
    view.add_argument(
        "-u", "--user", metavar="USER[:GROUP]", help="the user: ids, or names in the image's /etc/passwd (default: the image's)"
    )
    view.add_argument("--group-add", metavar="GROUP", action="append", default=[], help="one more group of the user")
    view.add_argument("--add-host", metavar="NAME:IP", action="append", default=[], help="add a line to /etc/hosts")
    view.add_argument("--entrypoint", metavar="PROGRAM", help='the program that gets the arguments, instead of the image\'s; "" for none')


def _add_files(view: Any) -> None:
    view.add_argument(
        "-v",
        "--volume",
        metavar="[HOST:|NAME:]DIR[:ro|rw|O]",
        action="append",
        default=[],
        help="mount a directory or file of the host (O: discard changes), or a volume, made if missing",
    )
    view.add_argument("--mount", metavar="type=...,target=DIR,...", action="append", default=[], help="the long form of -v and --tmpfs")
    view.add_argument("--device", metavar="DEVICE[:PATH][:rwm]", action="append", default=[], help="allow a device node of the host")
    view.add_argument("--shm-size", metavar="SIZE", help="the size of /dev/shm (default: half of the memory limit, 64m without one)")
    view.add_argument(
        "--tmpfs",
        metavar="DIR[:size=SIZE,nr_inodes=FILES,mode=MODE]",
        action="append",
        default=[],
        help="mount an empty file system in memory",
    )
    view.add_argument(
        "--storage",
        choices=("disk", "tmpfs"),
        default="disk",
        help="where to keep the writable layer (tmpfs counts as memory; default: disk)",
    )
    view.add_argument("--read-only", action="store_true", help="make the root file system read-only")


def _add_rights(view: Any) -> None:
    view.add_argument("--cap-drop", metavar="CAP", action="append", default=[], help="drop a capability, or ALL")
    view.add_argument(
        "--cap-add", metavar="CAP", action="append", default=[], help="add a capability (inside the container's user namespace only)"
    )
    view.add_argument(
        "--security-opt", metavar="OPT", action="append", default=[], help="no-new-privileges (always so); other options are refused"
    )
    view.add_argument("--userns", metavar="MODE", default="auto", help="auto: ids of its own (the only mode)")
    view.add_argument("--rootfs", metavar="DIR", help="use a directory as the root file system, instead of IMAGE")
    view.add_argument("--bundle", metavar="DIR", help="use an OCI bundle (config.json and root file system), instead of IMAGE")


def _add_life(life: Any) -> None:
    life.add_argument("-t", "--tty", action="store_true", help="connect its standard streams to a terminal")
    life.add_argument("--init", action="store_true", help="have a PID 1 that forwards signals and reaps (always so)")
    life.add_argument("--stop-signal", metavar="SIGNAL", help="the signal that stop sends (default: the image's, else TERM)")
    life.add_argument("--stop-timeout", metavar="SECONDS", help="time that stop waits before SIGKILL (default: 10)")
    life.add_argument(
        "--restart", metavar="POLICY", default="no", help="restart policy: no, always, unless-stopped, on-failure[:TIMES] (default: no)"
    )
    life.add_argument("--health-cmd", metavar="COMMAND", help="the healthcheck, run by a shell; status 0: healthy (default: the image's)")
    life.add_argument("--health-interval", metavar="TIME", help="time between two checks (default: 30s)")
    life.add_argument("--health-timeout", metavar="TIME", help="time limit of a check (default: 30s)")
    life.add_argument("--health-start-period", metavar="TIME", help="time in which failures do not count (default: none)")
    life.add_argument("--health-retries", metavar="N", help="failures in a row until it is unhealthy (default: 3)")
    life.add_argument("--no-healthcheck", action="store_true", help="disable the image's healthcheck")
    life.add_argument("--cidfile", metavar="FILE", help="write the container's id to a file, which must not exist yet")


def add_limits(command: Any) -> None:
    """Add only the flags of the limits (cellhold.spec.fields)."""
    limits = command.add_argument_group("limits (refused if this host cannot enforce them)")
    for field in fields.FIELDS:
        several = {"action": "append", "default": []} if field.is_repeated else {}
        for flag in field.flags:
            names = (flag.short, flag.name) if flag.short else (flag.name,)
            limits.add_argument(*names, metavar=field.metavar, help=field.flag_help(flag), **several)


def spec(arguments: argparse.Namespace) -> Spec:
    """Return the Spec of a parsed command line.

    Raises InvalidSpec, ImageNotFound or NotSupported.
    """
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
    """Yield a sentence for each flag that has no effect here, or less than requested.

    Raises InvalidSpec.
    """
    if any({"z", "Z"} & {*text.split(":")[-1].split(",")} for text in arguments.volume):
        yield "volume options z and Z do nothing here: Cellhold sets no SELinux labels"
    if any(option.startswith("label") for option in arguments.security_opt):
        yield "security-opt label does nothing here: Cellhold sets no SELinux labels"
    yield from beyond_host(dict(fields.parse_ulimit(text) for text in arguments.ulimit))


def mounts(arguments: argparse.Namespace) -> tuple[Mount, ...]:
    """Parse -v, --mount and --tmpfs.

    Raises InvalidSpec, also for two on the same target.
    """
    entries = (*map(volume, arguments.volume), *map(mount, arguments.mount), *map(tmpfs, arguments.tmpfs))
    targets = [entry.target.rstrip("/") for entry in entries]
    if twice := [target for target in targets if targets.count(target) > 1]:
        raise InvalidSpec(f"cannot mount twice on {twice[0]}")
    return entries


def device(text: str) -> Device:
    """Parse DEVICE[:PATH][:ACCESS].

    Raises InvalidSpec.
    """
    source, *rest = text.split(":")
    access = rest.pop() if rest and not rest[-1].startswith("/") else "rwm"
    if len(rest) > 1 or not source.startswith("/"):
        raise InvalidSpec(f"cannot use device={text!r}: not DEVICE[:PATH][:rwm]", hint="/dev/fuse, for example")
    return Device(source=source, target=rest[0] if rest else source, access=access)


def host(text: str) -> tuple[str, str]:
    """Parse NAME:IP as (name, address).

    Raises InvalidSpec.
    """
    name, _, address = text.partition(":")
    try:
        return check_hostname(name), str(ipaddress.ip_address(address.strip("[]")))
    except ValueError as error:
        raise InvalidSpec(f"cannot use add-host={text!r}: not NAME:IP", hint="db:10.0.0.2, for example") from error


def label(text: str) -> tuple[str, str]:
    """Parse NAME[=VALUE].

    Raises InvalidSpec.
    """
    name, _, value = text.partition("=")
    if not name or "\0" in text:
        raise InvalidSpec(f"cannot use label={text!r}: not NAME or NAME=VALUE")
    return name, value


def env_file(path: str) -> Iterator[tuple[str, str]]:
    """Yield the variables of an --env-file.

    Lines are NAME=VALUE, NAME for the caller's own value, or # and a comment. Raises
    InvalidSpec.
    """
    try:
        with open(path, "rb") as file:  # a pipe, of a shell's <(...), too
            data = file.read(_ENV_FILE_MAXIMUM + 1)
        text = data.decode()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte, too
        raise InvalidSpec(f"cannot read env-file={path}: {getattr(error, 'strerror', None) or 'not valid UTF-8'}") from error
    if len(data) > _ENV_FILE_MAXIMUM:
        raise InvalidSpec(f"cannot read env-file={path}: it is larger than {_ENV_FILE_MAXIMUM >> 20} MiB")
    for line in text.splitlines():
        words = line.lstrip()
        if words and not words.startswith("#"):
            if " " in words.partition("=")[0].rstrip():
                raise InvalidSpec(f"cannot use env-file={path}: {words[:40]!r} is not NAME=VALUE")
            yield from environment([words]).items()


def check_security(arguments: argparse.Namespace) -> None:
    """Raise InvalidSpec for an option that would change the isolation.

    Nothing that was requested is dropped in silence.
    """
    for option in arguments.security_opt:
        name = option.partition("=")[0].partition(":")[0]
        if name not in ("no-new-privileges", "label") or option.endswith(("=false", ":false")):
            raise InvalidSpec(
                f"cannot use security-opt={option}: the system call filter and no_new_privs are always on",
                hint="leave it out; --cap-add adds capabilities inside of the container's user namespace",
            )
    if arguments.userns not in ("auto", "private"):
        raise InvalidSpec(
            f"cannot use userns={arguments.userns}: every container has ids of its own", hint="--userns auto, or leave it out"
        )


def health(arguments: argparse.Namespace) -> Health | None:
    """Parse --health-cmd and its companions; None: the image's."""
    if arguments.no_healthcheck:
        return Health()
    times = {"interval": "interval_seconds", "timeout": "timeout_seconds", "start_period": "start_seconds"}
    values: dict[str, Any] = {
        field: parse_seconds(text, key=f"health-{flag.replace('_', '-')}")
        for flag, field in times.items()
        if (text := getattr(arguments, f"health_{flag}")) is not None
    }
    if arguments.health_retries is not None:
        values["retries"] = parse_count(arguments.health_retries, key="health-retries", maximum=COUNT_MAXIMUM)
    if arguments.health_cmd is None:
        if values:
            raise InvalidSpec(
                f"cannot use health-{next(iter(values)).partition('_')[0]}: there is no --health-cmd", hint="add --health-cmd COMMAND"
            )
        return None
    return Health(args=("/bin/sh", "-c", arguments.health_cmd), **values)


def refuse_beside_bundle(arguments: argparse.Namespace) -> None:
    """Raise InvalidSpec for flags that would be ignored beside --bundle.

    A limit or a restriction that was requested is never dropped.
    """
    ours = {"bundle", "run", "rm", "interactive", "trace", "pull", "detach", "cidfile", "detach_keys"}
    flags = [name for name, value in vars(arguments).items() if name not in ours and value not in _DEFAULTS]
    if flags:
        name = "a command" if flags[0] == "command" else f"--{flags[0].replace('_', '-')}"
        raise InvalidSpec(f"cannot use {name} with --bundle: the bundle's config.json describes the whole container", hint="write it there")


def limits(arguments: argparse.Namespace) -> Limits:
    """Return the limits of a command line.

    Raises InvalidSpec.
    """
    return Limits(**fields.parse_flags(vars(arguments)))


def environment(entries: Iterable[str]) -> dict[str, str]:
    """Parse -e NAME=VALUE, and -e NAME for the caller's own value.

    A name that the caller does not have is left out, as in Docker.
    """
    variables = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if equals or name in os.environ:
            variables[name] = value if equals else os.environ[name]
    return variables


def capabilities(drop: list[str], add: list[str]) -> frozenset[str] | None:
    """Return the capabilities left of the default set; None if no flag changes it."""
    if not drop and not add:
        return None
    gone = {full(name) for name in drop if name.upper() != "ALL"}
    more = {full(name) for name in add}
    mask(gone | more)  # a mistyped one is refused: dropping nothing would be a hole
    wanted = (set() if "ALL" in (name.upper() for name in drop) else set(DEFAULT) - gone) | more
    return frozenset(wanted)


def full(name: str) -> str:
    """Return CAP_CHOWN for chown, CHOWN and CAP_CHOWN, as Docker accepts them."""
    upper = name.upper()
    return upper if upper.startswith("CAP_") else f"CAP_{upper}"
