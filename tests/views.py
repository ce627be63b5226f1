"""What a view of the panel says to the host kernel, and hears from it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kernels import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernels import Notebook

PANEL = "cellhold-panel"


def tell(notebook: Notebook, content: dict[str, Any]) -> None:
    """Send what a view sends."""
    data = {"method": "custom", "content": {"view": "test", **content}}
    message = notebook.client.session.msg("comm_msg", {"comm_id": PANEL, "data": data})
    notebook.client.shell_channel.send(message)


def hear(notebook: Notebook, wanted: Callable[[dict[str, Any]], bool], *, method: str = "custom") -> dict[str, Any]:
    """Return the next message of that kind to views."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        message = notebook.client.get_iopub_msg(timeout=PATIENCE)
        data = message["content"].get("data", {})
        if message["msg_type"] == "comm_msg" and message["content"]["comm_id"] == PANEL and data["method"] == method:
            said: dict[str, Any] = data["content"] if method == "custom" else data["state"]
            if wanted(said):
                return said
    raise AssertionError("nothing came")


def answer(notebook: Notebook, question: dict[str, Any]) -> dict[str, Any]:
    """Ask, and give what a view is told of it."""
    tell(notebook, question)
    return hear(notebook, lambda said: said["t"] == question["do"])
