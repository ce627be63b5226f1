"""cellhold ps, stats, and the object of inspect.

Of all containers of this user, whichever process made them; those of notebooks, too.
"""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cellhold import network
from cellhold.cli import damage, filters, screen, table
from cellhold.container import inventory
from cellhold.errors import CellholdError
from cellhold.network import ports
from cellhold.spec.outcome import Why
from cellhold.spec.units import ago, size
from cellhold.store import record
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from cellhold.spec.usage import Usage
    from cellhold.store.record import Record
    from cellhold.store.table import Unreadable

_KEYS = ("id", "name", "label", "status", "exited", "ancestor", "volume", "health")
_LONGEST_COMMAND = 20
_ID = re.compile(r"sha256:([0-9a-f]{12})[0-9a-f]{52}")
_TICK_SECONDS = 1.0
_HEALTH = {"starting": "health: starting"}  # docker's words in `ps`
_UNKNOWN = "--"  # docker's, for what is not known


def add(commands: Any) -> None:
    """Add the commands and their flags."""
    listing = commands.add_parser("ps", help="list containers", description="List the containers that run, or with --all every container.")
    listing.add_argument("-a", "--all", action="store_true", help="also containers that do not run")
    listing.add_argument("-q", "--quiet", action="store_true", help="print only ids")
    filters.add(listing, _KEYS)
    _add_form(listing)
    listing.set_defaults(run=show_list)
    using = commands.add_parser("stats", help="show what containers use", description="Show what containers use, every second.")
    using.add_argument("container", nargs="*", metavar="CONTAINER", help="(default: all that run)")
    using.add_argument("--no-stream", action="store_true", help="print it once")
    _add_form(using)
    using.set_defaults(run=stats)


def _add_form(command: Any) -> None:
    command.add_argument("--format", choices=("table", "json"), default="table", help="json: one object per line")
    command.add_argument("--no-trunc", action="store_true", help="print commands in full")


def show_list(arguments: argparse.Namespace) -> int:
    """Print a row for each container."""
    wanted = filters.parse(arguments.filter, _KEYS)
    is_all = arguments.all or "status" in wanted or "exited" in wanted
    home = open_home()
    known = [one for one in inventory.list_containers(home) if (is_all or one.is_alive) and filters.matches(wanted, _fits(one))]
    broken = [one for one in inventory.unreadable(home) if (is_all or record.is_held(one.place)) and _fits_broken(one, wanted)]
    damage.tell(broken)
    if arguments.quiet:
        ids = [*(one.id for one in known), *(one.name for one in broken)]
        print("\n".join(ids), end="\n" if ids else "")
        return 0
    rows = [*(_row(one, in_full=arguments.no_trunc) for one in known), *map(_row_broken, broken)]
    table.show(rows, ["container_id", "image", "command", "created", "status", "ports", "names"], form=arguments.format)
    return 0


def _fits_broken(broken: Unreadable, wanted: dict[str, list[str]]) -> bool:
    """Return whether a damaged container matches; only its id is known."""
    knows: dict[str, Callable[[str], bool]] = {"id": broken.name.startswith, "status": damage.word(broken).lower().__eq__}
    return wanted.keys() <= knows.keys() and filters.matches(wanted, knows)


def _row_broken(broken: Unreadable) -> dict[str, str]:
    unknown = dict.fromkeys(("image", "command", "created"), _UNKNOWN)
    return {"container_id": broken.name, **unknown, "status": damage.word(broken), "ports": "", "names": broken.name}


def _fits(known: Record) -> dict[str, Callable[[str], bool]]:
    state = "exited" if known.state == "stopped" else known.state
    health = inventory.health(known, open_home())
    return {
        "id": known.id.startswith,
        "name": lambda value: value in known.name,
        "label": lambda value: filters.has_label(known.spec.get("labels") or {}, value),
        "status": state.__eq__,
        "exited": lambda value: state == "exited" and str(known.status) == value,
        "ancestor": known.image.__eq__,
        "volume": known.volumes.__contains__,
        "health": ("none" if health is None else health.status).__eq__,
    }


def _row(known: Record, *, in_full: bool) -> dict[str, str]:
    command = " ".join(known.args)
    if not in_full and len(command) > _LONGEST_COMMAND:
        command = f"{command[: _LONGEST_COMMAND - 1]}…"
    return {
        "container_id": known.id,
        "image": known.image if in_full else _short(known.image),
        "command": f'"{command}"',
        "created": ago(time.time() - known.created),
        "status": status(known),
        "ports": ", ".join(ports.format(port) for lease in network.of(known, open_home()).leases() for port in lease.ports),
        "names": known.name,
    }


def _short(image: str) -> str:
    """Cut an id as Docker does."""
    match = _ID.fullmatch(image)
    return match[1] if match else image


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def status(known: Record) -> str:
    """Format the status as Docker does.

    "Up 5 minutes (Paused)", "Exited (137) 2 hours ago", "Created".
    """
    if known.is_alive:
        since = ago(time.time() - (known.started or known.created)).removesuffix(" ago")
        health = inventory.health(known, open_home())
        how = " (Paused)" if known.state == "paused" else "" if health is None else f" ({_HEALTH.get(health.status, health.status)})"
        return f"Up {since}{how}"
    if known.state == "restarting":
        return f"Restarting ({known.status}){_since(known.finished)}"
    return "Created" if known.status is None else f"Exited ({known.status}){_since(known.finished)}"


def _since(moment: float | None) -> str:
    return "" if moment is None else f" {ago(time.time() - moment)}"


def stats(arguments: argparse.Namespace) -> int:
    """Print what containers use; until interrupted, unless --no-stream."""
    home = open_home()
    wanted = [inventory.find(text, home) for text in arguments.container]
    before = _measured(wanted or _running())
    while True:
        time.sleep(_TICK_SECONDS)
        chosen = wanted or _running()
        now = _measured(chosen)
        rows = [_use(one, before.get(one.id), now[one.id]) for one in chosen if one.id in now]
        if not arguments.no_stream and arguments.format == "table" and sys.stdout.isatty():
            screen.clear()
        columns = ["container_id", "name", "cpu_%", "mem_usage_/_limit", "mem_%", "net_i/o", "block_i/o", "pids"]
        table.show(rows, columns, form=arguments.format)
        if arguments.no_stream:
            return 0
        before = now


def _running() -> list[Record]:
    return [one for one in inventory.list_containers(open_home()) if one.is_alive]


def _measured(chosen: list[Record]) -> dict[str, tuple[float, Usage]]:
    found = {}
    for one in chosen:
        try:
            found[one.id] = (time.monotonic(), inventory.usage(one))
        except CellholdError:  # it has just ended, or has no group
            continue
    return found


def _net(known: Record) -> str:
    found = [one for one in network.of(known, open_home()).connections(known.pid) if one.received_bytes is not None]
    return (
        f"{size(sum(one.received_bytes or 0 for one in found))} / {size(sum(one.sent_bytes or 0 for one in found))}" if found else _UNKNOWN
    )


def _use(known: Record, before: tuple[float, Usage] | None, now: tuple[float, Usage]) -> dict[str, str]:
    moment, used = now
    limit, memory = known.limits.get("memory_bytes"), used.memory_bytes
    share = _UNKNOWN
    if before is not None and used.cpu_seconds is not None and before[1].cpu_seconds is not None:
        share = f"{100 * (used.cpu_seconds - before[1].cpu_seconds) / (moment - before[0]):.2f}%"
    moved = _UNKNOWN if used.io_read_bytes is None else f"{size(used.io_read_bytes)} / {size(used.io_write_bytes or 0)}"
    return {
        "container_id": known.id,
        "name": known.name,
        "cpu_%": share,
        "mem_usage_/_limit": f"{_UNKNOWN if memory is None else size(memory)} / {size(int(limit)) if limit else _UNKNOWN}",
        "mem_%": f"{100 * memory / limit:.2f}%" if memory is not None and limit else _UNKNOWN,
        "net_i/o": _net(known),
        "block_i/o": moved,
        "pids": _UNKNOWN if used.pids is None else str(used.pids),
    }


def _health(health: inventory.Health) -> dict[str, Any]:
    last = {"Start": _moment(health.began).isoformat(), "ExitCode": health.last_status, "Output": health.output}
    return {"Status": health.status, "FailingStreak": health.failures, "Log": [last] if health.began else []}


def inspected(known: Record) -> dict[str, Any]:
    """Return the object that `docker container inspect` prints, as far as known."""
    alive = known.is_alive
    return {
        "Id": known.id,
        "Created": _moment(known.created).isoformat(),
        "Path": known.args[0] if known.args else "",
        "Args": known.args[1:],
        "State": {
            "Status": "exited" if known.state == "stopped" else known.state,
            "Running": alive,
            "Paused": known.state == "paused",
            "OOMKilled": known.why == Why.MEMORY,
            "Pid": known.pid or 0,
            "ExitCode": known.status or 0,
            **({} if (health := inventory.health(known, open_home())) is None else {"Health": _health(health)}),
            "StartedAt": "" if known.started is None else _moment(known.started).isoformat(),
        },
        "Image": known.image,
        "Name": f"/{known.name}",
        "HostConfig": {
            "Memory": int(known.limits.get("memory_bytes") or 0),
            "NanoCpus": round((known.limits.get("cpus") or 0) * 1e9),
            "PidsLimit": int(known.limits.get("pids") or 0),
            "NetworkMode": known.network,
        },
        "NetworkSettings": {
            "Ports": {
                f"{port.container}/{port.protocol}": [{"HostIp": port.address, "HostPort": str(port.host)}]
                for lease in network.of(known, open_home()).leases()
                for port in lease.ports
            },
            "Networks": {
                lease.network: {
                    "IPAddress": lease.address,
                    "GlobalIPv6Address": lease.address6,
                    "MacAddress": lease.hardware_address,
                    "Aliases": list(lease.names),
                }
                for lease in network.of(known, open_home()).leases()
            },
        },
        "GraphDriver": {"Name": "overlay", "Data": {"Layers": known.layers}},
    }
