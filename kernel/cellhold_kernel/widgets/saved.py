"""What is known of the panel while there is none: whether a notebook has it in its file, and which messages would pass for its.

It is served as soon as such a notebook is opened, without a cell being run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellhold_kernel.protocol.messages import Message
    from cellhold_kernel.settings.notebook import Notebook

CONTROL = "jupyter.widget.control"  # asks for all states at once
PREFIX = "cellhold-"  # of the ids of our comms: what runs in the container can have none that begins so, whether ours is open or not
_MARK = re.compile(rb'"model_id": ?"cellhold-([a-z]{1,64})"')


def _spelt(text: str) -> bytes:
    """A pattern for a text in JSON, each letter as itself or as an escape."""
    return b"".join(rb"(?:%c|\\u00(?i:%02x))" % (letter, letter) for letter in text.encode("ascii"))


# A member "comm_id" with an id of ours, at any depth. (In another text's inside, the quotes would have backslashes.)
_FORGED = re.compile(rb'"%b"[ \t\r\n]*:[ \t\r\n]*"%b' % (_spelt("comm_id"), _spelt(PREFIX)))


def asks_for_all(message: Message) -> bool:
    """Whether a front end asks which comms there are, as it does when it opens a notebook."""
    return message.type == "comm_info_request" or (message.type == "comm_open" and message.content.get("target_name") == CONTROL)


def forges(message: Message) -> bool:
    """Whether a message of the container's is about a comm with an id of ours. It is searched and not parsed: it may be large."""
    if not message.type.startswith("comm_"):
        return False
    if message.seen is not None:
        return message.seen.comm_id is None or message.seen.comm_id.startswith(PREFIX)
    return _FORGED.search(message.signed[3]) is not None


def widgets(notebook: Notebook | None) -> set[str]:
    """The names that the saved file has of faces of the panel (views.py)."""
    return set() if notebook is None else {match[1].decode("ascii") for match in notebook.find(_MARK)}
