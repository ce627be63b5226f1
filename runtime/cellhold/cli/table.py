"""Tables as Docker prints them, or JSON for programs.

Aligned columns without rules; one JSON object per line.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cellhold.spec import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GAP = "   "


def text(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> str:
    """Format rows below the names of their columns, in capitals."""
    cells = [[name.upper().replace("_", " ") for name in columns], *([printable(row[name]) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(_GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells)


def printable(text: str) -> str:
    """Escape what a terminal would obey: an image's texts may hold escape sequences."""
    return words.printable(text)


def lines(rows: Sequence[Mapping[str, object]]) -> str:
    """Format one JSON object per row."""
    return "\n".join(json.dumps(row) for row in rows)


def show(rows: Sequence[Mapping[str, str]], columns: Sequence[str], *, form: str) -> None:
    """Print the rows.

    form: "table" or "json".
    """
    if form == "table" or rows:
        print(text(rows, columns) if form == "table" else lines(rows))
