"""The table of limits: one row per field of Limits.

Everything that concerns limits is made from it. Read by the command line (flags, their
help, `update`), the cgroups (what a controller is needed for), `--trace`, OCI bundles,
and the host kernel (a notebook's keys, ceilings, `%limits`, `%container`, the panel,
the tables in README.md).

A new limit is a field with its check in limits.py, a row here, and the write that
enforces it in cgroups/limits_v1.py and limits_v2.py.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cellhold.errors import InvalidSpec
from cellhold.spec.field import Change, Field, Flag, Gauge
from cellhold.spec.limits import PIDS_DEFAULT, SHARES_DEFAULT, IoLimit
from cellhold.spec.units import duration, parse_count, parse_cpus, parse_rate, parse_seconds, parse_size, rate, size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellhold.spec.limits import Limits

_ULIMIT_MAXIMUM = (1 << 63) - 1  # of setrlimit(2): more is RLIM_INFINITY, for which there is a word
_MEBIBYTES, _MEBIBYTES_PER_SECOND = ("MiB", 1 << 20), ("MiB/s", 1 << 20)


def _text(text: str, _key: str) -> str:
    return text


def _format_speed(bytes_per_second: float) -> str:
    return f"{size(int(bytes_per_second))}/s"


def _format_swap(value: int) -> str:
    return "unlimited" if value < 0 else size(value)


def _parse_device_rate(text: str, key: str) -> IoLimit:
    """Parse DEVICE:RATE of --device-read-bps and its three sisters."""
    device, colon, amount = text.rpartition(":")
    if not colon:
        raise InvalidSpec(f"cannot use {key}={text}: not DEVICE:RATE", hint="/dev/sda:10m, for example")
    field = key.removeprefix("device-").replace("-", "_")
    parse = parse_size if field.endswith("bps") else parse_count
    return IoLimit(device=device, **{field: parse(amount, field)})


def _merge_devices(values: Sequence[IoLimit]) -> tuple[IoLimit, ...]:
    """Merge the rates of one device into one limit."""
    merged: dict[str, dict[str, Any]] = {}
    for value in values:
        merged.setdefault(value.device, {}).update({name: rate for name, rate in vars(value).items() if rate is not None})
    return tuple(IoLimit(**rates) for rates in merged.values())


def _format_devices(value: tuple[IoLimit, ...]) -> str:
    return ", ".join(limit.device for limit in value)


def parse_ulimit(text: str, key: str = "ulimit") -> tuple[str, tuple[int, int]]:
    """Parse "nofile=1024:4096" as ("nofile", (1024, 4096)).

    Raises InvalidSpec.
    """
    name, equals, values = text.partition("=")
    soft, _, hard = values.partition(":")
    if not equals:
        raise InvalidSpec(f"cannot use {key}={text}: not NAME=SOFT[:HARD]", hint="nofile=1024:4096, for example")
    low, high = (_parse_ulimit_value(value, key) for value in (soft, hard or soft))
    if low > high >= 0 or low < 0 <= high:
        raise InvalidSpec(f"cannot use {key}={text}: the soft limit is above the hard one")
    return name, (low, high)


def _parse_ulimit_value(text: str, key: str) -> int:
    """Parse one value of a ulimit.

    -1 and "unlimited" are RLIM_INFINITY, as in Docker.
    """
    return -1 if text in ("-1", "unlimited") else parse_count(text, key, minimum=0, maximum=_ULIMIT_MAXIMUM)


def _format_ulimits(value: Mapping[str, tuple[int, int]]) -> str:
    return ", ".join(f"{name}={soft}:{hard}" for name, (soft, hard) in value.items())


FIELDS: tuple[Field, ...] = (
    Field(
        name="memory_bytes",
        help="memory, page cache included",
        examples=("512m", "2g"),
        flags=(Flag("--memory", "-m"),),
        metavar="SIZE",
        key="memory",
        parse=parse_size,
        format=size,
        is_listed=True,
        heading="memory {}",
        gauge=Gauge(2, "memory", "memory", "memory", size, chart=_MEBIBYTES),
        is_summed=True,
        controller="memory",
        oci=("memory", "limit"),
    ),
    Field(
        name="memory_swap_bytes",
        help="memory and swap together",
        examples=("1g",),
        flags=(Flag("--memory-swap"),),
        metavar="SIZE",
        words=MappingProxyType({"-1": -1}),
        words_help="-1 for all swap",
        default_help="no swap",
        key="memory-swap",
        parse=parse_size,
        format=_format_swap,
        is_summed=True,
        controller="memory",
        oci=("memory", "swap"),
    ),
    Field(
        name="reservation_bytes",
        help="memory that is reclaimed last when the host runs out",
        flags=(Flag("--memory-reservation"),),
        metavar="SIZE",
        withheld="it takes memory from everyone else on this machine",
        parse=parse_size,
        format=size,
        controller="memory",
        oci=("memory", "reservation"),
    ),
    Field(
        name="cpus",
        help="processors' worth of time",
        examples=("0.5", "2"),
        flags=(Flag("--cpus"),),
        key="cpus",
        parse=parse_cpus,
        format="{:g}".format,
        is_listed=True,
        heading="{} cpus",
        gauge=Gauge(1, "cpus", "cpu", "CPU", "{:.2f} cores".format, chart=("cores", 1)),
        is_summed=True,
        controller="cpu",
    ),
    Field(
        name="cpu_shares",
        help="weight of its processor time against others'",
        examples=("512",),
        flags=(Flag("--cpu-shares", "-c"),),
        default=SHARES_DEFAULT,
        default_help=str(SHARES_DEFAULT),
        key="cpu-shares",
        parse=parse_count,
        above_default="it takes processor time from everyone else on this machine",
        controller="cpu",
        oci=("cpu", "shares"),
    ),
    Field(
        name="cpuset",
        help="the processors it may run on",
        examples=("0-1", "0,3"),
        flags=(Flag("--cpuset-cpus"),),
        metavar="LIST",
        key="cpuset",
        parse=_text,
        is_amount=False,
        controller="cpuset",
        oci=("cpu", "cpus"),
    ),
    Field(
        name="pids",
        help="processes and threads",
        examples=("128",),
        flags=(Flag("--pids-limit"),),
        words=MappingProxyType({"-1": None}),
        words_help="-1 for no limit",
        default=PIDS_DEFAULT,
        default_help=str(PIDS_DEFAULT),
        key="pids",
        parse=parse_count,
        label="processes",
        is_listed=True,
        gauge=Gauge(3, "pids", "pids", "processes", str),
        is_summed=True,
        controller="pids",
        oci=("pids", "limit"),
    ),
    Field(
        name="disk_bytes",
        help="what it may write to its own layer",
        examples=("1g",),
        flags=(Flag("--disk"),),
        metavar="SIZE",
        key="disk",
        parse=parse_size,
        format=size,
        is_listed=True,
        gauge=Gauge(4, "disk", "disk", "writable layer", size, chart=_MEBIBYTES),
        change=Change.NEVER,
        is_summed=True,
    ),
    Field(
        name="seconds",
        help="wall time of the container",
        examples=("30s", "1h"),
        flags=(Flag("--time"),),
        metavar="TIME",
        words_help="then SIGKILL",
        key="time",
        parse=parse_seconds,
        format=duration,
        is_listed=True,
        change=Change.STOPPED,
    ),
    Field(
        name="ingress_bits",
        help="what it may receive per second",
        examples=("10mbit",),
        flags=(Flag("--net-ingress"),),
        metavar="RATE",
        key="net-ingress",
        parse=parse_rate,
        format=rate,
        gauge=Gauge(5, "received", "received", "received", _format_speed, per_unit=8, chart=_MEBIBYTES_PER_SECOND),
        change=Change.STOPPED,
        is_summed=True,
        needs_network=True,
    ),
    Field(
        name="egress_bits",
        help="what it may send per second",
        examples=("2mbit",),
        flags=(Flag("--net-egress"),),
        metavar="RATE",
        key="net-egress",
        parse=parse_rate,
        format=rate,
        gauge=Gauge(6, "sent", "sent", "sent", _format_speed, per_unit=8, chart=_MEBIBYTES_PER_SECOND),
        change=Change.STOPPED,
        is_summed=True,
        needs_network=True,
    ),
    Field(
        name="rlimits",
        help="a limit of setrlimit(2), lowered to the host's",
        flags=(Flag("--ulimit"),),
        metavar="NAME=SOFT[:HARD]",
        default=MappingProxyType({}),
        merge=dict,
        parse=parse_ulimit,
        format=_format_ulimits,
        change=Change.STOPPED,
        is_amount=False,
    ),
    Field(
        name="io",
        help="bytes and operations per second on a device",
        flags=(
            Flag("--device-read-bps", help="bytes read per second"),
            Flag("--device-write-bps", help="bytes written per second"),
            Flag("--device-read-iops", help="reads per second"),
            Flag("--device-write-iops", help="writes per second"),
        ),
        metavar="DEVICE:RATE",
        default=(),
        merge=_merge_devices,
        withheld="a cell cannot name the host's devices",
        parse=_parse_device_rate,
        format=_format_devices,
        phrase="io on {}",
        is_amount=False,
        controller="io",
    ),
)
BY_KEY: Mapping[str, Field] = MappingProxyType({field.key: field for field in FIELDS if field.key})

GAUGES = tuple(sorted(((field.gauge, field) for field in FIELDS if field.gauge is not None), key=lambda pair: pair[0].place))


def parse_flags(texts: Mapping[str, Any]) -> dict[str, Any]:
    """Parse a command line's limits into fields of Limits.

    Only those that the command line has are returned. texts: argparse's name of a flag
    -> its text, or a list of them; None or [] where the flag is missing. Raises
    InvalidSpec.
    """
    limits = {}
    for field in FIELDS:
        values = [
            field.parse_flag(flag, text)
            for flag in field.flags
            if (argument := texts.get(flag.dest)) is not None
            for text in (argument if field.is_repeated else (argument,))
        ]
        if values:
            limits[field.name] = field.merge(values)
    return limits


def format_limits(limits: Limits) -> str:
    """Format the limits that are set for people: "memory 512 MiB, cpus 1.5, pids 64"."""
    values = ((field, field.value(limits)) for field in FIELDS)
    texts = [field.assignment(value) if field.phrase else f"{field.word} {field.format(value)}" for field, value in values if value]
    return ", ".join(texts) or "none"


def amounts(limits: Limits) -> dict[str, float | None]:
    """Return the limits that are numbers, by their fields' names.

    A container's record stores them.
    """
    return {field.name: field.value(limits) for field in FIELDS if field.is_amount}


def find_fixed(present: Limits, wanted: Limits, *, is_alive: bool) -> Field | None:
    """Return the first field that would change and cannot any more.

    is_alive: whether the container runs.
    """
    return next((field for field in FIELDS if field.is_fixed(is_alive=is_alive) and field.value(present) != field.value(wanted)), None)
