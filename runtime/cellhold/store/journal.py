"""Events of containers, one line each, as `docker events` reports them.

Written by whoever did or noticed it, read by `cellhold events`.

HOME/events has one JSON object per line: time (seconds since the epoch), type, action,
id, and attributes. Bounded: a file that has grown too large becomes `events.1`.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellhold.store import table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellhold.store.record import Record

NAME = "events"
MOST_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class _Event:
    """One line; one that does not parse is skipped.

    A full disk may leave half a line.
    """

    time: float
    type: str
    action: str
    id: str
    attributes: dict[str, str]


def append(root: Path, action: str, record: Record, **more: Any) -> None:
    """Append an event of a container. On a full disk the event is lost."""
    labels = record.spec.get("labels") or {}
    attributes = {**labels, "image": record.image, "name": record.name, **{name: str(value) for name, value in more.items()}}
    line = json.dumps({"time": time.time(), "type": "container", "action": action, "id": record.id, "attributes": attributes})
    with suppress(OSError):
        path = root / NAME
        with open(
            os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(f"{line}\n")  # one write(2), so that lines of several processes do not mix
            if file.tell() > MOST_BYTES:
                os.replace(path, path.with_name(f"{NAME}.1"))


def read(root: Path) -> Iterator[dict[str, Any]]:
    """Return the events that are there, oldest first."""
    for name in (f"{NAME}.1", NAME):
        with suppress(OSError):
            for line in (root / name).read_bytes().splitlines():
                with suppress(ValueError):
                    event = table.loads(line)
                    table.check(_Event, event)
                    table.check_moment(event["time"], "time")
                    yield event
