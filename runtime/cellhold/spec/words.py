"""Text that may contain foreign words, made fit for a terminal or a notebook.

Foreign: a container's, an image's, a registry's.
"""

from __future__ import annotations

from typing import Any

LINES = "\n\t"  # what text of several lines of our own has, besides letters


def printable(text: str, *, keep: str = "") -> str:
    r"""Escape everything in the text that is not printable, as \x1b, \n or \u202e.

    keep: characters that are not escaped.

    So a terminal obeys nothing of it, lines stay lines, letters do not change places,
    and it can be encoded: what stood for bytes of a file name (PEP 383) is escaped as
    well.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else repr(one)[1:-1] for one in text)


def clean(value: Any) -> Any:
    """Make each text in a JSON value printable; texts may have several lines."""
    if isinstance(value, str):
        return printable(value, keep=LINES)
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value
