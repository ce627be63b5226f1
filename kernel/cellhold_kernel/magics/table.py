"""Tables of name and value as a notebook stores them: text, and escaped HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def bundle(rows: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the rows as a MIME bundle."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    text = "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
    cells = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>' for name, value in rows
    )
    return {"text/plain": text, "text/html": f"<table>{cells}</table>"}
