"""How lists report things whose files cannot be read.

A word in the table, and on standard error a sentence with what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.cli.copying import say
from cellhold.cli.screen import sentences

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cellhold.store.table import Unreadable


def word(one: Unreadable) -> str:
    """Return the word for a table."""
    return "Damaged" if one.is_damaged else "Of a later version"


def tell(found: Iterable[Unreadable]) -> None:
    """Print a sentence and a hint for each."""
    for one in found:
        say(sentences(one.error))
