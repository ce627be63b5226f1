"""What the host kernel publishes in a cell: a message's type with its content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold_kernel.engine.diagnosis import Diagnosis

    Output = tuple[str, dict[str, Any]]

OK = {"status": "ok", "user_expressions": {}, "payload": []}  # a cell's reply


def line(text: str) -> Output:
    """A line of standard output."""
    return "stream", {"name": "stdout", "text": f"{text}\n"}


def warning(diagnosis: Diagnosis) -> Output:
    """A diagnosis in a cell that goes on, on standard error."""
    return "stream", {"name": "stderr", "text": "\n".join(diagnosis.lines) + "\n"}


def display(data: Mapping[str, str]) -> Output:
    """A MIME bundle."""
    return "display_data", {"data": data, "metadata": {}, "transient": {}}
