"""Standard output and standard error for people, with control characters escaped.

Everything that this package prints passes through here, whoever wrote the text, so that
no command has to think of it. JSON escapes by itself and stays as it is. A container's
own output is bytes, and does not pass through here (copying.py, sys.stdout.buffer).
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

from cellhold.spec import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cellhold.errors import CellholdError

_CLEAR = "\033[2J\033[H"  # ECMA-48: erase all, cursor to the top


class Screen:
    """A text stream that writes to another one."""

    def __init__(self, to: TextIO) -> None:
        """Write to another stream, which has all other attributes."""
        self.to = to

    def write(self, text: str) -> int:
        """Write a text, with control characters escaped."""
        self.to.write(words.printable(text, keep=words.LINES))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each line."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        """Return the other stream's attribute: flush, isatty, buffer ..."""
        return getattr(self.to, name)


@contextmanager
def escaping(*, for_good: bool) -> Iterator[None]:
    """Escape control characters on standard output and standard error.

    for_good: as long as the process lives, so that tracebacks are escaped, too.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (to if isinstance(to, Screen) else cast("TextIO", Screen(to)) for to in before)
    try:
        yield
    finally:
        if not for_good:
            sys.stdout, sys.stderr = before


def behind(to: TextIO) -> TextIO:
    """Return the stream itself, for what draws (bars, a live table).

    It escapes its texts itself.
    """
    return to.to if isinstance(to, Screen) else to


def clear() -> None:
    """Clear the terminal."""
    behind(sys.stdout).write(_CLEAR)


def sentences(error: CellholdError) -> str:
    """Format an error and its hint, one line each, with control characters escaped."""
    hint = f"hint: {words.printable(error.hint)}\n" if error.hint else ""
    return f"cellhold: {words.printable(str(error))}\n{hint}"
