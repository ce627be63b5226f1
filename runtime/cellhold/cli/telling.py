"""cellhold logs, events: what containers have written, and what happened to them."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cellhold.cli import filters
from cellhold.cli.copying import write_all
from cellhold.container import logs
from cellhold.container.detached import Detached
from cellhold.errors import InvalidSpec
from cellhold.spec import words
from cellhold.spec.units import parse_count, parse_seconds
from cellhold.store import journal
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

_KEYS = ("container", "event", "image", "label", "type")
_LOOK_SECONDS = 0.2


def add(commands: Any) -> None:
    """Add the commands and their flags."""
    saying = commands.add_parser("logs", help="print what a container has written", description="Print what a container has written.")
    saying.add_argument("-f", "--follow", action="store_true", help="continue until the container ends")
    saying.add_argument("-n", "--tail", metavar="N", default="all", help="only the last N lines (default: all)")
    saying.add_argument("--since", metavar="TIME", help="2026-11-29T08:00:00Z, seconds since the epoch, or 10m for ten minutes ago")
    saying.add_argument("--until", metavar="TIME", help="a time as for --since")
    saying.add_argument("-t", "--timestamps", action="store_true", help="print the time of each line")
    saying.add_argument("container", metavar="CONTAINER")
    saying.set_defaults(run=show_logs)
    happening = commands.add_parser("events", help="print events of containers", description="Print events of containers as they happen.")
    happening.add_argument("--since", metavar="TIME", help="print events since this time (default: now)")
    happening.add_argument("--until", metavar="TIME", help="stop at this time (default: never)")
    filters.add(happening, _KEYS)
    happening.add_argument("--format", choices=("text", "json"), default="text", help="json: one object per line")
    happening.set_defaults(run=show_events)


def moment(text: str, *, key: str) -> float:
    """Parse a time, or a span before now, as seconds since the epoch.

    Raises InvalidSpec.
    """
    if text.replace(".", "", 1).isdecimal() and len(text.partition(".")[0]) > len("1000000"):
        return float(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            return time.time() - parse_seconds(text, key=key)
        except InvalidSpec as error:
            raise InvalidSpec(f"cannot use {key}={text}: neither a time nor a span", hint="2026-11-29T08:00:00Z, or 10m") from error
    return (found if found.tzinfo else found.astimezone()).timestamp()


def show_logs(arguments: argparse.Namespace) -> int:
    """Print the lines, each on the stream that it was written to."""
    box = Detached.find(arguments.container)
    tail = None if arguments.tail == "all" else parse_count(arguments.tail, key="tail", minimum=0)
    since = None if arguments.since is None else moment(arguments.since, key="since")
    until = None if arguments.until is None else moment(arguments.until, key="until")
    for line in logs.lines(box, tail=tail, since=since, until=until, follow=arguments.follow):
        stamp = line.moment.encode() + b" " if arguments.timestamps else b""
        write_all(line.stream, stamp + line.text)
    return 0


def show_events(arguments: argparse.Namespace) -> int:
    """Print the events; until interrupted, or --until."""
    now = time.time()
    since = now if arguments.since is None else moment(arguments.since, key="since")
    until = None if arguments.until is None else moment(arguments.until, key="until")
    wanted = filters.parse(arguments.filter, _KEYS)
    for event in _events(since, until):
        if filters.matches(wanted, _fits(event)):
            print(json.dumps(event) if arguments.format == "json" else words.printable(_format_event(event)), flush=True)
    return 0


def _events(since: float, until: float | None) -> Iterator[dict[str, Any]]:
    root, last = open_home().root, 0.0
    while True:
        for event in list(journal.read(root)):
            if event["time"] > last and event["time"] >= since and (until is None or event["time"] <= until):
                last = event["time"]
                yield event
        if until is not None and time.time() >= until:
            return
        time.sleep(_LOOK_SECONDS)


def _fits(event: dict[str, Any]) -> dict[str, Callable[[str], bool]]:
    attributes = event["attributes"]
    return {
        "container": (event["id"], attributes["name"]).__contains__,
        "event": event["action"].__eq__,
        "image": attributes["image"].__eq__,
        "label": lambda value: filters.has_label(attributes, value),
        "type": event["type"].__eq__,
    }


def _format_event(event: dict[str, Any]) -> str:
    attributes = ", ".join(f"{name}={value}" for name, value in event["attributes"].items())
    when = datetime.fromtimestamp(event["time"], UTC).astimezone().isoformat(timespec="microseconds")
    return f"{when} {event['type']} {event['action']} {event['id']} ({attributes})"
