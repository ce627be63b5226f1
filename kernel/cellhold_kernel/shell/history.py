"""The cells that were run in this session, for Jupyter's history_request. Bounded."""

from __future__ import annotations

from collections import deque
from fnmatch import fnmatchcase
from typing import Any

_CELLS_MOST = 1000
_CODE_MOST = 10_000  # characters of one cell


class History:
    """The last cells. count: the number of the last one."""

    def __init__(self) -> None:
        self.count = 0
        self._cells: deque[tuple[int, int, str]] = deque(maxlen=_CELLS_MOST)

    def add(self, code: str, *, store: bool) -> None:
        """Add a cell that begins."""
        if store:
            self.count += 1
            if len(code) <= _CODE_MOST:
                self._cells.append((0, self.count, code))

    def select(self, content: dict[str, Any]) -> list[tuple[int, int, str]]:
        """Return the cells of a history_request: (session, number, code).

        They are the last n (tail), those that match a pattern (search), or those in a
        range of numbers (range).
        """
        kind, most = content.get("hist_access_type"), content.get("n")
        cells = list(self._cells)
        if kind == "search":
            pattern = str(content.get("pattern", "*"))
            cells = [cell for cell in cells if fnmatchcase(cell[2], pattern)]
        elif kind == "range":
            start, stop = content.get("start"), content.get("stop")
            cells = [cell for cell in cells if cell[1] >= (start or 0) and (not stop or cell[1] < stop)]
        return cells[-most:] if isinstance(most, int) and most > 0 else cells
