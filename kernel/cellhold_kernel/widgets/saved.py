"""The panel in saved notebooks: which files have one, which messages imitate it.

A notebook that has the panel in its file gets it as soon as it is opened, before a cell
is run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellhold_kernel.protocol.messages import Message
    from cellhold_kernel.settings.notebook import Notebook

CONTROL = "jupyter.widget.control"  # asks for all states at once
PREFIX = "cellhold-"  # of the ids of our comms; the container cannot have an id that begins so, even if ours is not open
_MARK = re.compile(rb'"model_id": ?"cellhold-([a-z]{1,64})"')


def _spelt(text: str) -> bytes:
    """Return a pattern for a text in JSON, each letter as itself or as an escape."""
    return b"".join(rb"(?:%c|\\u00(?i:%02x))" % (letter, letter) for letter in text.encode("ascii"))


# A member "comm_id" with an id of ours, at any depth. (Within another string, the
# quotes would have backslashes.)
_FORGED = re.compile(rb'"%b"[ \t\r\n]*:[ \t\r\n]*"%b' % (_spelt("comm_id"), _spelt(PREFIX)))


def asks_for_all(message: Message) -> bool:
    """Return whether a front end asks which comms exist.

    It does so when it opens a notebook.
    """
    return message.type == "comm_info_request" or (message.type == "comm_open" and message.content.get("target_name") == CONTROL)


def forges(message: Message) -> bool:
    """Return whether a message of the container is about a comm with an id of ours.

    It is searched and not parsed: it may be large.
    """
    if not message.type.startswith("comm_"):
        return False
    if message.seen is not None:
        return message.seen.comm_id is None or message.seen.comm_id.startswith(PREFIX)
    return _FORGED.search(message.signed[3]) is not None


def widgets(notebook: Notebook | None) -> set[str]:
    """Return the kinds of views (views.py) that the saved file names."""
    return set() if notebook is None else {match[1].decode("ascii") for match in notebook.find(_MARK)}
