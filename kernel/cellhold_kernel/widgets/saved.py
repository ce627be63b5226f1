"""Whether a notebook has a panel in it: then it is served again as soon as the notebook is opened, without a cell being run."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold_kernel.wire import Message

CONTROL = "jupyter.widget.control"  # asks for all states at once
_MARK = re.compile(rb'"model_id": ?"cellhold-(\w+)"')
_MOST_BYTES = 64 << 20


def asks_for_all(message: Message) -> bool:
    """Whether a front end asks which comms there are, as it does when it opens a notebook."""
    return message.type == "comm_info_request" or (message.type == "comm_open" and message.content.get("target_name") == CONTROL)


def faces(notebook: Path | None) -> set[str]:
    """The names that the saved file has of faces of the panel (faces.py)."""
    if notebook is None:
        return set()
    with suppress(OSError), notebook.open("rb") as file:
        return {name.decode() for name in _MARK.findall(file.read(_MOST_BYTES))}
    return set()
