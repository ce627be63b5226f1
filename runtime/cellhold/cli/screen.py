"""What a person reads of us: standard output and standard error, as text, without what a terminal would obey.

Everything that this package prints goes through here, whoever's words are in it, so no command has to think of it. JSON
has escapes of its own and stays as it is. A container's own output is bytes, and goes past this (copying.py, sys.stdout.buffer).
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
        """to: what it has besides is this one's, too."""
        self.to = to

    def write(self, text: str) -> int:
        """Write it, with control characters spelt out."""
        self.to.write(words.printable(text, keep=words.LINES))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        """Of the other one: flush, isatty, buffer ..."""
        return getattr(self.to, name)


@contextmanager
def cleaned(*, for_good: bool) -> Iterator[None]:
    """Let standard output and standard error be such. for_good: as long as the process lives, so that tracebacks are, too."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (to if isinstance(to, Screen) else cast("TextIO", Screen(to)) for to in before)
    try:
        yield
    finally:
        if not for_good:
            sys.stdout, sys.stderr = before


def behind(to: TextIO) -> TextIO:
    """The stream itself, for what draws (bars, a live table) and sees to its texts."""
    return to.to if isinstance(to, Screen) else to


def clear() -> None:
    """Erase what the terminal shows."""
    behind(sys.stdout).write(_CLEAR)


def sentences(error: CellholdError) -> str:
    """An error and its hint, a line each, whatever was put into them."""
    hint = f"hint: {words.printable(error.hint)}\n" if error.hint else ""
    return f"cellhold: {words.printable(str(error))}\n{hint}"
