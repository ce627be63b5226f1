"""How objects look in a notebook, as text and as HTML.

Only our own words, and escaped text.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from cellhold.spec.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIT = "background:#0072b2;color:#fff;font-weight:bold"  # with the mark, never the colour alone
_WAYS = (
    (State.CREATED, "start →"),
    (State.RUNNING, "⇄ pause, unpause"),
    (State.PAUSED, "stop, kill, its end →"),
    (State.STOPPED, "rm →"),
    (State.REMOVED, ""),
)


def lifecycle_text(state: State) -> str:
    """Format the states of a container in one line, the present one marked.

    "created · [running] · paused · stopped · removed".
    """
    return " · ".join(f"[{one}]" if one is state else str(one) for one, _way in _WAYS)


def lifecycle_html(state: State) -> str:
    """Format the states as HTML, with the moves between them."""
    boxes = [
        f'<span style="border:1px solid currentColor;border-radius:4px;padding:1px 6px;{_LIT if one is state else ""}">'
        f"{'● ' if one is state else ''}{one}</span> <small>{escape(way)}</small>"
        for one, way in _WAYS
    ]
    return f'<div style="line-height:2">{" ".join(boxes)}</div>'


def table_text(rows: Sequence[Sequence[str]]) -> str:
    """Format rows as aligned columns; the first row is their names."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def table_html(rows: Sequence[Sequence[str]]) -> str:
    """Format rows as an HTML table; the first row is the column names."""
    head, *body = rows
    columns = "".join(f'<th style="text-align:left">{escape(cell)}</th>' for cell in head)
    lines = "".join("<tr>" + "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in row) + "</tr>" for row in body)
    return f"<table><tr>{columns}</tr>{lines}</table>"
