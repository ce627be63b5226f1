"""The cells that were run, as Jupyter's front ends ask for them. Of this session only, and not more than a screenful of megabytes."""

from __future__ import annotations

from collections import deque
from fnmatch import fnmatchcase
from typing import Any

_CELLS_MOST = 1000
_CODE_MOST = 10_000  # characters of one cell


class History:
    """count: the number of the last cell."""

    def __init__(self) -> None:
        self.count = 0
        self._cells: deque[tuple[int, int, str]] = deque(maxlen=_CELLS_MOST)

    def add(self, code: str, *, store: bool) -> None:
        """A cell begins."""
        if store:
            self.count += 1
            if len(code) <= _CODE_MOST:
                self._cells.append((0, self.count, code))

    def asked(self, content: dict[str, Any]) -> list[tuple[int, int, str]]:
        """What a history_request asks for: the last n (tail), those that fit a pattern (search), or some by number (range)."""
        kind, most = content.get("hist_access_type"), content.get("n")
        found = list(self._cells)
        if kind == "search":
            pattern = str(content.get("pattern", "*"))
            found = [cell for cell in found if fnmatchcase(cell[2], pattern)]
        elif kind == "range":
            start, stop = content.get("start"), content.get("stop")
            found = [cell for cell in found if cell[1] >= (start or 0) and (not stop or cell[1] < stop)]
        return found[-most:] if isinstance(most, int) and most > 0 else found
