"""What is known of the panel while there is none: whether a notebook has it in its file, and which messages would pass for its.

It is served as soon as such a notebook is opened, without a cell being run.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold_kernel.wire import Message

CONTROL = "jupyter.widget.control"  # asks for all states at once
PREFIX = "cellhold-"  # of the ids of our comms: what runs in the container can have none that begins so, whether ours is open or not
_SEARCHED_MOST = 4 << 20  # bytes of a message of the container's that are looked through for one
_MARK = re.compile(rb'"model_id": ?"cellhold-(\w+)"')
_MOST_BYTES = 64 << 20


def asks_for_all(message: Message) -> bool:
    """Whether a front end asks which comms there are, as it does when it opens a notebook."""
    return message.type == "comm_info_request" or (message.type == "comm_open" and message.content.get("target_name") == CONTROL)


def forges(message: Message) -> bool:
    """Whether a message of the container's is about a comm with an id of ours."""
    if not message.type.startswith("comm_"):
        return False
    raw = bytes(message.signed[3][:_SEARCHED_MOST])
    if len(message.signed[3]) <= _SEARCHED_MOST and not (b"\\u" in raw or PREFIX.encode() in raw):
        return False
    try:
        return str(json.loads(bytes(message.signed[3])).get("comm_id")).startswith(PREFIX)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return True  # no message that anybody could mean


def faces(notebook: Path | None) -> set[str]:
    """The names that the saved file has of faces of the panel (faces.py)."""
    if notebook is None:
        return set()
    with suppress(OSError), notebook.open("rb") as file:
        return {name.decode() for name in _MARK.findall(file.read(_MOST_BYTES))}
    return set()
