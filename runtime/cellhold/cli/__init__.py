"""The `cellhold` command.

Its grammar is in command.py; each module beside it adds a group of commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status.

    argv: its words; None for this process's own.
    """
    try:
        from cellhold.cli import command  # noqa: PLC0415  # so that Ctrl-C while its modules are loaded prints no traceback

        return command.main(argv)
    except KeyboardInterrupt:
        return _INTERRUPTED
